//! CPU twin of the metrics kernel.

use crate::ops::StepState;
use crate::profile;

pub(super) fn record_metrics(state: &StepState, loss: &[f32], correct: &[f32], history: &mut [f32]) {
    let _timed = profile::twin("record_metrics", 0, size_of_val(loss) + size_of_val(correct) + size_of_val(history));
    let slot = &mut history[4 * state.slot as usize..][..2];
    let earlier = if state.first_image > 0 { [slot[0], slot[1]] } else { [0.0; 2] };
    slot.copy_from_slice(&[earlier[0] + state.share * loss[0], earlier[1] + correct[0]]);
}
