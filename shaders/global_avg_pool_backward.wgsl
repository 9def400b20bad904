// global_avg_pool_backward: spreads every channel's cotangent evenly over the pixels.
//
//     d_input[n, p, c] = d_output[n, c] / PIXELS
//
// d_output [N, CHANNELS], d_input [N, PIXELS, CHANNELS]. One invocation per element of d_input; ⌈count / 256⌉ workgroups.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_output: array<real>;
@group(0) @binding(2) var<storage, read_write> d_input: array<real>;

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
    let n = i / {{ PIXELS * CHANNELS }}u;
    d_input[i] = real(f32(d_output[n * {{ CHANNELS }}u + i % {{ CHANNELS }}u]) / f32({{ PIXELS }}));
}
