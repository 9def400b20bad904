//! CPU twins of the Winograd kernels. Transforms and products go over the tiles in blocks that stay in the cache.

use crate::parallel::*;
use pulp::{Arch, Simd, WithSimd};

use super::super::Finish;
use super::super::Splits;
use super::super::cpu::{add_rows, add_splits, exchange_channels};
use super::super::matrix_product::matrix_product;
use super::transforms::{
    Cotangent2, Cotangent2Of5, Cotangent4, InputTile4, InputTile6, Output2, Output2Of5, Output4, Transform, load,
    store, transform_tile,
};
use super::{WEIGHT_2, WEIGHT_2_OF_5, WEIGHT_4, WinogradGeometry, sum_element};
use crate::ops::StepState;
use crate::profile;
use crate::tensor::cpu::with_scratch;

/// Tiles that are transformed, multiplied and transformed back at a time.
const BLOCK_TILES: usize = 32;

/// Elements between the tiles of two matrices, besides the tiles: addresses a multiple of 4 KiB apart compete for the same few
/// lines of the L1 cache.
const GAP: usize = 32;

/// Pairs of channels whose taps one thread transforms at a time.
const PAIRS: usize = 4096;

const fn transposed<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
) -> [[f32; ROWS]; COLUMNS] {
    let mut result = [[0.0; ROWS]; COLUMNS];
    let mut i = 0;
    while i < ROWS {
        let mut j = 0;
        while j < COLUMNS {
            result[j][i] = matrix[i][j];
            j += 1;
        }
        i += 1;
    }
    result
}

/// Row `row` of `matrix · X · matrixᵀ` for the matrices X of neighboring pairs of channels from `first` on. Element e of X is at
/// `e · stride` plus the pair, the last element first if `is_reversed`; element j of the row goes to `targets[j]`.
struct MatrixRow<'a, const IN: usize, const OUT: usize> {
    matrix: &'static [[f32; IN]; OUT],
    row: usize,
    first: usize,
    source: &'a [f32],
    stride: usize,
    is_reversed: bool,
    targets: Vec<&'a mut [f32]>,
}

/// Σ `factors[i]` · `values[i]`.
#[inline(always)]
fn weighted_sum<S: Simd, const N: usize>(simd: S, factors: &[f32; N], values: [S::f32s; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(0.0);
    for (&factor, value) in factors.iter().zip(values) {
        if factor != 0.0 {
            sum = simd.mul_add_e_f32s(simd.splat_f32s(factor), value, sum);
        }
    }
    sum
}

impl<const IN: usize, const OUT: usize> WithSimd for MatrixRow<'_, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let MatrixRow { matrix, row, first, source, stride, is_reversed, mut targets } = self;
        let pairs = targets[0].len();
        for pair in (0..pairs).step_by(S::F32_LANES) {
            let end = pairs.min(pair + S::F32_LANES);
            let mut halfway = [simd.splat_f32s(0.0); IN];
            for (j, sum) in halfway.iter_mut().enumerate() {
                let mut column = [simd.splat_f32s(0.0); IN];
                for (i, element) in column.iter_mut().enumerate() {
                    let number = i * IN + j;
                    let place = if is_reversed { IN * IN - 1 - number } else { number } * stride + first;
                    *element = load(simd, &source[place + pair..place + end]);
                }
                *sum = weighted_sum(simd, &matrix[row], column);
            }
            for (target, factors) in targets.iter_mut().zip(matrix) {
                store(simd, &mut target[pair..end], weighted_sum(simd, factors, halfway));
            }
        }
    }
}

/// `matrix · X · matrixᵀ` for the matrices X of all pairs of channels, whose elements are `stride` apart in `source`, the last one
/// first if `is_reversed`.
fn transform_pairs<const IN: usize, const OUT: usize>(
    matrix: &'static [[f32; IN]; OUT],
    pairs: usize,
    source: &[f32],
    stride: usize,
    is_reversed: bool,
    target: &mut [f32],
) {
    let mut parts = Vec::new();
    for (row, elements) in target.chunks_exact_mut(OUT * pairs).enumerate() {
        let mut elements: Vec<_> = elements.chunks_exact_mut(pairs).map(|element| element.chunks_mut(PAIRS)).collect();
        for first in (0..pairs).step_by(PAIRS) {
            let targets = elements.iter_mut().filter_map(Iterator::next).collect();
            parts.push(MatrixRow { matrix, row, first, source, stride, is_reversed, targets });
        }
    }
    parts.into_par_iter().for_each(|part| Arch::new().dispatch(part));
}

/// Position of a square of pixels in one image; it may extend beyond the image's edge.
struct Square {
    image: usize,
    y: isize,
    x: isize,
}

