//! CPU twin of the dropout kernel.

use crate::parallel::*;

use super::DropoutMask;
use crate::ops::StepState;
use crate::ops::random::threefry_lanes;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Pairs of elements whose random numbers are drawn at a time.
const PAIRS: usize = 16;
/// Elements that one task handles.
const CHUNK: usize = 256 * 2 * PAIRS;

pub(super) fn dropout(dropout: DropoutMask, state: &StepState, input: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("dropout", 0, size_of_val(input) + size_of_val(output));
    output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (output, input))| {
        output.copy_from_slice(input);
        drop_out(dropout, state, chunk * CHUNK, output);
    });
}

/// Applies dropout to `values`, the first of which is element `first` of the tensor.
pub(in crate::ops) fn drop_out(dropout: DropoutMask, state: &StepState, first: usize, values: &mut [f32]) {
    let (threshold, scale) = (dropout.threshold(), dropout.scale());
    // The elements of earlier parts of the batch are an even number, as their images are.
    let first = first + (state.first_image / 2) as usize * 2 * dropout.image_elements as usize;
    let key = [state.seed[0], state.seed[1].wrapping_add(dropout.stream)];
    // Elements share a call of the generator by pairs: the second of one may come first.
    let lone = (first % 2).min(values.len());
    let (head, values) = values.split_at_mut(lone);
    for value in head {
        let [_, [odd]] = threefry_lanes::<1>(key, (first / 2) as u32, state.step);
        *value = if odd >= threshold { *value * scale } else { 0.0 };
    }
    let first_pair = (first + lone) / 2;
    vectorized(
        #[inline(always)]
        || {
            for (block, values) in values.chunks_mut(2 * PAIRS).enumerate() {
                let [even, odd] = threefry_lanes::<PAIRS>(key, (first_pair + block * PAIRS) as u32, state.step);
                // All bits for an element that stays and none for one that goes: a branch would often be mispredicted.
                let mut masks = [0; 2 * PAIRS];
                for (pair, (even, odd)) in masks.chunks_exact_mut(2).zip(even.into_iter().zip(odd)) {
                    pair[0] = u32::from(even >= threshold).wrapping_neg();
                    pair[1] = u32::from(odd >= threshold).wrapping_neg();
                }
                for (value, mask) in values.iter_mut().zip(&masks) {
                    *value = f32::from_bits((*value * scale).to_bits() & mask);
                }
            }
        },
    );
}
