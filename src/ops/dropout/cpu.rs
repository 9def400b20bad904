//! CPU twin of the dropout kernel.

use rayon::prelude::*;

use super::Dropout;
use crate::cpu::vectorized;
use crate::ops::StepState;
use crate::ops::random::threefry_lanes;
use crate::profile;

/// Pairs of elements whose random numbers are drawn at a time.
const PAIRS: usize = 16;
/// Elements that one task handles.
const CHUNK: usize = 256 * 2 * PAIRS;

pub(super) fn dropout(dropout: Dropout, state: &StepState, input: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("dropout", 0, size_of_val(input) + size_of_val(output));
    let (threshold, scale) = (dropout.threshold(), dropout.scale());
    let key = [state.seed[0], state.seed[1].wrapping_add(dropout.stream)];
    output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (output, input))| {
        vectorized(
            #[inline(always)]
            || {
                let blocks = output.chunks_mut(2 * PAIRS).zip(input.chunks(2 * PAIRS));
                for (block, (output, input)) in blocks.enumerate() {
                    let first_pair = chunk * CHUNK / 2 + block * PAIRS;
                    let [even, odd] = threefry_lanes::<PAIRS>(key, first_pair as u32, state.step);
                    // All bits for an element that stays and none for one that goes: a branch would often be mispredicted.
                    let mut masks = [0; 2 * PAIRS];
                    for (pair, (even, odd)) in masks.chunks_exact_mut(2).zip(even.into_iter().zip(odd)) {
                        pair[0] = u32::from(even >= threshold).wrapping_neg();
                        pair[1] = u32::from(odd >= threshold).wrapping_neg();
                    }
                    for ((output, input), mask) in output.iter_mut().zip(input).zip(&masks) {
                        *output = f32::from_bits((input * scale).to_bits() & mask);
                    }
                }
            },
        );
    });
}
