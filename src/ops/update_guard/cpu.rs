//! CPU twin of the guard's kernel.

use crate::ops::StepState;
use crate::profile;

pub(super) fn update_guard(
    halts: bool,
    [gradients, parameters]: [&[f32]; 2],
    history: &mut [f32],
    halted: &mut [u32],
    state: &mut StepState,
) {
    let _timed = profile::twin("update_guard", 0, size_of_val(gradients) + size_of_val(parameters));
    let [of_gradients, of_parameters] = [gradients, parameters].map(|sums| sums.iter().sum::<f32>());
    let is_scaled_too_far = state.gradient_factor < 0.0;
    let factor = if is_scaled_too_far { 1.0 } else { state.gradient_factor };
    let slot = &mut history[4 * state.slot as usize..][..4];
    slot[2..].copy_from_slice(&[factor * of_gradients.sqrt(), of_parameters.sqrt()]);
    let has_weights = of_parameters.is_finite();
    if !(slot[0].is_finite() && has_weights && (of_gradients.is_finite() || is_scaled_too_far)) {
        state.gradient_factor = -1.0;
        if halts || !has_weights {
            halted[0] = 1;
        }
    }
    if halted[0] == 1 {
        state.gradient_factor = -1.0;
    }
}