/// An image's size.
#[derive(Clone, Copy)]
struct Size {
    h: usize,
    w: usize,
    channels: usize,
}

/// First element of each pixel of a square that is inside the image.
///
/// Loops, because `array::from_fn` is inlined in some builds and not in others, which takes a tenth of the time.
#[inline(always)]
fn pixels<const SIDE: usize>(size: Size, square: &Square) -> [[Option<usize>; SIDE]; SIDE] {
    let mut starts = [[None; SIDE]; SIDE];
    for (i, row) in starts.iter_mut().enumerate() {
        let y = square.y + i as isize;
        if y < 0 || y as usize >= size.h {
            continue;
        }
        let line = (square.image * size.h + y as usize) * size.w;
        for (j, start) in row.iter_mut().enumerate() {
            let x = square.x + j as isize;
            if x >= 0 && (x as usize) < size.w {
                *start = Some((line + x as usize) * size.channels);
            }
        }
    }
    starts
}

/// Squares of `IN`² pixels of `source`, each transformed: element (i, j) of tile t goes to row t of matrix `i · OUT + j` of
/// `transformed [OUT², tiles, channels]`, whose matrices are `stride` elements apart.
struct Squares<'a, T, P, const IN: usize, const OUT: usize> {
    transform: T,
    size: Size,
    square: P,
    tiles: usize,
    source: &'a [f32],
    transformed: &'a mut [f32],
}

impl<T: Transform<IN, OUT>, P: Fn(usize) -> Square, const IN: usize, const OUT: usize> WithSimd
    for Squares<'_, T, P, IN, OUT>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Squares { transform, size, square, tiles, source, transformed } = self;
        let channels = size.channels;
        let stride = tiles * channels + GAP;
        for t in 0..tiles {
            let starts = pixels::<IN>(size, &square(t));
            for c in (0..channels).step_by(S::F32_LANES) {
                let end = channels.min(c + S::F32_LANES);
                transform_tile(
                    simd,
                    transform,
                    |i, j| match starts[i][j] {
                        Some(start) => load(simd, &source[start + c..start + end]),
                        None => simd.splat_f32s(0.0),
                    },
                    |i, j, sum| {
                        let start = (i * OUT + j) * stride + t * channels;
                        store(simd, &mut transformed[start + c..start + end], sum);
                    },
                );
            }
        }
    }
}

/// The other way: tiles of sums become the outputs that they cover, in `lines`, whose first element is number `origin` of all
/// outputs.
struct Outputs<'a, T, const IN: usize, const OUT: usize> {
    transform: T,
    w: &'a WinogradGeometry,
    first: usize,
    tiles: usize,
    products: &'a [f32],
    origin: usize,
    lines: &'a mut [f32],
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> WithSimd for Outputs<'_, T, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outputs { transform, w, first, tiles, products, origin, lines } = self;
        let size = w.output_size();
        let channels = size.channels;
        let stride = tiles * channels + GAP;
        for t in 0..tiles {
            let starts = pixels::<OUT>(size, &w.output_square(first + t));
            for c in (0..channels).step_by(S::F32_LANES) {
                let end = channels.min(c + S::F32_LANES);
                transform_tile(
                    simd,
                    transform,
                    |i, j| {
                        let start = (i * IN + j) * stride + t * channels;
                        load(simd, &products[start + c..start + end])
                    },
                    |i, j, sum| {
                        if let Some(start) = starts[i][j] {
                            store(simd, &mut lines[start - origin + c..start - origin + end], sum);
                        }
                    },
                );
            }
        }
    }
}

impl WinogradGeometry {
    fn input_size(&self) -> Size {
        Size { h: self.conv.in_h, w: self.conv.in_w, channels: self.conv.in_c }
    }

    fn output_size(&self) -> Size {
        Size { h: self.conv.out_h, w: self.conv.out_w, channels: self.conv.out_c }
    }

    /// The outputs that tile `t` covers.
    fn output_square(&self, t: usize) -> Square {
        let (row, column) = (t / self.tiles_w(), t % self.tiles_w());
        let tiles_h = self.conv.out_h.div_ceil(self.outputs);
        Square { image: row / tiles_h, y: (row % tiles_h * self.outputs) as isize, x: (column * self.outputs) as isize }
    }

    /// The inputs that tile `t` depends on.
    fn input_square(&self, t: usize) -> Square {
        let Square { image, y, x } = self.output_square(t);
        Square { image, y: y - self.conv.pad_top as isize, x: x - self.conv.pad_left as isize }
    }

    /// Rows of tiles that are handled at a time.
    fn block_rows(&self) -> usize {
        BLOCK_TILES.div_ceil(self.tiles_w())
    }

