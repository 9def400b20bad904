//! CPU twins of the convolution kernels: the same implicit GEMM, with tiles of patches small enough for the cache.

use rayon::prelude::*;

use super::{Conv2dGeometry, Splits};

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
                for (kx, tap) in taps.chunks_exact_mut(self.channels).enumerate() {
                    match line.zip(self.source(x, kx, self.pad_left, self.source_w)) {
                        Some((line, source_x)) => {
                            let start = (line + source_x) * self.channels;
                            tap.copy_from_slice(&source[start..start + self.channels]);
                        }
                        None => tap.fill(0.0),
                    }
                }
            }
        }
        buffer
    }
}

/// Products that are summed in one go: longer sums are added up in blocks, which rounds less.
const SUM_BLOCK: usize = 256;

/// `dst (m × n) += lhs (m × k) · rhs (k × n)`, all row-major; `lhs` may be given transposed (k × m).
fn gemm_accumulate(m: usize, n: usize, k: usize, dst: &mut [f32], lhs: &[f32], lhs_transposed: bool, rhs: &[f32]) {
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
                true,
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

/// What is done to a row of sums before and after the product.
struct Epilogue<'a> {
    bias: Option<&'a [f32]>,
    relu: bool,
}

/// `target [rows, columns] = patches(source) · weight + bias`, then ReLU, over tiles of rows.
fn implicit_gemm(
    window: &Window,
    columns: usize,
    source: &[f32],
    weight: &[f32],
    epilogue: &Epilogue,
    target: &mut [f32],
) {
    target.par_chunks_mut(TILE_ROWS * columns).enumerate().for_each_init(Vec::new, |buffer, (tile, sums)| {
        match epilogue.bias {
            Some(bias) => sums.chunks_exact_mut(columns).for_each(|row| row.copy_from_slice(bias)),
            None => sums.fill(0.0),
        }
        let rows = sums.len() / columns;
        let patches = window.patches(tile * TILE_ROWS, rows, source, buffer);
        gemm_accumulate(rows, columns, window.products(), sums, patches, false, weight);
        if epilogue.relu {
            // Not `max`, which would hide a NaN.
            sums.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
        }
    });
}

pub(super) fn conv2d_forward(
    g: &Conv2dGeometry,
    relu: bool,
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    implicit_gemm(&Window::forward(g), g.out_c, input, weight, &Epilogue { bias: Some(bias), relu }, output);
}

pub(super) fn conv2d_backward_input(
    g: &Conv2dGeometry,
    d_output: &[f32],
    transposed_weight: &[f32],
    d_input: &mut [f32],
) {
    let epilogue = Epilogue { bias: None, relu: false };
    implicit_gemm(&Window::backward(g), g.in_c, d_output, transposed_weight, &epilogue, d_input);
}

pub(super) fn conv2d_transpose_weight(g: &Conv2dGeometry, weight: &[f32], transposed: &mut [f32]) {
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
    let window = Window::forward(g);
    let products = g.products();
    let share = (products + 1) * g.out_c;
    partial.par_chunks_exact_mut(share).enumerate().for_each_init(Vec::new, |buffer, (split, sums)| {
        sums.fill(0.0);
        let (weights, biases) = sums.split_at_mut(products * g.out_c);
        let first = split * splits.lines_per_split * g.out_w;
        let end = ((split + 1) * splits.lines_per_split).min(splits.lines) * g.out_w;
        for first_row in (first..end).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(end - first_row);
            let cotangents = &d_output[first_row * g.out_c..(first_row + rows) * g.out_c];
            let patches = window.patches(first_row, rows, input, buffer);
            gemm_accumulate(products, g.out_c, rows, weights, patches, true, cotangents);
            for row in cotangents.chunks_exact(g.out_c) {
                biases.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
            }
        }
    });
}

/// Adds up elements `first..` of `splits` runs of `count` partial sums each, as many as `target` has.
pub(super) fn split_k_reduce(splits: usize, count: usize, first: usize, partial: &[f32], target: &mut [f32]) {
    target.par_chunks_mut(4096).enumerate().for_each(|(chunk, target)| {
        let first = first + chunk * 4096;
        target.fill(0.0);
        for split in 0..splits {
            let start = split * count + first;
            target.iter_mut().zip(&partial[start..]).for_each(|(sum, &value)| *sum += value);
        }
    });
}
