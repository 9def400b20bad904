//! CPU twin of the metrics kernel.

use crate::ops::StepState;

pub(super) fn record_metrics(state: &StepState, loss: &[f32], correct: &[f32], history: &mut [f32]) {
    let slot = 2 * state.slot as usize;
    history[slot] = loss[0];
    history[slot + 1] = correct[0];
}
