// softmax_backward: cotangents of logits from those of their probabilities.
//
//     d_input[r, c] = output[r, c] · (d_output[r, c] − Σ_k output[r, k] · d_output[r, k])
//
// output, d_output and d_input [rows, CLASSES]. One invocation per row; ⌈rows / 256⌉ workgroups.
struct Params {
    rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output: array<f32>;
@group(0) @binding(2) var<storage, read> d_output: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_input: array<f32>;

{% include "shared/workgroup.wgsl" %}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(group, grid) * 256u + lane;
    if row >= params.rows {
        return;
    }
    let first = row * {{ CLASSES }}u;
    var mean = 0.0;
    for (var c = 0u; c < {{ CLASSES }}u; c++) {
        mean += output[first + c] * d_output[first + c];
    }
    for (var c = 0u; c < {{ CLASSES }}u; c++) {
        d_input[first + c] = output[first + c] * (d_output[first + c] - mean);
    }
}
