//! CPU twins of the Winograd kernels. Transforms and products go over the tiles in blocks that stay in the cache.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::Finish;
use super::super::Splits;
use super::super::cpu::{add_rows, gemm};
use super::transforms::{
    Cotangent2, Cotangent2Of5, Cotangent4, InputTile4, InputTile6, Output2, Output2Of5, Output4, Transform, load,
    store, transform_tile,
};
use super::{WEIGHT_2, WEIGHT_2_OF_5, WEIGHT_4, WinogradGeometry, sum_element};
use crate::ops::StepState;
use crate::profile;
use crate::tensor::cpu::vectorized;

/// Tiles that are transformed, multiplied and transformed back at a time.
const BLOCK_TILES: usize = 32;
/// Channels of weights that are transformed at a time.
const LANES: usize = 16;

/// Elements between the tiles of two matrices, besides the tiles: addresses a multiple of 4 KiB apart compete for the same few
/// lines of the L1 cache.
const GAP: usize = 32;

/// Values of neighboring channels.
type Lanes = [f32; LANES];

/// `matrix · values`.
#[inline(always)]
fn transform<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    values: &[Lanes; COLUMNS],
) -> [Lanes; ROWS] {
    let mut result = [[0.0; LANES]; ROWS];
    for (sums, row) in result.iter_mut().zip(matrix) {
        for (&factor, values) in row.iter().zip(values) {
            if factor != 0.0 {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += factor * value;
                }
            }
        }
    }
    result
}

/// `matrix · taps · matrixᵀ`.
#[inline(always)]
fn transform_weights<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    taps: &[[Lanes; COLUMNS]; COLUMNS],
) -> [[Lanes; ROWS]; ROWS] {
    let mut halfway = [[[0.0; LANES]; COLUMNS]; ROWS];
    for j in 0..COLUMNS {
        let mut column = [[0.0; LANES]; COLUMNS];
        (0..COLUMNS).for_each(|i| column[i] = taps[i][j]);
        let transformed = transform(matrix, &column);
        (0..ROWS).for_each(|i| halfway[i][j] = transformed[i]);
    }
    let mut result = [[[0.0; LANES]; ROWS]; ROWS];
    (0..ROWS).for_each(|i| result[i] = transform(matrix, &halfway[i]));
    result
}

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
    match (w.outputs, w.kernel()) {
        (2, 3) => transform_taps(&WEIGHT_2, w, flip, weight, transformed),
        (2, _) => transform_taps(&WEIGHT_2_OF_5, w, flip, weight, transformed),
        _ => transform_taps(&WEIGHT_4, w, flip, weight, transformed),
    }
}

fn transform_taps<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    w: &WinogradGeometry,
    flip: bool,
    weight: &[f32],
    transformed: &mut [f32],
) {
    let (rows, columns) = (w.conv.in_c, w.conv.out_c);
    let pairs = rows * columns;
    let source = |tap: usize, c: usize, o: usize| {
        if flip {
            weight[(COLUMNS * COLUMNS - 1 - tap) * pairs + o * rows + c]
        } else {
            weight[tap * pairs + c * columns + o]
        }
    };
    // The matrices' rows of a channel are far apart in memory: they are computed by channel and then copied.
    let rows: Vec<Vec<f32>> = (0..rows)
        .into_par_iter()
        .map(|c| {
            let mut row = vec![0.0; ROWS * ROWS * columns];
            vectorized(
                #[inline(always)]
                || {
                    for o in (0..columns).step_by(LANES) {
                        let width = LANES.min(columns - o);
                        let mut tile = [[[0.0; LANES]; COLUMNS]; COLUMNS];
                        for (tap, lanes) in tile.iter_mut().flatten().enumerate() {
                            for (i, lane) in lanes.iter_mut().enumerate().take(width) {
                                *lane = source(tap, c, o + i);
                            }
                        }
                        for (m, lanes) in transform_weights(matrix, &tile).iter().flatten().enumerate() {
                            row[m * columns + o..m * columns + o + width].copy_from_slice(&lanes[..width]);
                        }
                    }
                },
            );
            row
        })
        .collect();
    transformed.par_chunks_exact_mut(pairs).enumerate().for_each(|(m, matrix)| {
        for (target, row) in matrix.chunks_exact_mut(columns).zip(&rows) {
            target.copy_from_slice(&row[m * columns..(m + 1) * columns]);
        }
    });
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
    blocks.into_par_iter().for_each_init(
        || (Vec::new(), Vec::new()),
        |(patches, products), (first, end, lines)| {
            let (first, tiles) = (first * w.tiles_w(), (end - first) * w.tiles_w());
            patches.resize(w.matrices() * (tiles * in_c + GAP), 0.0);
            products.resize(w.matrices() * (tiles * out_c + GAP), 0.0);
            winograd_transform_input(w, first, tiles, input, patches);
            for ((patches, weight), products) in patches
                .chunks_exact(tiles * in_c + GAP)
                .zip(weight.chunks_exact(in_c * out_c))
                .zip(products.chunks_exact_mut(tiles * out_c + GAP))
            {
                gemm(tiles, out_c, in_c, products, false, patches, false, weight);
            }
            winograd_transform_output(w, finish, first, tiles, products, lines);
        },
    );
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
    partial.par_chunks_exact_mut(w.matrices() * share).enumerate().for_each_init(
        || (Vec::new(), Vec::new()),
        |(patches, cotangents), (split, sums)| {
            sums.fill(0.0);
            let end = ((split + 1) * splits.lines_per_split).min(splits.lines);
            for row in (split * splits.lines_per_split..end).step_by(w.block_rows()) {
                let tiles = (end - row).min(w.block_rows()) * w.tiles_w();
                let first = row * w.tiles_w();
                patches.resize(w.matrices() * (tiles * in_c + GAP), 0.0);
                cotangents.resize(w.matrices() * (tiles * out_c + GAP), 0.0);
                winograd_transform_input(w, first, tiles, input, patches);
                winograd_transform_cotangent(w, first, tiles, d_output, cotangents);
                for ((patches, cotangents), sums) in patches
                    .chunks_exact(tiles * in_c + GAP)
                    .zip(cotangents.chunks_exact(tiles * out_c + GAP))
                    .zip(sums.chunks_exact_mut(share))
                {
                    gemm(in_c, out_c, tiles, &mut sums[..in_c * out_c], true, patches, true, cotangents);
                }
                let element = sum_element(w.side());
                let biases = &mut sums[element * share + in_c * out_c..(element + 1) * share];
                let start = element * (tiles * out_c + GAP);
                add_rows(out_c, &cotangents[start..start + tiles * out_c], biases);
            }
        },
    );
}

