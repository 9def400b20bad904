// gradient_clipping: reduces the optimizer's gradient factor so that the global gradient norm is at most max_norm.
//
//     norm = gradient_factor · √(Σ partial);   gradient_factor = gradient_factor · min(1, max_norm / (norm + 10⁻⁶))
//
// partial [parts] is `sum_of_squares` of the gradients. A negative gradient_factor, which makes the optimizer skip the update, is
// kept. One workgroup of {{ LANES }} invocations, which add up in a tree.
struct Params {
    parts: u32,
    max_norm: f32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: StepState;

{% include "shared/partial_sum.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(local_invocation_index) lane: u32) {
    let sum = partial_sum(lane);
    if lane > 0u || state.gradient_factor < 0.0 {
        return;
    }
    let norm = sqrt(sum) * state.gradient_factor;
    state.gradient_factor *= min(1.0, params.max_norm / (norm + 1e-6));
}
