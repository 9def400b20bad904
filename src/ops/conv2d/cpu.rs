//! CPU twins of the convolution kernels: the same implicit GEMM, with tiles of patches small enough for the cache.

use crate::parallel::*;

use super::matrix_product::matrix_product;
use super::phase::Phase;
use super::window::Window;
use super::{Conv2dGeometry, Finish, Splits};
use crate::ops::dropout::{DropoutMask, drop_out};
use crate::ops::{Gate, StepState};
use crate::profile;
use crate::tensor::cpu::{vectorized, with_scratch};

/// Rows of patches gathered at a time.
const TILE_ROWS: usize = 128;

/// Adds rows of `channels` values to `sums`.
pub(super) fn add_rows(channels: usize, rows: &[f32], sums: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(channels) {
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
            }
        },
    );
}

impl Finish<&[f32], StepState> {
    /// Finishes rows of `channels` sums, of which the first is element `first` of the whole target.
    pub(super) fn apply(self, first: usize, channels: usize, sums: &mut [f32]) {
        vectorized(
            #[inline(always)]
            || match self {
                Finish::Activate { bias, relu, .. } => {
                    // Not `max`, which would hide a NaN.
                    let rectified = |v: f32| if relu && v < 0.0 { 0.0 } else { v };
                    match bias {
                        Some(bias) => {
                            for row in sums.chunks_exact_mut(channels) {
                                row.iter_mut().zip(bias).for_each(|(v, b)| *v = rectified(*v + b));
                            }
                        }
                        None if relu => sums.iter_mut().for_each(|v| *v = rectified(*v)),
                        None => {}
                    }
                }
                Finish::Gate(Some(Gate { output, factor })) => {
                    let gated = |v: f32, o: f32| if o > 0.0 { v * factor } else { 0.0 };
                    sums.iter_mut().zip(&output[first..]).for_each(|(v, &o)| *v = gated(*v, o));
                }
                Finish::Gate(None) => {}
            },
        );
        if let Finish::Activate { dropout: Some((dropout, state)), .. } = self {
            drop_out(dropout, &state, first, sums);
        }
    }
}

/// `target [rows, columns] = patches(source) · weight`, finished, over tiles of rows.
fn implicit_gemm(
    window: &Window,
    columns: usize,
    source: &[f32],
    weight: &[f32],
    finish: Finish<&[f32], StepState>,
    target: &mut [f32],
) {
    target.par_chunks_mut(TILE_ROWS * columns).enumerate().for_each(|(tile, sums)| {
        let rows = sums.len() / columns;
        with_scratch([window.buffer_len(rows)], |[buffer]| {
            let patches = window.patches(tile * TILE_ROWS, rows, source, buffer);
            matrix_product(rows, columns, window.products(), sums, false, patches, false, weight);
        });
        finish.apply(tile * TILE_ROWS * columns, columns, sums);
    });
}

pub(super) fn conv2d_forward(
    g: &Conv2dGeometry,
    relu: bool,
    dropout: Option<(DropoutMask, StepState)>,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    let _timed = profile::twin(
        "conv2d_forward",
        g.flops(),
        size_of_val(input) + size_of_val(weight) + bias.map_or(0, size_of_val) + size_of_val(output),
    );
    implicit_gemm(&Window::forward(g), g.out_c, input, weight, Finish::Activate { bias, relu, dropout }, output);
}

pub(super) fn conv2d_backward_input(
    g: &Conv2dGeometry,
    d_output: &[f32],
    transposed_weight: &[f32],
    gate: Option<Gate<&[f32]>>,
    d_input: &mut [f32],
) {
    let _timed = profile::twin(
        "conv2d_backward_input",
        g.flops(),
        size_of_val(d_output) + size_of_val(transposed_weight) + size_of_val(d_input),
    );
    let finish = Finish::Gate(gate);
    let phases: Vec<_> = Phase::all(g)
        .map(|phase| (phase, Window::backward(g, &phase), reversed_taps(g, &phase, transposed_weight)))
        .collect();
    match phases.as_slice() {
        [(_, window, weight)] if g.stride == 1 => implicit_gemm(window, g.in_c, d_output, weight, finish, d_input),
        phases => gemm_by_phase(g, phases, d_output, finish, d_input),
    }
}

