// batch_norm_backward_input: cotangent of the input of batch normalization, whose mean and variance depend on the input, too.
//
//     d_input[r, c] = weight[c] · statistics[1, c] · (d[r, c] − d_bias[c] / rows − n[r, c] · d_weight[c] / rows)
//
// n and d as in `batch_norm_backward_partial`. input, d_output, output, d_input [rows, CHANNELS]. One invocation per element;
// ⌈count / 256⌉ workgroups where count = rows · CHANNELS.
{% include "shared/real.wgsl" %}

struct Params {
    count: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<real>;
@group(0) @binding(2) var<storage, read> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> d_weight: array<f32>;
@group(0) @binding(5) var<storage, read> d_bias: array<f32>;
@group(0) @binding(6) var<storage, read> d_output: array<real>;
@group(0) @binding(7) var<storage, read_write> d_input: array<real>;
{% if MASK %}
@group(0) @binding(8) var<storage, read> output: array<real>;
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
    let c = i % {{ CHANNELS }}u;
    let scale = statistics[{{ CHANNELS }}u + c];
    let normalized = (f32(input[i]) - statistics[c]) * scale;
    let d = {% if MASK %}select(0.0, f32(d_output[i]), f32(output[i]) > 0.0){% else %}f32(d_output[i]){% endif %};
    let mean_parts = (d_bias[c] + normalized * d_weight[c]) / f32(params.rows);
    d_input[i] = real(weight[c] * scale * (d - mean_parts));
}
