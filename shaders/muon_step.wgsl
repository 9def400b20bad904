// muon_step: one update with a direction, and decoupled weight decay.
//
//     parameter = (1 − learning_rate · weight_decay) · parameter − learning_rate · rate_factor · direction
//
// With a negative gradient_factor nothing is changed. parameter, direction [count]. One invocation per element; ⌈count / 256⌉
// workgroups.
struct Params {
    count: u32,
    rate_factor: f32,
    weight_decay: f32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read> direction: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<f32>;

{% include "shared/workgroup.wgsl" %}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, grid) * 256u + lane;
    if i >= params.count || state.gradient_factor < 0.0 {
        return;
    }
    let kept = 1.0 - state.learning_rate * params.weight_decay;
    parameter[i] = kept * parameter[i] - state.learning_rate * params.rate_factor * direction[i];
}
