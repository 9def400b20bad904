// batch_norm_backward_partial: sums for the gradients of batch normalization over parts of the rows.
//
//     partial[p, 0, c] = Σ_r d[r, c] · n[r, c];   partial[p, 1, c] = Σ_r d[r, c]      over the rows r of part p
//     n[r, c] = (input[r, c] − statistics[0, c]) · statistics[1, c]
//     d[r, c] = d_output[r, c], with MASK only where output[r, c] is positive
//
// input, d_output, output [rows, CHANNELS], partial [parts, 2, CHANNELS]. One invocation per part and channel;
// ⌈parts · CHANNELS / 256⌉ workgroups. It loads eight rows at a time, so that it waits for memory an eighth as often.
{% include "shared/real.wgsl" %}

struct Params {
    rows: u32,
    rows_per_part: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<real>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> d_output: array<real>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;
{% if MASK %}
@group(0) @binding(5) var<storage, read> output: array<real>;
{% endif %}

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
    let part = i / {{ CHANNELS }}u;
    let c = i % {{ CHANNELS }}u;
    let first = part * params.rows_per_part;
    let end = min(first + params.rows_per_part, params.rows);
    let mean = statistics[c];
    let scale = statistics[{{ CHANNELS }}u + c];
    var products = 0.0;
    var sum = 0.0;
    var row = first;
{% for at_a_time in [8, 1] %}
    for (; row + {{ at_a_time }}u <= end; row += {{ at_a_time }}u) {
{% for j in range(at_a_time) %}
        let at_{{ j }} = (row + {{ j }}u) * {{ CHANNELS }}u + c;
        let d_{{ j }} = {% if MASK %}select(0.0, f32(d_output[at_{{ j }}]), f32(output[at_{{ j }}]) > 0.0){% else %}f32(d_output[at_{{ j }}]){% endif %};
        let normalized_{{ j }} = (f32(input[at_{{ j }}]) - mean) * scale;
{% endfor %}
{% for j in range(at_a_time) %}
        products += d_{{ j }} * normalized_{{ j }};
        sum += d_{{ j }};
{% endfor %}
    }
{% endfor %}
    partial[2u * part * {{ CHANNELS }}u + c] = products;
    partial[(2u * part + 1u) * {{ CHANNELS }}u + c] = sum;
}
