// record_metrics: puts a step's loss and correct count into its slot of the history, to be read back many at a time.
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
