//! CPU twins of batch normalization's kernels. Rows are pixels of all images; each has one element of every channel.

use rayon::prelude::*;

use super::Parts;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Rows that one task of an element-by-element kernel handles.
const ROWS: usize = 256;

pub(super) fn batch_norm_partial(parts: Parts, channels: usize, input: &[f32], partial: &mut [f32]) {
    let _timed = profile::twin("batch_norm_partial", 0, size_of_val(input) + size_of_val(partial));
    let shares = input.par_chunks(parts.rows_per_part * channels);
    partial.par_chunks_exact_mut(2 * channels).zip(shares).for_each(|(partial, input)| {
        vectorized(
            #[inline(always)]
            || {
                let (sums, squares) = partial.split_at_mut(channels);
                sums.fill(0.0);
                squares.fill(0.0);
                let origin = &input[..channels];
                for row in input.chunks_exact(channels) {
                    for (((sum, square), value), origin) in sums.iter_mut().zip(&mut *squares).zip(row).zip(origin) {
                        let difference = value - origin;
                        *sum += difference;
                        *square += difference * difference;
                    }
                }
                let rows = (input.len() / channels) as f32;
                for ((sum, square), origin) in sums.iter_mut().zip(squares).zip(origin) {
                    let mean = *sum / rows;
                    *square -= *sum * mean;
                    *sum = origin + mean;
                }
            },
        );
    });
}

/// The statistics of a batch from its parts; moves the running ones.
pub(super) fn batch_norm_statistics(
    parts: Parts,
    channels: usize,
    [epsilon, momentum]: [f32; 2],
    partial: &[f32],
    running_mean: &mut [f32],
    running_variance: &mut [f32],
    statistics: &mut [f32],
) {
    let _timed = profile::twin(
        "batch_norm_statistics",
        0,
        size_of_val(partial) + size_of_val(running_mean) + size_of_val(running_variance) + size_of_val(statistics),
    );
    for c in 0..channels {
        let (mut mean, mut squares, mut count) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (part, sums) in partial.chunks_exact(2 * channels).enumerate() {
            let rows = parts.rows_per_part.min(parts.rows - part * parts.rows_per_part) as f32;
            let difference = sums[c] - mean;
            let total = count + rows;
            mean += difference * (rows / total);
            squares += sums[channels + c] + difference * difference * (count * rows / total);
            count = total;
        }
        squares = squares.max(0.0);
        running_mean[c] += momentum * (mean - running_mean[c]);
        running_variance[c] += momentum * (squares / (count - 1.0).max(1.0) - running_variance[c]);
        statistics[c] = mean;
        statistics[channels + c] = 1.0 / (squares / count + epsilon).sqrt();
    }
}

/// The running statistics as [`batch_norm_forward`] takes them.
pub(super) fn batch_norm_running(
    channels: usize,
    epsilon: f32,
    mean: &[f32],
    variance: &[f32],
    statistics: &mut [f32],
) {
    statistics[..channels].copy_from_slice(&mean[..channels]);
    for (scale, variance) in statistics[channels..].iter_mut().zip(variance) {
        *scale = 1.0 / (variance + epsilon).sqrt();
    }
}

pub(super) fn batch_norm_forward(
    relu: bool,
    input: &[f32],
    statistics: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    let _timed = profile::twin(
        "batch_norm_forward",
        0,
        size_of_val(input) + size_of_val(statistics) + size_of_val(weight) + size_of_val(bias) + size_of_val(output),
    );
    let channels = weight.len();
    let (means, scales) = statistics.split_at(channels);
    output.par_chunks_mut(ROWS * channels).zip(input.par_chunks(ROWS * channels)).for_each(|(output, input)| {
        vectorized(
            #[inline(always)]
            || {
                for (output, input) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
                    for c in 0..channels {
                        let value = (input[c] - means[c]) * (scales[c] * weight[c]) + bias[c];
                        // Not `max`, which would hide a NaN.
                        output[c] = if relu && value < 0.0 { 0.0 } else { value };
                    }
                }
            },
        );
    });
}

