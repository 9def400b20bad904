// global_avg_pool_forward: the mean of every channel over all pixels of an image.
//
//     output[n, c] = Σ_p input[n, p, c] / PIXELS
//
// input [N, PIXELS, CHANNELS], output [N, CHANNELS]. One invocation per element of the output; ⌈count / 256⌉ workgroups. It
// loads eight pixels at a time, so that it waits for memory an eighth as often.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<real>;
@group(0) @binding(2) var<storage, read_write> output: array<real>;

{% include "shared/workgroup.wgsl" %}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    if i >= params.count {
        return;
    }
    let first = (i / {{ CHANNELS }}u) * {{ PIXELS * CHANNELS }}u + i % {{ CHANNELS }}u;
    var sum = 0.0;
    var p = 0u;
{% for at_a_time in [8, 1] %}
    for (; p + {{ at_a_time }}u <= {{ PIXELS }}u; p += {{ at_a_time }}u) {
{% for j in range(at_a_time) %}
        let value_{{ j }} = f32(input[first + (p + {{ j }}u) * {{ CHANNELS }}u]);
{% endfor %}
{% for j in range(at_a_time) %}
        sum += value_{{ j }};
{% endfor %}
    }
{% endfor %}
    output[i] = real(sum / f32({{ PIXELS }}));
}
