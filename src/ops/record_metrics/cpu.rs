//! CPU twin of the metrics kernel.

use crate::ops::StepState;
use crate::profile;

pub(super) fn record_metrics(state: &StepState, loss: &[f32], correct: &[f32], history: &mut [f32]) {
    let _timed = profile::twin("record_metrics", 0, size_of_val(loss) + size_of_val(correct) + size_of_val(history));
    let slot = 2 * state.slot as usize;
    let earlier = if state.first_image > 0 { [history[slot], history[slot + 1]] } else { [0.0; 2] };
    history[slot] = earlier[0] + state.share * loss[0];
    history[slot + 1] = earlier[1] + correct[0];
}
