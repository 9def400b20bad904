//! CPU twin of the dropout kernel.

use rayon::prelude::*;

use super::Dropout;
use crate::ops::StepState;
use crate::ops::random::threefry;

/// Elements that one task handles, an even number.
const CHUNK: usize = 1 << 14;

pub(super) fn dropout(dropout: Dropout, state: &StepState, input: &[f32], output: &mut [f32]) {
    let (threshold, scale) = (dropout.threshold(), dropout.scale());
    let key = [state.seed[0], state.seed[1].wrapping_add(dropout.stream)];
    output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (output, input))| {
        let first_pair = (chunk * CHUNK / 2) as u32;
        for (pair, (output, input)) in (first_pair..).zip(output.chunks_mut(2).zip(input.chunks(2))) {
            let random = threefry(key, [pair, state.step]);
            for ((output, &input), random) in output.iter_mut().zip(input).zip(random) {
                *output = if random >= threshold { input * scale } else { 0.0 };
            }
        }
    });
}
