//! CPU twins of the convolution kernels: the same implicit GEMM, with tiles of patches small enough for the cache.

use rayon::prelude::*;

use super::{Conv2dGeometry, Finish, Splits};
use crate::cpu::vectorized;
use crate::ops::dropout::{Dropout, drop_out};
use crate::ops::{Gate, StepState};
use crate::profile;

/// Rows of patches gathered at a time.
const TILE_ROWS: usize = 128;

/// Which source pixel a tap of a target pixel's window means.
#[derive(Clone, Copy)]
enum Taps {
    /// The window starts at `position · stride − pad` and its taps follow.
    Forward,
    /// The windows that used this pixel at this tap, if their stride hit it.
    Backward,
}

/// How the rows of an implicit GEMM's left operand come from the source image.
struct Window {
    target_h: usize,
    target_w: usize,
    source_h: usize,
    source_w: usize,
    channels: usize,
    kernel_h: usize,
    kernel_w: usize,
    stride: usize,
    pad_top: usize,
    pad_left: usize,
    taps: Taps,
}

impl Window {
    fn forward(g: &Conv2dGeometry) -> Self {
        Window {
            target_h: g.out_h,
            target_w: g.out_w,
            source_h: g.in_h,
            source_w: g.in_w,
            channels: g.in_c,
            kernel_h: g.kernel_h,
            kernel_w: g.kernel_w,
            stride: g.stride,
            pad_top: g.pad_top,
            pad_left: g.pad_left,
            taps: Taps::Forward,
        }
    }

    fn backward(g: &Conv2dGeometry) -> Self {
        Window {
            target_h: g.in_h,
            target_w: g.in_w,
            source_h: g.out_h,
            source_w: g.out_w,
            channels: g.out_c,
            taps: Taps::Backward,
            ..Window::forward(g)
        }
    }

    /// Products that one target element sums.
    fn products(&self) -> usize {
        self.kernel_h * self.kernel_w * self.channels
    }

    /// Whether a patch is just the source pixel itself, so that nothing need be gathered.
    fn is_identity(&self) -> bool {
        (self.kernel_h, self.kernel_w, self.stride, self.pad_top, self.pad_left) == (1, 1, 1, 0, 0)
    }

    /// Source position of a tap along one axis, if it lies in the image.
    fn source(&self, position: usize, tap: usize, pad: usize, length: usize) -> Option<usize> {
        let source = match self.taps {
            Taps::Forward => (position * self.stride + tap).checked_sub(pad)?,
            Taps::Backward => {
                let distance = (position + pad).checked_sub(tap)?;
                if !distance.is_multiple_of(self.stride) {
                    return None;
                }
                distance / self.stride
            }
        };
        (source < length).then_some(source)
    }

    /// The patches of `rows` target pixels from `first_row` on as rows of a matrix, zeros where there is no source pixel.
    fn patches<'a>(&self, first_row: usize, rows: usize, source: &'a [f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let products = self.products();
        if self.is_identity() {
            return &source[first_row * products..(first_row + rows) * products];
        }
        buffer.resize(rows * products, 0.0);
        for (i, patch) in buffer.chunks_exact_mut(products).enumerate() {
            let row = first_row + i;
            let (line, x) = (row / self.target_w, row % self.target_w);
            let (image, y) = (line / self.target_h, line % self.target_h);
            for (ky, taps) in patch.chunks_exact_mut(self.kernel_w * self.channels).enumerate() {
                let line = self
                    .source(y, ky, self.pad_top, self.source_h)
                    .map(|source_y| (image * self.source_h + source_y) * self.source_w);
                match (line, self.taps) {
                    (None, _) => taps.fill(0.0),
                    (Some(line), Taps::Forward) => self.forward_line(line, x, source, taps),
                    (Some(line), Taps::Backward) => self.backward_line(line, x, source, taps),
                }
            }
        }
        buffer
    }

    /// One line of a window: neighbouring pixels, which lie behind one another.
    fn forward_line(&self, line: usize, x: usize, source: &[f32], taps: &mut [f32]) {
        let (left, channels) = (x * self.stride, self.channels);
        let first = self.pad_left.saturating_sub(left).min(self.kernel_w);
        let end = (self.source_w + self.pad_left).saturating_sub(left).clamp(first, self.kernel_w);
        let (before, rest) = taps.split_at_mut(first * channels);
        let (inside, after) = rest.split_at_mut((end - first) * channels);
        before.fill(0.0);
        if first < end {
            let start = (line + left + first - self.pad_left) * channels;
            inside.copy_from_slice(&source[start..start + inside.len()]);
        }
        after.fill(0.0);
    }

    /// One line of the windows that used a pixel.
    fn backward_line(&self, line: usize, x: usize, source: &[f32], taps: &mut [f32]) {
        for (kx, tap) in taps.chunks_exact_mut(self.channels).enumerate() {
            match self.source(x, kx, self.pad_left, self.source_w) {
                Some(source_x) => {
                    let start = (line + source_x) * self.channels;
                    tap.copy_from_slice(&source[start..start + self.channels]);
                }
                None => tap.fill(0.0),
            }
        }
    }
}

/// Products that are summed in one go: longer sums are added up in blocks, which rounds less.
const SUM_BLOCK: usize = 256;

