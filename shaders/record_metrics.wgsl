// record_metrics: writes a step's loss and correct count to its slot of the history, which is read back for many steps at a time.
//
//     history[slot] = (loss, correct)
//
// loss and correct [1], history [slots, 2]. One invocation.
{% include "shared/step_state.wgsl" %}
@group(0) @binding(0) var<storage, read> state: StepState;
@group(0) @binding(1) var<storage, read> loss: array<f32>;
@group(0) @binding(2) var<storage, read> correct: array<f32>;
@group(0) @binding(3) var<storage, read_write> history: array<vec2<f32>>;

@compute @workgroup_size(1)
fn main() {
    if state.slot < arrayLength(&history) {
        history[state.slot] = vec2<f32>(loss[0], correct[0]);
    }
}