    /// Number of the output line, of all images, at which a row of tiles starts.
    fn first_line(&self, tile_row: usize) -> usize {
        let tiles_h = self.conv.out_h.div_ceil(self.outputs);
        tile_row / tiles_h * self.conv.out_h + tile_row % tiles_h * self.outputs
    }
}

/// Transformed input of `tiles` tiles from `first` on.
fn winograd_transform_input(w: &WinogradGeometry, first: usize, tiles: usize, source: &[f32], transformed: &mut [f32]) {
    let (size, square) = (w.input_size(), |t| w.input_square(first + t));
    match w.side() {
        4 => Arch::new().dispatch(Squares { transform: InputTile4, size, square, tiles, source, transformed }),
        _ => Arch::new().dispatch(Squares { transform: InputTile6, size, square, tiles, source, transformed }),
    }
}

/// Transformed cotangents of the outputs of `tiles` tiles from `first` on.
fn winograd_transform_cotangent(
    w: &WinogradGeometry,
    first: usize,
    tiles: usize,
    source: &[f32],
    transformed: &mut [f32],
) {
    let (size, square) = (w.output_size(), |t| w.output_square(first + t));
    match (w.outputs, w.kernel()) {
        (2, 3) => Arch::new().dispatch(Squares { transform: Cotangent2, size, square, tiles, source, transformed }),
        (2, _) => Arch::new().dispatch(Squares { transform: Cotangent2Of5, size, square, tiles, source, transformed }),
        _ => Arch::new().dispatch(Squares { transform: Cotangent4, size, square, tiles, source, transformed }),
    }
}

/// Outputs of `tiles` tiles from `first` on, into `lines`, which start with the first tile's.
fn winograd_transform_output(
    w: &WinogradGeometry,
    finish: Finish<&[f32], StepState>,
    first: usize,
    tiles: usize,
    products: &[f32],
    lines: &mut [f32],
) {
    let origin = w.first_line(first / w.tiles_w()) * w.conv.out_w * w.conv.out_c;
    let sums = &mut *lines;
    match (w.outputs, w.kernel()) {
        (2, 3) => Arch::new().dispatch(Outputs { transform: Output2, w, first, tiles, products, origin, lines: sums }),
        (2, _) => {
            Arch::new().dispatch(Outputs { transform: Output2Of5, w, first, tiles, products, origin, lines: sums })
        }
        _ => Arch::new().dispatch(Outputs { transform: Output4, w, first, tiles, products, origin, lines: sums }),
    }
    finish.apply(origin, w.conv.out_c, lines);
}

/// `transformed [matrices, in_c, out_c]` from `weight [kernel, kernel, in_c, out_c]`; or, if `flip`, the weight of the convolution
/// that [`WinogradGeometry::flipped`] describes, from `weight [kernel, kernel, out_c, in_c]` of the original one.
pub(super) fn winograd_transform_weight(w: &WinogradGeometry, flip: bool, weight: &[f32], transformed: &mut [f32]) {
    let _timed = profile::twin("winograd_transform_weight", 0, size_of_val(weight) + size_of_val(transformed));
    let pairs = w.conv.in_c * w.conv.out_c;
    let mut exchanged = Vec::new();
    let taps = if flip {
        exchanged.resize(weight.len(), 0.0);
        exchange_channels(w.conv.out_c, w.conv.in_c, weight, &mut exchanged);
        &exchanged
    } else {
        weight
    };
    match (w.outputs, w.kernel()) {
        (2, 3) => transform_pairs(&WEIGHT_2, pairs, taps, pairs, flip, transformed),
        (2, _) => transform_pairs(&WEIGHT_2_OF_5, pairs, taps, pairs, flip, transformed),
        _ => transform_pairs(&WEIGHT_4, pairs, taps, pairs, flip, transformed),
    }
}