/// A cotangent, masked by the sign of its output if there is one.
#[inline(always)]
fn masked(cotangent: f32, output: Option<&[f32]>, i: usize) -> f32 {
    match output {
        Some(output) if output[i] > 0.0 => cotangent,
        Some(_) => 0.0,
        None => cotangent,
    }
}

pub(super) fn batch_norm_backward_partial(
    parts: Parts,
    channels: usize,
    input: &[f32],
    statistics: &[f32],
    d_output: &[f32],
    output: Option<&[f32]>,
    partial: &mut [f32],
) {
    let _timed = profile::twin(
        "batch_norm_backward_partial",
        0,
        size_of_val(input) + size_of_val(statistics) + size_of_val(d_output) + size_of_val(partial),
    );
    let (means, scales) = statistics.split_at(channels);
    let share = parts.rows_per_part * channels;
    partial.par_chunks_exact_mut(2 * channels).enumerate().for_each(|(part, partial)| {
        let range = part * share..input.len().min((part + 1) * share);
        let (input, d_output) = (&input[range.clone()], &d_output[range.clone()]);
        let output = output.map(|output| &output[range]);
        vectorized(
            #[inline(always)]
            || {
                let (products, sums) = partial.split_at_mut(channels);
                products.fill(0.0);
                sums.fill(0.0);
                for first in (0..input.len()).step_by(channels) {
                    for c in 0..channels {
                        let d = masked(d_output[first + c], output, first + c);
                        products[c] += d * ((input[first + c] - means[c]) * scales[c]);
                        sums[c] += d;
                    }
                }
            },
        );
    });
}

pub(super) fn batch_norm_backward_weight(channels: usize, partial: &[f32], d_weight: &mut [f32], d_bias: &mut [f32]) {
    let _timed = profile::twin(
        "batch_norm_backward_weight",
        0,
        size_of_val(partial) + size_of_val(d_weight) + size_of_val(d_bias),
    );
    d_weight.fill(0.0);
    d_bias.fill(0.0);
    for part in partial.chunks_exact(2 * channels) {
        let (products, sums) = part.split_at(channels);
        d_weight.iter_mut().zip(products).for_each(|(total, value)| *total += value);
        d_bias.iter_mut().zip(sums).for_each(|(total, value)| *total += value);
    }
}

#[expect(clippy::too_many_arguments, reason = "the kernel's bindings")]
pub(super) fn batch_norm_backward_input(
    rows: usize,
    input: &[f32],
    statistics: &[f32],
    weight: &[f32],
    d_weight: &[f32],
    d_bias: &[f32],
    d_output: &[f32],
    output: Option<&[f32]>,
    d_input: &mut [f32],
) {
    let _timed = profile::twin(
        "batch_norm_backward_input",
        0,
        size_of_val(input)
            + size_of_val(statistics)
            + size_of_val(weight)
            + size_of_val(d_weight)
            + size_of_val(d_bias)
            + size_of_val(d_output)
            + size_of_val(d_input),
    );
    let channels = weight.len();
    let (means, scales) = statistics.split_at(channels);
    d_input.par_chunks_mut(ROWS * channels).enumerate().for_each(|(task, d_input)| {
        let first = task * ROWS * channels;
        let (input, d_output) = (&input[first..], &d_output[first..]);
        let output = output.map(|output| &output[first..]);
        vectorized(
            #[inline(always)]
            || {
                for start in (0..d_input.len()).step_by(channels) {
                    for c in 0..channels {
                        let normalized = (input[start + c] - means[c]) * scales[c];
                        let d = masked(d_output[start + c], output, start + c);
                        let mean_parts = (d_bias[c] + normalized * d_weight[c]) / rows as f32;
                        d_input[start + c] = weight[c] * scales[c] * (d - mean_parts);
                    }
                }
            },
        );
    });
}
