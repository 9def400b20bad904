//! CPU twin of the SGD kernel.

use crate::parallel::*;

use super::Sgd;
use crate::ops::StepState;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

pub(super) fn sgd_step(
    sgd: Sgd,
    rate_factor: f32,
    state: &StepState,
    gradient: &[f32],
    parameter: &mut [f32],
    velocity: &mut [f32],
) {
    let _timed = profile::twin("sgd_step", 0, size_of_val(gradient) + size_of_val(parameter) + size_of_val(velocity));
    if state.gradient_factor < 0.0 {
        return;
    }
    let rate = rate_factor * state.learning_rate;
    parameter.par_chunks_mut(CHUNK).zip(velocity.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK)).for_each(
        |((parameter, velocity), gradient)| {
            vectorized(
                #[inline(always)]
                || {
                    for ((parameter, velocity), gradient) in parameter.iter_mut().zip(velocity).zip(gradient) {
                        let g = state.gradient_factor * gradient + sgd.weight_decay * *parameter;
                        *velocity = sgd.momentum * *velocity + g;
                        let direction = if sgd.nesterov { g + sgd.momentum * *velocity } else { *velocity };
                        *parameter -= rate * direction;
                    }
                },
            );
        },
    );
}