/// The cotangent of a strided convolution's input: a product for each phase with the taps of its window, whose rows then go to
/// their positions.
fn gemm_by_phase(
    g: &Conv2dGeometry,
    phases: &[(Phase, Window, Vec<f32>)],
    d_output: &[f32],
    finish: Finish<&[f32], StepState>,
    d_input: &mut [f32],
) {
    let image = g.in_h * g.in_w * g.in_c;
    let images = (TILE_ROWS * phases.len() / (g.in_h * g.in_w)).max(1);
    d_input.par_chunks_mut(images * image).enumerate().for_each(|(chunk, target)| {
        for (phase, window, weight) in phases {
            let pixels = phase.pixels();
            let end = target.len() / image * pixels;
            for first in (0..end).step_by(TILE_ROWS) {
                let rows = TILE_ROWS.min(end - first);
                with_scratch([window.buffer_len(rows), rows * g.in_c], |[buffer, sums]| {
                    let patches = window.patches(chunk * images * pixels + first, rows, d_output, buffer);
                    // Where no window read the pixels, there are no products, and the sums are zeros.
                    matrix_product(rows, g.in_c, window.products(), sums, false, patches, false, weight);
                    for (row, sums) in (first..).zip(sums.chunks_exact(g.in_c)) {
                        let (y, x) = (row % pixels / phase.x.pixels, row % phase.x.pixels);
                        let line = row / pixels * g.in_h + phase.y.first + y * g.stride;
                        let start = (line * g.in_w + phase.x.first + x * g.stride) * g.in_c;
                        target[start..start + g.in_c].copy_from_slice(sums);
                    }
                });
            }
        }
        finish.apply(chunk * images * image, g.in_c, target);
    });
}

/// The taps of a transposed weight that a phase was read at, the last one first.
fn reversed_taps(g: &Conv2dGeometry, phase: &Phase, transposed_weight: &[f32]) -> Vec<f32> {
    let mut taps = Vec::with_capacity(phase.taps() * g.in_c * g.out_c);
    for ky in (0..phase.y.taps).rev().map(|t| phase.y.first_tap + t * g.stride) {
        for kx in (0..phase.x.taps).rev().map(|t| phase.x.first_tap + t * g.stride) {
            let start = (ky * g.kernel_w + kx) * g.in_c * g.out_c;
            taps.extend_from_slice(&transposed_weight[start..start + g.in_c * g.out_c]);
        }
    }
    taps
}

pub(super) fn conv2d_transpose_weight(g: &Conv2dGeometry, weight: &[f32], transposed: &mut [f32]) {
    let _timed = profile::twin("conv2d_transpose_weight", 0, size_of_val(weight) + size_of_val(transposed));
    exchange_channels(g.in_c, g.out_c, weight, transposed);
}

/// `[taps, columns, rows]` from `weight [taps, rows, columns]`.
pub(super) fn exchange_channels(rows: usize, columns: usize, weight: &[f32], exchanged: &mut [f32]) {
    /// Columns that are exchanged at a time: a row's share of them fills a line of the cache.
    const BLOCK: usize = 16;
    let matrices = weight.par_chunks_exact(rows * columns).zip(exchanged.par_chunks_exact_mut(rows * columns));
    matrices.for_each(|(from, to)| {
        to.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(block, to)| {
            let first = block * BLOCK;
            for (row, from) in from.chunks_exact(columns).enumerate() {
                for (target, &value) in to.iter_mut().skip(row).step_by(rows).zip(&from[first..]) {
                    *target = value;
                }
            }
        });
    });
}

pub(super) fn conv2d_backward_weight(
    g: &Conv2dGeometry,
    splits: Splits,
    input: &[f32],
    d_output: &[f32],
    partial: &mut [f32],
) {
    let _timed = profile::twin(
        "conv2d_backward_weight",
        g.flops(),
        size_of_val(input) + size_of_val(d_output) + size_of_val(partial),
    );
    let window = Window::forward(g);
    let products = g.products();
    let share = (products + 1) * g.out_c;
    partial.par_chunks_exact_mut(share).enumerate().for_each(|(split, sums)| {
        let (weights, biases) = sums.split_at_mut(products * g.out_c);
        biases.fill(0.0);
        let first = split * splits.lines_per_split * g.out_w;
        let end = ((split + 1) * splits.lines_per_split).min(splits.lines) * g.out_w;
        for first_row in (first..end).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(end - first_row);
            let cotangents = &d_output[first_row * g.out_c..(first_row + rows) * g.out_c];
            with_scratch([window.buffer_len(rows)], |[buffer]| {
                let patches = window.patches(first_row, rows, input, buffer);
                matrix_product(products, g.out_c, rows, weights, first_row > first, patches, true, cotangents);
            });
            add_rows(g.out_c, cotangents, biases);
        }
    });
}

/// Adds up elements `first..` of `splits` runs of `count` partial sums each, as many as `target` has.
pub(super) fn split_k_reduce(splits: usize, count: usize, first: usize, partial: &[f32], target: &mut [f32]) {
    let _timed = profile::twin("split_k_reduce", 0, size_of_val(partial) + size_of_val(target));
    add_splits(splits, count, first, partial, target);
}

/// As [`split_k_reduce`], as a part of another kernel.
pub(super) fn add_splits(splits: usize, count: usize, first: usize, partial: &[f32], target: &mut [f32]) {
    target.par_chunks_mut(4096).enumerate().for_each(|(chunk, target)| {
        let first = first + chunk * 4096;
        target.fill(0.0);
        vectorized(
            #[inline(always)]
            || {
                for split in 0..splits {
                    let start = split * count + first;
                    target.iter_mut().zip(&partial[start..]).for_each(|(sum, &value)| *sum += value);
                }
            },
        );
    });
}
