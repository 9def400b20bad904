//! CPU twins of the convolution kernels: the same implicit GEMM, with tiles of patches small enough for the cache.

use rayon::prelude::*;

use super::{Conv2dGeometry, Splits};

/// Rows of patches gathered at a time.
const TILE_ROWS: usize = 128;

/// Where a target pixel's window lies in the source, and what a tap means there.
struct Window {
    target_h: usize,
    target_w: usize,
    source_h: usize,
    source_w: usize,
    channels: usize,
    kernel_h: usize,
    kernel_w: usize,
    /// Whether a patch is just the source pixel itself, so that nothing need be gathered.
    is_identity: bool,
}

impl Window {
    /// Products that one target element sums.
    fn products(&self) -> usize {
        self.kernel_h * self.kernel_w * self.channels
    }

    /// Writes the patches of target pixels `first_row..` as rows of a matrix, zeros where there is no source pixel.
    ///
    /// `source_at(target position, tap)` gives the source position along one axis, if there is one.
    fn gather(
        &self,
        first_row: usize,
        source: &[f32],
        source_y: &(impl Fn(usize, usize) -> Option<usize> + Sync),
        source_x: &(impl Fn(usize, usize) -> Option<usize> + Sync),
        patches: &mut [f32],
    ) {
        let channels = self.channels;
        for (i, patch) in patches.chunks_exact_mut(self.products()).enumerate() {
            let row = first_row + i;
            let (line, x) = (row / self.target_w, row % self.target_w);
            let (image, y) = (line / self.target_h, line % self.target_h);
            let mut taps = patch.chunks_exact_mut(channels);
            for ky in 0..self.kernel_h {
                let line = source_y(y, ky).map(|sy| (image * self.source_h + sy) * self.source_w);
                for kx in 0..self.kernel_w {
                    let Some(tap) = taps.next() else { return };
                    match line.zip(source_x(x, kx)) {
                        Some((line, sx)) => {
                            let start = (line + sx) * channels;
                            tap.copy_from_slice(&source[start..start + channels]);
                        }
                        None => tap.fill(0.0),
                    }
                }
            }
        }
    }
}

/// `dst (m × n) += lhs (m × k) · rhs (k × n)`, all row-major; `lhs` may be given transposed (k × m).
fn gemm_accumulate(m: usize, n: usize, k: usize, dst: &mut [f32], lhs: &[f32], lhs_transposed: bool, rhs: &[f32]) {
    assert!(dst.len() >= m * n && lhs.len() >= m * k && rhs.len() >= k * n);
    let (lhs_cs, lhs_rs) = if lhs_transposed { (m, 1) } else { (1, k) };
    // SAFETY: the three matrices lie inside their slices, as just checked, and `dst` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            n as isize,
            true,
            lhs.as_ptr(),
            lhs_cs as isize,
            lhs_rs as isize,
            rhs.as_ptr(),
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

/// `target = patches(source) · weight` over tiles of rows, from sums that `prepare` has set.
fn implicit_gemm(
    window: &Window,
    source_y: impl Fn(usize, usize) -> Option<usize> + Sync,
    source_x: impl Fn(usize, usize) -> Option<usize> + Sync,
    columns: usize,
    source: &[f32],
    weight: &[f32],
    target: &mut [f32],
    prepare: impl Fn(&mut [f32]) + Sync,
    finish: impl Fn(&mut [f32]) + Sync,
) {
    let products = window.products();
    target.par_chunks_mut(TILE_ROWS * columns).enumerate().for_each_init(Vec::new, |patches, (tile, sums)| {
        let rows = sums.len() / columns;
        let first_row = tile * TILE_ROWS;
        prepare(sums);
        if window.is_identity {
            let start = first_row * products;
            gemm_accumulate(rows, columns, products, sums, &source[start..start + rows * products], false, weight);
        } else {
            patches.resize(rows * products, 0.0);
            window.gather(first_row, source, &source_y, &source_x, patches);
            gemm_accumulate(rows, columns, products, sums, patches, false, weight);
        }
        finish(sums);
    });
}

/// Source position of a forward tap along one axis.
fn forward_tap(stride: usize, pad: usize, source: usize) -> impl Fn(usize, usize) -> Option<usize> + Sync {
    move |position, tap| (position * stride + tap).checked_sub(pad).filter(|&p| p < source)
}

/// Source position of a backward tap along one axis: the window that used this pixel at this tap.
fn backward_tap(stride: usize, pad: usize, source: usize) -> impl Fn(usize, usize) -> Option<usize> + Sync {
    move |position, tap| {
        let distance = (position + pad).checked_sub(tap)?;
        (distance % stride == 0).then_some(distance / stride).filter(|&p| p < source)
    }
}

fn is_identity(g: &Conv2dGeometry) -> bool {
    (g.kernel_h, g.kernel_w, g.stride, g.pad_top, g.pad_left) == (1, 1, 1, 0, 0)
}

fn forward_window(g: &Conv2dGeometry) -> Window {
    Window {
        target_h: g.out_h,
        target_w: g.out_w,
        source_h: g.in_h,
        source_w: g.in_w,
        channels: g.in_c,
        kernel_h: g.kernel_h,
        kernel_w: g.kernel_w,
        is_identity: is_identity(g),
    }
}

pub(super) fn conv2d_forward(
    g: &Conv2dGeometry,
    relu: bool,
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
) {
    implicit_gemm(
        &forward_window(g),
        forward_tap(g.stride, g.pad_top, g.in_h),
        forward_tap(g.stride, g.pad_left, g.in_w),
        g.out_c,
        input,
        weight,
        output,
        |sums| sums.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias)),
        |sums| {
            if relu {
                sums.iter_mut().for_each(|v| *v = v.max(0.0));
            }
        },
    );
}