/// `dst (m × n) = lhs (m × k) · rhs (k × n)`, all row-major, or `dst +=` if `accumulate`; `lhs` may be given transposed
/// (k × m).
#[expect(clippy::too_many_arguments, reason = "the usual arguments of a matrix product")]
pub(super) fn gemm(
    m: usize,
    n: usize,
    k: usize,
    dst: &mut [f32],
    accumulate: bool,
    lhs: &[f32],
    lhs_transposed: bool,
    rhs: &[f32],
) {
    assert!(dst.len() >= m * n && lhs.len() >= m * k && rhs.len() >= k * n);
    let (lhs_cs, lhs_rs) = if lhs_transposed { (m, 1) } else { (1, k) };
    for first in (0..k).step_by(SUM_BLOCK) {
        // SAFETY: the three matrices lie inside their slices, as just checked, so their columns and rows from `first` on
        // do, too; `dst` is borrowed mutably.
        unsafe {
            gemm::gemm(
                m,
                n,
                SUM_BLOCK.min(k - first),
                dst.as_mut_ptr(),
                1,
                n as isize,
                accumulate || first > 0,
                lhs.as_ptr().add(first * lhs_cs),
                lhs_cs as isize,
                lhs_rs as isize,
                rhs.as_ptr().add(first * n),
                1,
                n as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

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
                Finish::Bias { bias, relu, .. } => {
                    // Not `max`, which would hide a NaN.
                    let rectified = |v: f32| if relu && v < 0.0 { 0.0 } else { v };
                    for row in sums.chunks_exact_mut(channels) {
                        row.iter_mut().zip(bias).for_each(|(v, b)| *v = rectified(*v + b));
                    }
                }
                Finish::Gate(Some(Gate { output, factor })) => {
                    let gated = |v: f32, o: f32| if o > 0.0 { v * factor } else { 0.0 };
                    sums.iter_mut().zip(&output[first..]).for_each(|(v, &o)| *v = gated(*v, o));
                }
                Finish::Gate(None) => {}
            },
        );
        if let Finish::Bias { dropout: Some((dropout, state)), .. } = self {
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
    target.par_chunks_mut(TILE_ROWS * columns).enumerate().for_each_init(Vec::new, |buffer, (tile, sums)| {
        let rows = sums.len() / columns;
        let patches = window.patches(tile * TILE_ROWS, rows, source, buffer);
        gemm(rows, columns, window.products(), sums, false, patches, false, weight);
        finish.apply(tile * TILE_ROWS * columns, columns, sums);
    });
}

pub(super) fn conv2d_forward(
    g: &Conv2dGeometry,
    relu: bool,
    dropout: Option<(Dropout, StepState)>,
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    let _timed = profile::twin(
        "conv2d_forward",
        g.flops(),
        size_of_val(input) + size_of_val(weight) + size_of_val(bias) + size_of_val(output),
    );
    implicit_gemm(&Window::forward(g), g.out_c, input, weight, Finish::Bias { bias, relu, dropout }, output);
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
    match g.turned() {
        Some(turned) => {
            // The taps in reverse make it a convolution, whose patches are copied line by line.
            let taps: Vec<&[f32]> = transposed_weight.chunks_exact(g.in_c * g.out_c).rev().collect();
            implicit_gemm(&Window::forward(&turned), g.in_c, d_output, &taps.concat(), finish, d_input);
        }
        None => implicit_gemm(&Window::backward(g), g.in_c, d_output, transposed_weight, finish, d_input),
    }
}

pub(super) fn conv2d_transpose_weight(g: &Conv2dGeometry, weight: &[f32], transposed: &mut [f32]) {
    let _timed = profile::twin("conv2d_transpose_weight", 0, size_of_val(weight) + size_of_val(transposed));
    let tap = g.in_c * g.out_c;
    for (from, to) in weight.chunks_exact(tap).zip(transposed.chunks_exact_mut(tap)) {
        for (c, row) in from.chunks_exact(g.out_c).enumerate() {
            for (o, &value) in row.iter().enumerate() {
                to[o * g.in_c + c] = value;
            }
        }
    }
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
    partial.par_chunks_exact_mut(share).enumerate().for_each_init(Vec::new, |buffer, (split, sums)| {
        let (weights, biases) = sums.split_at_mut(products * g.out_c);
        biases.fill(0.0);
        let first = split * splits.lines_per_split * g.out_w;
        let end = ((split + 1) * splits.lines_per_split).min(splits.lines) * g.out_w;
        for first_row in (first..end).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(end - first_row);
            let cotangents = &d_output[first_row * g.out_c..(first_row + rows) * g.out_c];
            let patches = window.patches(first_row, rows, input, buffer);
            gemm(products, g.out_c, rows, weights, first_row > first, patches, true, cotangents);
            add_rows(g.out_c, cotangents, biases);
        }
    });
}

/// Adds up elements `first..` of `splits` runs of `count` partial sums each, as many as `target` has.
pub(super) fn split_k_reduce(splits: usize, count: usize, first: usize, partial: &[f32], target: &mut [f32]) {
    let _timed = profile::twin("split_k_reduce", 0, size_of_val(partial) + size_of_val(target));
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
