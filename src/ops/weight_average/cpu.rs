//! CPU twin of the weight average kernel.

use crate::parallel::*;

use crate::ops::StepState;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

pub(super) fn weight_average(state: &StepState, parameter: &[f32], average: &mut [f32]) {
    let _timed = profile::twin("weight_average", 0, size_of_val(parameter) + size_of_val(average));
    if state.gradient_factor < 0.0 {
        return;
    }
    let share = state.average_share;
    average.par_chunks_mut(CHUNK).zip(parameter.par_chunks(CHUNK)).for_each(|(average, parameter)| {
        vectorized(
            #[inline(always)]
            || {
                average
                    .iter_mut()
                    .zip(parameter)
                    .for_each(|(average, parameter)| *average += share * (parameter - *average))
            },
        );
    });
}