pub(super) fn conv2d_backward_input(
    g: &Conv2dGeometry,
    d_output: &[f32],
    transposed_weight: &[f32],
    d_input: &mut [f32],
) {
    let window = Window {
        target_h: g.in_h,
        target_w: g.in_w,
        source_h: g.out_h,
        source_w: g.out_w,
        channels: g.out_c,
        kernel_h: g.kernel_h,
        kernel_w: g.kernel_w,
        is_identity: is_identity(g),
    };
    implicit_gemm(
        &window,
        backward_tap(g.stride, g.pad_top, g.out_h),
        backward_tap(g.stride, g.pad_left, g.out_w),
        g.in_c,
        d_output,
        transposed_weight,
        d_input,
        |sums| sums.fill(0.0),
        |_| {},
    );
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
    let window = forward_window(g);
    let (source_y, source_x) = (forward_tap(g.stride, g.pad_top, g.in_h), forward_tap(g.stride, g.pad_left, g.in_w));
    let products = g.products();
    let share = (products + 1) * g.out_c;
    partial.par_chunks_exact_mut(share).enumerate().for_each_init(Vec::new, |patches, (split, sums)| {
        sums.fill(0.0);
        let (weights, biases) = sums.split_at_mut(products * g.out_c);
        let first = split * splits.lines_per_split * g.out_w;
        let end = ((split + 1) * splits.lines_per_split).min(splits.lines) * g.out_w;
        for first_row in (first..end).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(end - first_row);
            let cotangents = &d_output[first_row * g.out_c..(first_row + rows) * g.out_c];
            if window.is_identity {
                let inputs = &input[first_row * products..(first_row + rows) * products];
                gemm_accumulate(products, g.out_c, rows, weights, inputs, true, cotangents);
            } else {
                patches.resize(rows * products, 0.0);
                window.gather(first_row, input, &source_y, &source_x, patches);
                gemm_accumulate(products, g.out_c, rows, weights, patches, true, cotangents);
            }
            for row in cotangents.chunks_exact(g.out_c) {
                biases.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
            }
        }
    });
}

pub(super) fn split_k_reduce(splits: usize, partial: &[f32], d_weight: &mut [f32], d_bias: &mut [f32]) {
    let weights = d_weight.len();
    let count = weights + d_bias.len();
    let add_up = |target: &mut [f32], first: usize| {
        target.par_chunks_mut(4096).enumerate().for_each(|(chunk, target)| {
            let first = first + chunk * 4096;
            target.fill(0.0);
            for split in 0..splits {
                let start = split * count + first;
                target.iter_mut().zip(&partial[start..]).for_each(|(sum, &value)| *sum += value);
            }
        });
    };
    add_up(d_weight, 0);
    add_up(d_bias, weights);
}