/// The convolution itself: `weight` is transformed.
pub(super) fn winograd_forward(
    w: &WinogradGeometry,
    input: &[f32],
    weight: &[f32],
    finish: Finish<&[f32], StepState>,
    output: &mut [f32],
) {
    let _timed = profile::twin(
        "winograd_forward",
        w.conv.flops(),
        size_of_val(input) + size_of_val(weight) + size_of_val(output),
    );
    let (in_c, out_c) = (w.conv.in_c, w.conv.out_c);
    let line = w.conv.out_w * out_c;
    let mut blocks = Vec::new();
    let mut rest = output;
    for first in (0..w.tile_rows()).step_by(w.block_rows()) {
        let end = w.tile_rows().min(first + w.block_rows());
        let (lines, after) = rest.split_at_mut((w.first_line(end) - w.first_line(first)) * line);
        blocks.push((first, end, lines));
        rest = after;
    }
    blocks.into_par_iter().for_each(|(first, end, lines)| {
        let (first, tiles) = (first * w.tiles_w(), (end - first) * w.tiles_w());
        with_scratch([in_c, out_c].map(|channels| w.matrices() * (tiles * channels + GAP)), |[patches, products]| {
            winograd_transform_input(w, first, tiles, input, patches);
            for ((patches, weight), products) in patches
                .chunks_exact(tiles * in_c + GAP)
                .zip(weight.chunks_exact(in_c * out_c))
                .zip(products.chunks_exact_mut(tiles * out_c + GAP))
            {
                matrix_product(tiles, out_c, in_c, products, false, patches, false, weight);
            }
            winograd_transform_output(w, finish, first, tiles, products, lines);
        });
    });
}

/// Partial sums `[splits, matrices, in_c + 1, out_c]` of the gradients of the transformed weight, and of the bias.
pub(super) fn winograd_backward_weight(
    w: &WinogradGeometry,
    splits: Splits,
    input: &[f32],
    d_output: &[f32],
    partial: &mut [f32],
) {
    let _timed = profile::twin(
        "winograd_backward_weight",
        w.conv.flops(),
        size_of_val(input) + size_of_val(d_output) + size_of_val(partial),
    );
    let (in_c, out_c) = (w.conv.in_c, w.conv.out_c);
    let share = (in_c + 1) * out_c;
    partial.par_chunks_exact_mut(w.matrices() * share).enumerate().for_each(|(split, sums)| {
        sums.fill(0.0);
        let end = ((split + 1) * splits.lines_per_split).min(splits.lines);
        for row in (split * splits.lines_per_split..end).step_by(w.block_rows()) {
            let tiles = (end - row).min(w.block_rows()) * w.tiles_w();
            let first = row * w.tiles_w();
            with_scratch(
                [in_c, out_c].map(|channels| w.matrices() * (tiles * channels + GAP)),
                |[patches, cotangents]| {
                    winograd_transform_input(w, first, tiles, input, patches);
                    winograd_transform_cotangent(w, first, tiles, d_output, cotangents);
                    for ((patches, cotangents), sums) in patches
                        .chunks_exact(tiles * in_c + GAP)
                        .zip(cotangents.chunks_exact(tiles * out_c + GAP))
                        .zip(sums.chunks_exact_mut(share))
                    {
                        matrix_product(in_c, out_c, tiles, &mut sums[..in_c * out_c], true, patches, true, cotangents);
                    }
                    let element = sum_element(w.side());
                    let biases = &mut sums[element * share + in_c * out_c..(element + 1) * share];
                    let start = element * (tiles * out_c + GAP);
                    add_rows(out_c, &cotangents[start..start + tiles * out_c], biases);
                },
            );
        }
    });
}

/// Gradient of the weight `[kernel, kernel, in_c, out_c]`, from the partial sums in order.
pub(super) fn winograd_reduce_weight(w: &WinogradGeometry, splits: usize, partial: &[f32], d_weight: &mut [f32]) {
    let _timed = profile::twin("winograd_reduce_weight", 0, size_of_val(partial) + size_of_val(d_weight));
    const MATRIX_2: [[f32; 4]; 3] = transposed(&WEIGHT_2);
    const MATRIX_2_OF_5: [[f32; 6]; 5] = transposed(&WEIGHT_2_OF_5);
    const MATRIX_4: [[f32; 6]; 3] = transposed(&WEIGHT_4);
    let (pairs, stride) = (w.conv.in_c * w.conv.out_c, (w.conv.in_c + 1) * w.conv.out_c);
    with_scratch([w.matrices() * stride], |[sums]| {
        add_splits(splits, w.matrices() * stride, 0, partial, sums);
        match (w.outputs, w.kernel()) {
            (2, 3) => transform_pairs(&MATRIX_2, pairs, sums, stride, false, d_weight),
            (2, _) => transform_pairs(&MATRIX_2_OF_5, pairs, sums, stride, false, d_weight),
            _ => transform_pairs(&MATRIX_4, pairs, sums, stride, false, d_weight),
        }
    });
}

/// Gradient of the bias `[out_c]`, from the partial sums in order.
pub(super) fn winograd_reduce_bias(w: &WinogradGeometry, splits: usize, partial: &[f32], d_bias: &mut [f32]) {
    let (pairs, stride) = (w.conv.in_c * w.conv.out_c, (w.conv.in_c + 1) * w.conv.out_c);
    add_splits(splits, w.matrices() * stride, sum_element(w.side()) * stride + pairs, partial, d_bias);
}
