//! CPU twins of Muon's kernels.

use crate::parallel::*;

use super::Muon;
use crate::ops::StepState;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

pub(super) fn muon_momentum(
    momentum: f32,
    nesterov: bool,
    state: &StepState,
    gradient: &[f32],
    velocity: &mut [f32],
    direction: &mut [f32],
) {
    let bytes = size_of_val(gradient) + size_of_val(velocity) + size_of_val(direction);
    let _timed = profile::twin("muon_momentum", 0, bytes);
    if state.gradient_factor < 0.0 {
        direction.fill(0.0);
        return;
    }
    direction.par_chunks_mut(CHUNK).zip(velocity.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK)).for_each(
        |((direction, velocity), gradient)| {
            vectorized(
                #[inline(always)]
                || {
                    for ((direction, velocity), gradient) in direction.iter_mut().zip(velocity).zip(gradient) {
                        let g = state.gradient_factor * gradient;
                        *velocity = momentum * *velocity + g;
                        *direction = if nesterov { g + momentum * *velocity } else { *velocity };
                    }
                },
            );
        },
    );
}

pub(super) fn muon_normalize(norm: f32, state: &StepState, partial: &[f32], values: &mut [f32]) {
    let _timed = profile::twin("muon_normalize", 0, size_of_val(partial) + size_of_val(values));
    if state.gradient_factor < 0.0 {
        return;
    }
    let factor = norm / (partial.iter().sum::<f32>().sqrt() + 1e-7);
    values.par_chunks_mut(CHUNK).for_each(|values| values.iter_mut().for_each(|value| *value *= factor));
}

pub(super) fn muon_step(muon: Muon, state: &StepState, direction: &[f32], parameter: &mut [f32]) {
    let _timed = profile::twin("muon_step", 0, size_of_val(direction) + size_of_val(parameter));
    if state.gradient_factor < 0.0 {
        return;
    }
    let kept = 1.0 - state.learning_rate * muon.weight_decay;
    let rate = state.learning_rate * muon.rate_factor;
    parameter.par_chunks_mut(CHUNK).zip(direction.par_chunks(CHUNK)).for_each(|(parameter, direction)| {
        vectorized(
            #[inline(always)]
            || parameter.iter_mut().zip(direction).for_each(|(p, d)| *p = kept * *p - rate * d),
        );
    });
}
