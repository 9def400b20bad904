// sgd_step: stochastic gradient descent with momentum, Nesterov's variant and weight decay; PyTorch's formula, dampening 0.
//
//     g = gradient_factor · gradient + weight_decay · parameter;   v = momentum · v + g
//     parameter −= rate_factor · learning_rate · (g + momentum · v if nesterov, else v)
//
// With a negative gradient_factor nothing is changed. parameter, gradient, velocity [count]. One invocation per element; ⌈count /
// 256⌉ workgroups.
struct Params {
    count: u32,
    momentum: f32,
    weight_decay: f32,
    nesterov: u32,
    rate_factor: f32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: StepState;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(4) var<storage, read_write> velocity: array<f32>;

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
    let g = state.gradient_factor * gradient[i] + params.weight_decay * parameter[i];
    let v = params.momentum * velocity[i] + g;
    velocity[i] = v;
    let direction = select(v, g + params.momentum * v, params.nesterov != 0u);
    parameter[i] -= params.rate_factor * state.learning_rate * direction;
}
