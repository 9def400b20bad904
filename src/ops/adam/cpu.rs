//! CPU twin of the Adam kernel.

use crate::parallel::*;

use super::Adam;
use crate::ops::StepState;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

pub(super) fn adam_step(
    adam: Adam,
    rate_factor: f32,
    state: &StepState,
    gradient: &[f32],
    parameter: &mut [f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
) {
    let _timed = profile::twin(
        "adam_step",
        0,
        size_of_val(gradient) + size_of_val(parameter) + size_of_val(first_moment) + size_of_val(second_moment),
    );
    if state.gradient_factor < 0.0 {
        return;
    }
    let (one_minus_beta1, one_minus_beta2) = (adam.one_minus_beta1(), adam.one_minus_beta2());
    let beta2 = adam.beta2 as f32;
    let rate = rate_factor * state.learning_rate / state.first_moment_correction;
    let root_correction = state.second_moment_correction.sqrt();
    parameter
        .par_chunks_mut(CHUNK)
        .zip(first_moment.par_chunks_mut(CHUNK))
        .zip(second_moment.par_chunks_mut(CHUNK))
        .zip(gradient.par_chunks(CHUNK))
        .for_each(|(((parameter, first), second), gradient)| {
            vectorized(
                #[inline(always)]
                || {
                    for (((p, m), v), &gradient) in parameter.iter_mut().zip(first).zip(second).zip(gradient) {
                        let mut g = state.gradient_factor * gradient;
                        if adam.decoupled {
                            *p *= 1.0 - state.learning_rate * adam.weight_decay;
                        } else {
                            g += adam.weight_decay * *p;
                        }
                        *m += one_minus_beta1 * (g - *m);
                        *v = beta2 * *v + one_minus_beta2 * g * g;
                        *p -= rate * (*m / (v.sqrt() / root_correction + adam.epsilon));
                    }
                },
            );
        });
}
