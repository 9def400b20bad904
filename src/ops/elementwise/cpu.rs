//! CPU twins of the element-by-element kernels.

use crate::parallel::*;

use crate::profile;
use crate::tensor::cpu::vectorized;

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

pub(super) fn fill(value: f32, output: &mut [f32]) {
    let _timed = profile::twin("fill", 0, size_of_val(output));
    output.fill(value);
}

pub(super) fn add(relu: bool, a: &[f32], b: &[f32], sum: &mut [f32]) {
    let _timed = profile::twin("add", 0, size_of_val(a) + size_of_val(b) + size_of_val(sum));
    sum.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((sum, a), b)| {
        vectorized(
            #[inline(always)]
            || {
                // Not `max`, which would hide a NaN.
                let finished = |v: f32| if relu && v < 0.0 { 0.0 } else { v };
                sum.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum = finished(a + b));
            },
        );
    });
}

pub(super) fn scale(input: &[f32], factor: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("scale", 0, size_of_val(input) + size_of_val(factor) + size_of_val(output));
    output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).for_each(|(output, input)| {
        vectorized(
            #[inline(always)]
            || output.iter_mut().zip(input).for_each(|(output, input)| *output = factor[0] * input),
        );
    });
}

pub(super) fn combine(x_factor: f32, x: &[f32], y_factor: f32, y: &[f32], output: &mut [f32]) {
    let _timed = profile::twin("combine", 0, size_of_val(x) + size_of_val(y) + size_of_val(output));
    output.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK)).for_each(|((output, x), y)| {
        vectorized(
            #[inline(always)]
            || output.iter_mut().zip(x).zip(y).for_each(|((output, x), y)| *output = x_factor * x + y_factor * y),
        );
    });
}
