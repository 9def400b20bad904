//! CPU twins of the loss scaling's kernels.

use crate::parallel::*;

use super::{GROWTH_INTERVAL, LANES, LARGEST_SCALE};
use crate::ops::StepState;
use crate::profile;

pub(super) fn sum_of_squares(input: &[f32], partial: &mut [f32]) {
    let _timed = profile::twin("sum_of_squares", 0, size_of_val(input) + size_of_val(partial));
    let parts = partial.len();
    partial.par_iter_mut().enumerate().for_each(|(part, sum)| {
        let mut sums = [0.0; LANES];
        for run in input.chunks(LANES).skip(part).step_by(parts) {
            sums.iter_mut().zip(run).for_each(|(sum, value)| *sum += value * value);
        }
        *sum = sums.iter().sum();
    });
}

pub(super) fn loss_scaling(partial: &[f32], scaling: &mut [f32], state: &mut StepState) {
    let _timed = profile::twin("loss_scaling", 0, size_of_val(partial) + size_of_val(scaling));
    let sum: f32 = partial.iter().sum();
    let scale = scaling[0];
    if !sum.is_finite() {
        state.gradient_factor = -1.0;
        scaling[0] = (0.5 * scale).max(1.0);
        scaling[1] = 0.0;
        scaling[2] += 1.0;
        return;
    }
    state.gradient_factor = 1.0 / scale;
    scaling[3] = sum.sqrt() / scale;
    if scaling[1] + 1.0 < GROWTH_INTERVAL as f32 {
        scaling[1] += 1.0;
    } else {
        scaling[0] = (2.0 * scale).min(LARGEST_SCALE as f32);
        scaling[1] = 0.0;
    }
}