/// Sums of `width` neighboring partial sums of one element of all tiles over the splits, in order.
#[inline(always)]
fn total(w: &WinogradGeometry, splits: usize, partial: &[f32], element: usize, start: usize, width: usize) -> Lanes {
    let share = (w.conv.in_c + 1) * w.conv.out_c;
    let mut sums = [0.0; LANES];
    for split in 0..splits {
        let from = (split * w.matrices() + element) * share + start;
        sums.iter_mut().zip(&partial[from..from + width]).for_each(|(sum, &value)| *sum += value);
    }
    sums
}

/// Gradient of the weight `[kernel, kernel, in_c, out_c]`, from the partial sums in order.
pub(super) fn winograd_reduce_weight(w: &WinogradGeometry, splits: usize, partial: &[f32], d_weight: &mut [f32]) {
    let _timed = profile::twin("winograd_reduce_weight", 0, size_of_val(partial) + size_of_val(d_weight));
    const MATRIX_2: [[f32; 4]; 3] = transposed(&WEIGHT_2);
    const MATRIX_2_OF_5: [[f32; 6]; 5] = transposed(&WEIGHT_2_OF_5);
    const MATRIX_4: [[f32; 6]; 3] = transposed(&WEIGHT_4);
    match (w.outputs, w.kernel()) {
        (2, 3) => reduce_taps(&MATRIX_2, w, splits, partial, d_weight),
        (2, _) => reduce_taps(&MATRIX_2_OF_5, w, splits, partial, d_weight),
        _ => reduce_taps(&MATRIX_4, w, splits, partial, d_weight),
    }
}

fn reduce_taps<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    w: &WinogradGeometry,
    splits: usize,
    partial: &[f32],
    d_weight: &mut [f32],
) {
    let (in_c, out_c) = (w.conv.in_c, w.conv.out_c);
    // The taps of a pair of channels are far apart in memory: their rows are gathered by channel and then copied.
    let rows: Vec<Vec<f32>> = (0..in_c)
        .into_par_iter()
        .map(|c| {
            let mut taps = vec![0.0; ROWS * ROWS * out_c];
            vectorized(
                #[inline(always)]
                || {
                    for o in (0..out_c).step_by(LANES) {
                        let width = LANES.min(out_c - o);
                        let element = |m| total(w, splits, partial, m, c * out_c + o, width);
                        let mut tile = [[[0.0; LANES]; COLUMNS]; COLUMNS];
                        for (m, lanes) in tile.iter_mut().flatten().enumerate() {
                            *lanes = element(m);
                        }
                        for (tap, lanes) in transform_weights(matrix, &tile).iter().flatten().enumerate() {
                            taps[tap * out_c + o..tap * out_c + o + width].copy_from_slice(&lanes[..width]);
                        }
                    }
                },
            );
            taps
        })
        .collect();
    d_weight.par_chunks_exact_mut(in_c * out_c).enumerate().for_each(|(tap, matrix)| {
        for (target, taps) in matrix.chunks_exact_mut(out_c).zip(&rows) {
            target.copy_from_slice(&taps[tap * out_c..(tap + 1) * out_c]);
        }
    });
}

/// Gradient of the bias `[out_c]`, from the partial sums in order.
pub(super) fn winograd_reduce_bias(w: &WinogradGeometry, splits: usize, partial: &[f32], d_bias: &mut [f32]) {
    let (in_c, out_c) = (w.conv.in_c, w.conv.out_c);
    for (first, lanes) in d_bias.chunks_mut(LANES).enumerate() {
        let sums = total(w, splits, partial, sum_element(w.side()), in_c * out_c + first * LANES, lanes.len());
        lanes.copy_from_slice(&sums[..lanes.len()]);
    }
}
