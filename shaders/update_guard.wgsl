// update_guard: calls a step's update off if its loss, its gradients or the parameters are not finite.
//
//     history[slot].zw = (gradient_factor · ‖gradients‖, ‖parameters‖)
//     if the loss, history[slot].x, or one of the norms is not finite:
//         gradient_factor = −1;   halted[0] = 1 if HALT, or if it is the parameters' norm
//     if halted[0] = 1:  gradient_factor = −1
//
// A factor below zero says that `loss_scaling` has dealt with gradients that are not finite. gradients and parameters [parts] are
// `sum_of_squares`, history [slots, 4], halted [1]. One workgroup of {{ LANES }} invocations, which add up in a tree.
struct Params {
    parts: u32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<f32>;
@group(0) @binding(2) var<storage, read> parameters: array<f32>;
@group(0) @binding(3) var<storage, read_write> history: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> halted: array<u32>;
@group(0) @binding(5) var<storage, read_write> state: StepState;

{% include "shared/workgroup_sum.wgsl" %}
{% include "shared/is_finite.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(local_invocation_index) lane: u32) {
    var own_gradients = 0.0;
    var own_parameters = 0.0;
    for (var i = lane; i < params.parts; i += {{ LANES }}u) {
        own_gradients += gradients[i];
        own_parameters += parameters[i];
    }
    let of_gradients = workgroup_sum(lane, own_gradients);
    let of_parameters = workgroup_sum(lane, own_parameters);
    if lane > 0u || state.slot >= arrayLength(&history) {
        return;
    }
    let is_scaled_too_far = state.gradient_factor < 0.0;
    let factor = select(state.gradient_factor, 1.0, is_scaled_too_far);
    history[state.slot] = vec4<f32>(history[state.slot].xy, factor * sqrt(of_gradients), sqrt(of_parameters));
    let has_weights = is_finite(of_parameters);
    if !(is_finite(history[state.slot].x) && has_weights && (is_finite(of_gradients) || is_scaled_too_far)) {
        state.gradient_factor = -1.0;
{% if HALT %}
        halted[0] = 1u;
{% else %}
        halted[0] = select(1u, halted[0], has_weights);
{% endif %}
    }
    if halted[0] == 1u {
        state.gradient_factor = -1.0;
    }
}
