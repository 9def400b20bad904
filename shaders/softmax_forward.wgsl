// softmax_forward: probabilities of logits.
//
//     output[r, c] = exp(input[r, c] − m_r) / Σ_k exp(input[r, k] − m_r)        m_r = max_k input[r, k]
//
// input and output [rows, CLASSES]. One invocation per row; ⌈rows / 256⌉ workgroups.
struct Params {
    rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

{% include "shared/workgroup.wgsl" %}
{% include "shared/exp_log.wgsl" %}

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
    var largest = input[first];
    for (var c = 1u; c < {{ CLASSES }}u; c++) {
        largest = max(largest, input[first + c]);
    }
    var total = 0.0;
    for (var c = 0u; c < {{ CLASSES }}u; c++) {
        let power = exp_accurate(input[first + c] - largest);
        output[first + c] = power;
        total += power;
    }
    for (var c = 0u; c < {{ CLASSES }}u; c++) {
        output[first + c] /= total;
    }
}
