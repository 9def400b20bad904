//! CPU twins of batch normalization's kernels. Rows are pixels of all images; each has one element of every channel.

use crate::parallel::*;

use super::Parts;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Rows that one task of an element-by-element kernel handles.
const ROWS: usize = 256;

/// Elements that loops go over at a time, at least where there are as many: several rows of few channels, so that vectors are full.
const STRETCH: usize = 256;

/// Rows in a stretch.
fn stretch_rows(channels: usize) -> usize {
    (STRETCH / channels).max(1)
}

/// Values of the channels, once for each row of a stretch.
fn for_stretch(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let values: Vec<f32> = values.collect();
    values.repeat(stretch_rows(values.len()))
}

/// Adds the sums of a stretch's rows to `totals`.
#[inline(always)]
fn add_stretch(sums: &[f32], totals: &mut [f32]) {
    totals.fill(0.0);
    for row in sums.chunks_exact(totals.len()) {
        totals.iter_mut().zip(row).for_each(|(total, sum)| *total += sum);
    }
}

pub(super) fn batch_norm_partial(parts: Parts, channels: usize, input: &[f32], partial: &mut [f32]) {
    let _timed = profile::twin("batch_norm_partial", 0, size_of_val(input) + size_of_val(partial));
    let shares = input.par_chunks(parts.rows_per_part * channels);
    let stretch = stretch_rows(channels) * channels;
    partial.par_chunks_exact_mut(2 * channels).zip(shares).for_each(|(partial, input)| {
        let origin = for_stretch(input[..channels].iter().copied());
        let (mut sums, mut squares) = (vec![0.0; stretch], vec![0.0; stretch]);
        vectorized(
            #[inline(always)]
            || {
                for values in input.chunks(stretch) {
                    for (((sum, square), value), origin) in sums.iter_mut().zip(&mut squares).zip(values).zip(&origin) {
                        let difference = value - origin;
                        *sum += difference;
                        *square += difference * difference;
                    }
                }
                let rows = (input.len() / channels) as f32;
                let (means, variations) = partial.split_at_mut(channels);
                add_stretch(&sums, means);
                add_stretch(&squares, variations);
                for ((mean, variation), origin) in means.iter_mut().zip(variations).zip(&origin) {
                    let difference = *mean / rows;
                    *variation -= *mean * difference;
                    *mean = origin + difference;
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
        // Not `max`, which returns zero for a NaN.
        if squares < 0.0 {
            squares = 0.0;
        }
        if mean.is_finite() && squares.is_finite() {
            running_mean[c] += momentum * (mean - running_mean[c]);
            running_variance[c] += momentum * (squares / (count - 1.0).max(1.0) - running_variance[c]);
        }
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
    let (means, biases) = (for_stretch(means.iter().copied()), for_stretch(bias.iter().copied()));
    let factors = for_stretch(scales.iter().zip(weight).map(|(scale, weight)| scale * weight));
    output.par_chunks_mut(ROWS * channels).zip(input.par_chunks(ROWS * channels)).for_each(|(output, input)| {
        vectorized(
            #[inline(always)]
            || {
                for (output, input) in output.chunks_mut(means.len()).zip(input.chunks(means.len())) {
                    let channels = means.iter().zip(&factors).zip(&biases);
                    for ((output, input), ((mean, factor), bias)) in output.iter_mut().zip(input).zip(channels) {
                        let value = (input - mean) * factor + bias;
                        // Not `max`, which would hide a NaN.
                        *output = if relu && value < 0.0 { 0.0 } else { value };
                    }
                }
            },
        );
    });
}

/// The cotangents that a ReLU with this output passes on; all of them, if there is none.
#[inline(always)]
fn masked<'a>(cotangents: &'a [f32], output: Option<&[f32]>, buffer: &'a mut [f32]) -> &'a [f32] {
    let Some(output) = output else { return cotangents };
    for ((masked, &cotangent), &output) in buffer.iter_mut().zip(cotangents).zip(output) {
        *masked = if output > 0.0 { cotangent } else { 0.0 };
    }
    &buffer[..cotangents.len()]
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
    let (means, scales) = (for_stretch(means.iter().copied()), for_stretch(scales.iter().copied()));
    let (share, stretch) = (parts.rows_per_part * channels, means.len());
    partial.par_chunks_exact_mut(2 * channels).enumerate().for_each(|(part, partial)| {
        let range = part * share..input.len().min((part + 1) * share);
        let [mut products, mut sums, mut buffer] = [0.0; 3].map(|zero: f32| vec![zero; stretch]);
        vectorized(
            #[inline(always)]
            || {
                for first in range.clone().step_by(stretch) {
                    let place = first..range.end.min(first + stretch);
                    let d_output = masked(&d_output[place.clone()], output.map(|o| &o[place.clone()]), &mut buffer);
                    let channels = means.iter().zip(&scales);
                    let totals = products.iter_mut().zip(&mut sums);
                    for (((input, d), (mean, scale)), (product, sum)) in
                        input[place].iter().zip(d_output).zip(channels).zip(totals)
                    {
                        *product += d * ((input - mean) * scale);
                        *sum += d;
                    }
                }
                let (of_products, of_cotangents) = partial.split_at_mut(channels);
                add_stretch(&products, of_products);
                add_stretch(&sums, of_cotangents);
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
    // weight · scale · (d − (d_bias + normalized · d_weight) / rows), for each channel a sum of products with d and the input.
    let factors = for_stretch(weight.iter().zip(scales).map(|(weight, scale)| weight * scale));
    let offsets = for_stretch(d_bias.iter().map(|sum| sum / rows as f32));
    let slopes = for_stretch(d_weight.iter().zip(scales).map(|(sum, scale)| scale * (sum / rows as f32)));
    let means = for_stretch(means.iter().copied());
    let stretch = means.len();
    d_input.par_chunks_mut(ROWS * channels).enumerate().for_each(|(task, d_input)| {
        let first = task * ROWS * channels;
        let mut buffer = vec![0.0; stretch];
        vectorized(
            #[inline(always)]
            || {
                for (start, d_input) in (first..).step_by(stretch).zip(d_input.chunks_mut(stretch)) {
                    let place = start..start + d_input.len();
                    let d_output = masked(&d_output[place.clone()], output.map(|o| &o[place.clone()]), &mut buffer);
                    let channels = means.iter().zip(&slopes).zip(offsets.iter().zip(&factors));
                    let elements = d_input.iter_mut().zip(&input[place]).zip(d_output);
                    for (((d_input, input), d), ((mean, slope), (offset, factor))) in elements.zip(channels) {
                        *d_input = factor * (d - (offset + (input - mean) * slope));
                    }
                }
            },
        );
    });
}
