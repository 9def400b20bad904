// batch_norm_backward_input: cotangent of the input of batch normalization, whose mean and variance depend on the input, too.
//
//     d_input[r, c] = weight[c] · statistics[1, c] · (d[r, c] − d_bias[c] / rows − n[r, c] · d_weight[c] / rows)
//
// n and d as in `batch_norm_backward_partial`. input, d_output, output, d_input [rows, CHANNELS]. One invocation per element, or
// per four channels if WIDE; ⌈count / 256⌉ workgroups for `count` invocations.
{% include "shared/real.wgsl" %}
{% include "shared/wide.wgsl" %}
{% set vectors = CHANNELS // 4 if WIDE else CHANNELS %}

struct Params {
    count: u32,
    rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<values>;
@group(0) @binding(2) var<storage, read> statistics: array<sums>;
@group(0) @binding(3) var<storage, read> weight: array<sums>;
@group(0) @binding(4) var<storage, read> d_weight: array<sums>;
@group(0) @binding(5) var<storage, read> d_bias: array<sums>;
@group(0) @binding(6) var<storage, read> d_output: array<values>;
@group(0) @binding(7) var<storage, read_write> d_input: array<values>;
{% if MASK %}
@group(0) @binding(8) var<storage, read> output: array<values>;
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
    let c = i % {{ vectors }}u;
    let scale = statistics[{{ vectors }}u + c];
    let normalized = (sums(input[i]) - statistics[c]) * scale;
    let d = {% if MASK %}select(sums(), sums(d_output[i]), output[i] > values()){% else %}sums(d_output[i]){% endif %};
    let mean_parts = (d_bias[c] + normalized * d_weight[c]) / f32(params.rows);
    d_input[i] = values(weight[c] * scale * (d - mean_parts));
}
