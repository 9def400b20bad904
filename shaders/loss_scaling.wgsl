// loss_scaling: decides from the gradients' sum of squares whether the optimizer may use them, and adapts the loss scale.
//
//     finite:  gradient_factor = 1 / scale;  after GROWTH_INTERVAL such steps in a row, scale = min(2 · scale, LARGEST)
//     else:    gradient_factor = −1;         scale = max(scale / 2, 1)
//
// partial [parts] is `sum_of_squares` of the gradients of the scaled loss; scaling [4]: the scale, finite steps since it changed,
// steps that were skipped, and the gradients' Euclidean norm without the scale. One workgroup of {{ LANES }} invocations, which add
// up in a tree.
struct Params {
    parts: u32,
}

{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> scaling: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: StepState;

{% include "shared/partial_sum.wgsl" %}
{% include "shared/is_finite.wgsl" %}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(local_invocation_index) lane: u32) {
    let sum = partial_sum(lane);
    if lane > 0u {
        return;
    }
    let scale = scaling[0];
    if !is_finite(sum) {
        state.gradient_factor = -1.0;
        scaling[0] = max(0.5 * scale, 1.0);
        scaling[1] = 0.0;
        scaling[2] += 1.0;
        return;
    }
    state.gradient_factor = 1.0 / scale;
    scaling[3] = sqrt(sum) / scale;
    if scaling[1] + 1.0 < f32({{ GROWTH_INTERVAL }}) {
        scaling[1] += 1.0;
    } else {
        scaling[0] = min(2.0 * scale, f32({{ LARGEST }}));
        scaling[1] = 0.0;
    }
}
