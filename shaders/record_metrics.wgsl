// record_metrics: writes a step's loss and correct count to its slot of the history, which is read back for many steps at a time.
//
//     history[slot].xy = (share · loss, correct), added to what earlier parts of the batch wrote if first_image > 0
//
// loss and correct [1], history [slots, 4]. One invocation.
{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<storage, read> state: StepState;
@group(0) @binding(1) var<storage, read> loss: array<f32>;
@group(0) @binding(2) var<storage, read> correct: array<f32>;
@group(0) @binding(3) var<storage, read_write> history: array<vec4<f32>>;

@compute @workgroup_size(1)
fn main() {
    if state.slot < arrayLength(&history) {
        let earlier = select(vec2<f32>(), history[state.slot].xy, state.first_image > 0u);
        history[state.slot] = vec4<f32>(earlier + vec2<f32>(state.share * loss[0], correct[0]), history[state.slot].zw);
    }
}
