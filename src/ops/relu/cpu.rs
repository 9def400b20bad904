//! CPU twins of the ReLU kernels.

use crate::parallel::*;

use crate::profile;
use crate::tensor::cpu::vectorized;

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

pub(super) fn relu_forward(input: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("relu_forward", 0, size_of_val(input) + size_of_val(output));
    output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).for_each(|(output, input)| {
        vectorized(
            #[inline(always)]
            || output.iter_mut().zip(input).for_each(|(out, input)| *out = if *input < 0.0 { 0.0 } else { *input }),
        );
    });
}

pub(super) fn relu_backward(factor: f32, output: &[f32], d_output: &[f32], d_input: &mut [f32]) {
    let _timed = profile::twin("relu_backward", 0, size_of_val(output) + size_of_val(d_output) + size_of_val(d_input));
    d_input.par_chunks_mut(CHUNK).zip(output.par_chunks(CHUNK)).zip(d_output.par_chunks(CHUNK)).for_each(
        |((d_input, output), d_output)| {
            vectorized(
                #[inline(always)]
                || {
                    for ((d_input, &output), &d_output) in d_input.iter_mut().zip(output).zip(d_output) {
                        *d_input = if output > 0.0 { d_output * factor } else { 0.0 };
                    }
                },
            );
        },
    );
}
