//! CPU twin of the gradient clipping kernel.

use crate::ops::StepState;
use crate::profile;

pub(super) fn gradient_clipping(max_norm: f32, partial: &[f32], state: &mut StepState) {
    let _timed = profile::twin("gradient_clipping", 0, size_of_val(partial));
    if state.gradient_factor < 0.0 {
        return;
    }
    let norm = partial.iter().sum::<f32>().sqrt() * state.gradient_factor;
    // The summand is PyTorch's, for norms near zero.
    state.gradient_factor *= (max_norm / (norm + 1e-6)).min(1.0);
}
