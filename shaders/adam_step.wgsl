// adam_step: Adam (Kingma and Ba, 2015), and AdamW (Loshchilov and Hutter, 2019) if the decay is decoupled.
//
//     g = gradient_factor · gradient
//     decoupled: parameter ·= 1 − learning_rate · weight_decay;   else g += weight_decay · parameter
//     m += (1 − β₁)(g − m);   v = β₂ v + (1 − β₂) g²
//     parameter −= rate_factor · learning_rate · (m / first_moment_correction) / (√(v / second_moment_correction) + ε)
//
// The corrections 1 − β₁ᵗ and 1 − β₂ᵗ and gradient_factor come with the step's state; with a negative gradient_factor nothing is
// changed. parameter, gradient, first_moment, second_moment [count]. One invocation per element; ⌈count / 256⌉ workgroups.
struct Params {
    count: u32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    decoupled: u32,
    rate_factor: f32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(4) var<storage, read_write> first_moment: array<f32>;
@group(0) @binding(5) var<storage, read_write> second_moment: array<f32>;

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
    var p = parameter[i];
    var g = state.gradient_factor * gradient[i];
    if params.decoupled != 0u {
        p *= 1.0 - state.learning_rate * params.weight_decay;
    } else {
        g += params.weight_decay * p;
    }
    let m = first_moment[i] + params.one_minus_beta1 * (g - first_moment[i]);
    let v = params.beta2 * second_moment[i] + params.one_minus_beta2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    let denominator = sqrt(v) / sqrt(state.second_moment_correction) + params.epsilon;
    parameter[i] = p - (params.rate_factor * state.learning_rate / state.first_moment_correction) * (m / denominator);
}
