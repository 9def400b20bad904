//! CPU twins of the Winograd kernels. Transforms and products go over the tiles in blocks that stay in the cache.

use rayon::prelude::*;

use super::super::Finish;
use super::super::Splits;
use super::super::cpu::{add_rows, gemm};
use super::{
    INPUT_TILE_4, INPUT_TILE_6, OUTPUT_2, OUTPUT_2_OF_5, OUTPUT_4, WEIGHT_2, WEIGHT_2_OF_5, WEIGHT_4, WinogradGeometry,
    sum_element,
};
use crate::cpu::vectorized;

/// Tiles that are transformed, multiplied and transformed back at a time.
const BLOCK_TILES: usize = 32;
/// Channels that are transformed at a time.
const LANES: usize = 16;

/// Values of neighbouring channels.
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

/// `matrix · tile · matrixᵀ`.
#[inline(always)]
fn transform_tile<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    tile: &[[Lanes; COLUMNS]; COLUMNS],
) -> [[Lanes; ROWS]; ROWS] {
    let mut halfway = [[[0.0; LANES]; COLUMNS]; ROWS];
    for j in 0..COLUMNS {
        let mut column = [[0.0; LANES]; COLUMNS];
        (0..COLUMNS).for_each(|i| column[i] = tile[i][j]);
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

#[inline(always)]
fn load(source: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    match source.get(..LANES) {
        Some(whole) => lanes.copy_from_slice(whole),
        None => lanes[..source.len()].copy_from_slice(source),
    }
    lanes
}

#[inline(always)]
fn store(target: &mut [f32], lanes: &Lanes) {
    match target.get_mut(..LANES) {
        Some(whole) => whole.copy_from_slice(lanes),
        None => target.copy_from_slice(&lanes[..target.len()]),
    }
}

/// Where a square of pixels of one image lies, which may reach over the image's edge.
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

/// First element of a pixel, if it lies in the image.
#[inline(always)]
fn pixel(size: Size, square: &Square, i: usize, j: usize) -> Option<usize> {
    let (y, x) = (square.y + i as isize, square.x + j as isize);
    let inside = y >= 0 && (y as usize) < size.h && x >= 0 && (x as usize) < size.w;
    inside.then(|| ((square.image * size.h + y as usize) * size.w + x as usize) * size.channels)
}

/// Squares of pixels of `source`, each transformed: element (i, j) of tile t goes to row t of matrix `i · ROWS + j` of
/// `transformed [ROWS², tiles, channels]`.
#[inline(always)]
fn transform_squares<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    size: Size,
    square: impl Fn(usize) -> Square,
    tiles: usize,
    source: &[f32],
    transformed: &mut [f32],
) {
    let channels = size.channels;
    for t in 0..tiles {
        let square = square(t);
        let mut starts = [[None; COLUMNS]; COLUMNS];
        for (i, row) in starts.iter_mut().enumerate() {
            for (j, start) in row.iter_mut().enumerate() {
                *start = pixel(size, &square, i, j);
            }
        }
        for c in (0..channels).step_by(LANES) {
            let end = channels.min(c + LANES);
            let mut tile = [[[0.0; LANES]; COLUMNS]; COLUMNS];
            for (row, starts) in tile.iter_mut().zip(&starts) {
                for (lanes, start) in row.iter_mut().zip(starts) {
                    if let Some(start) = start {
                        *lanes = load(&source[start + c..start + end]);
                    }
                }
            }
            let result = transform_tile(matrix, &tile);
            for (m, lanes) in result.iter().flatten().enumerate() {
                let start = (m * tiles + t) * channels;
                store(&mut transformed[start + c..start + end], lanes);
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
fn winograd_transform_input(w: &WinogradGeometry, first: usize, tiles: usize, input: &[f32], transformed: &mut [f32]) {
    let square = |t| w.input_square(first + t);
    vectorized(
        #[inline(always)]
        || match w.side() {
            4 => transform_squares(&INPUT_TILE_4, w.input_size(), square, tiles, input, transformed),
            _ => transform_squares(&INPUT_TILE_6, w.input_size(), square, tiles, input, transformed),
        },
    );
}

/// Transformed cotangents of the outputs of `tiles` tiles from `first` on.
fn winograd_transform_cotangent(
    w: &WinogradGeometry,
    first: usize,
    tiles: usize,
    d_output: &[f32],
    transformed: &mut [f32],
) {
    const MATRIX_2: [[f32; 2]; 4] = transposed(&OUTPUT_2);
    const MATRIX_2_OF_5: [[f32; 2]; 6] = transposed(&OUTPUT_2_OF_5);
    const MATRIX_4: [[f32; 4]; 6] = transposed(&OUTPUT_4);
    let square = |t| w.output_square(first + t);
    vectorized(
        #[inline(always)]
        || match (w.outputs, w.kernel()) {
            (2, 3) => transform_squares(&MATRIX_2, w.output_size(), square, tiles, d_output, transformed),
            (2, _) => transform_squares(&MATRIX_2_OF_5, w.output_size(), square, tiles, d_output, transformed),
            _ => transform_squares(&MATRIX_4, w.output_size(), square, tiles, d_output, transformed),
        },
    );
}

/// Outputs of `tiles` tiles from `first` on, into `lines`, which start with the first tile's.
fn winograd_transform_output(
    w: &WinogradGeometry,
    finish: Finish<&[f32]>,
    first: usize,
    tiles: usize,
    products: &[f32],
    lines: &mut [f32],
) {
    vectorized(
        #[inline(always)]
        || match (w.outputs, w.kernel()) {
            (2, 3) => output_tiles(&OUTPUT_2, w, first, tiles, products, lines),
            (2, _) => output_tiles(&OUTPUT_2_OF_5, w, first, tiles, products, lines),
            _ => output_tiles(&OUTPUT_4, w, first, tiles, products, lines),
        },
    );
    let line = w.conv.out_w * w.conv.out_c;
    finish.apply(w.first_line(first / w.tiles_w()) * line, w.conv.out_c, lines);
}

#[inline(always)]
fn output_tiles<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    w: &WinogradGeometry,
    first: usize,
    tiles: usize,
    products: &[f32],
    lines: &mut [f32],
) {
    let size = w.output_size();
    let channels = size.channels;
    let origin = w.first_line(first / w.tiles_w()) * size.w * channels;
    for t in 0..tiles {
        let square = w.output_square(first + t);
        for c in (0..channels).step_by(LANES) {
            let end = channels.min(c + LANES);
            let mut tile = [[[0.0; LANES]; COLUMNS]; COLUMNS];
            for (m, lanes) in tile.iter_mut().flatten().enumerate() {
                let start = (m * tiles + t) * channels;
                *lanes = load(&products[start + c..start + end]);
            }
            let result = transform_tile(matrix, &tile);
            for (i, row) in result.iter().enumerate() {
                for (j, lanes) in row.iter().enumerate() {
                    if let Some(start) = pixel(size, &square, i, j) {
                        store(&mut lines[start - origin + c..start - origin + end], lanes);
                    }
                }
            }
        }
    }
}

/// `transformed [matrices, in_c, out_c]` from `weight [kernel, kernel, in_c, out_c]`; or, if `turn`, the weight of the
/// convolution that [`WinogradGeometry::turned`] describes, from `weight [kernel, kernel, out_c, in_c]` of the original one.
pub(super) fn winograd_transform_weight(w: &WinogradGeometry, turn: bool, weight: &[f32], transformed: &mut [f32]) {
    match (w.outputs, w.kernel()) {
        (2, 3) => transform_taps(&WEIGHT_2, w, turn, weight, transformed),
        (2, _) => transform_taps(&WEIGHT_2_OF_5, w, turn, weight, transformed),
        _ => transform_taps(&WEIGHT_4, w, turn, weight, transformed),
    }
}

fn transform_taps<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f32; COLUMNS]; ROWS],
    w: &WinogradGeometry,
    turn: bool,
    weight: &[f32],
    transformed: &mut [f32],
) {
    let (rows, columns) = (w.conv.in_c, w.conv.out_c);
    let pairs = rows * columns;
    let source = |tap: usize, c: usize, o: usize| {
        if turn {
            weight[(COLUMNS * COLUMNS - 1 - tap) * pairs + o * rows + c]
        } else {
            weight[tap * pairs + c * columns + o]
        }
    };
    for c in 0..rows {
        for o in (0..columns).step_by(LANES) {
            let end = columns.min(o + LANES);
            let mut tile = [[[0.0; LANES]; COLUMNS]; COLUMNS];
            for (tap, lanes) in tile.iter_mut().flatten().enumerate() {
                for (i, lane) in lanes.iter_mut().enumerate().take(end - o) {
                    *lane = source(tap, c, o + i);
                }
            }
            for (m, lanes) in transform_tile(matrix, &tile).iter().flatten().enumerate() {
                store(&mut transformed[m * pairs + c * columns + o..m * pairs + c * columns + end], lanes);
            }
        }
    }
}

/// The convolution itself: `weight` is transformed.
pub(super) fn winograd_forward(
    w: &WinogradGeometry,
    input: &[f32],
    weight: &[f32],
    finish: Finish<&[f32]>,
    output: &mut [f32],
) {
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
            patches.resize(w.matrices() * tiles * in_c, 0.0);
            products.resize(w.matrices() * tiles * out_c, 0.0);
            winograd_transform_input(w, first, tiles, input, patches);
            for ((patches, weight), products) in patches
                .chunks_exact(tiles * in_c)
                .zip(weight.chunks_exact(in_c * out_c))
                .zip(products.chunks_exact_mut(tiles * out_c))
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
                patches.resize(w.matrices() * tiles * in_c, 0.0);
                cotangents.resize(w.matrices() * tiles * out_c, 0.0);
                winograd_transform_input(w, first, tiles, input, patches);
                winograd_transform_cotangent(w, first, tiles, d_output, cotangents);
                for ((patches, cotangents), sums) in patches
                    .chunks_exact(tiles * in_c)
                    .zip(cotangents.chunks_exact(tiles * out_c))
                    .zip(sums.chunks_exact_mut(share))
                {
                    gemm(in_c, out_c, tiles, &mut sums[..in_c * out_c], true, patches, true, cotangents);
                }
                let element = sum_element(w.side());
                let biases = &mut sums[element * share + in_c * out_c..(element + 1) * share];
                add_rows(out_c, &cotangents[element * tiles * out_c..(element + 1) * tiles * out_c], biases);
            }
        },
    );
}

/// Sums of `width` neighbouring partial sums of one element of all tiles over the splits, in order.
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
    // The taps of a pair of channels lie far apart: their rows are gathered by channel and then put in place.
    let rows: Vec<Vec<f32>> = (0..in_c)
        .into_par_iter()
        .map(|c| {
            let mut taps = vec![0.0; ROWS * ROWS * out_c];
            for o in (0..out_c).step_by(LANES) {
                let width = LANES.min(out_c - o);
                let element = |m| total(w, splits, partial, m, c * out_c + o, width);
                let tile = std::array::from_fn(|i| std::array::from_fn(|j| element(COLUMNS * i + j)));
                for (tap, lanes) in transform_tile(matrix, &tile).iter().flatten().enumerate() {
                    taps[tap * out_c + o..tap * out_c + o + width].copy_from_slice(&lanes[..width]);
                }
            }
            taps
        })
        .collect();
    for (c, taps) in rows.iter().enumerate() {
        for (tap, row) in taps.chunks_exact(out_c).enumerate() {
            let start = (tap * in_c + c) * out_c;
            d_weight[start..start + out_c].copy_from_slice(row);
        }
    }
}

/// Gradient of the bias `[out_c]`, from the partial sums in order.
pub(super) fn winograd_reduce_bias(w: &WinogradGeometry, splits: usize, partial: &[f32], d_bias: &mut [f32]) {
    let (in_c, out_c) = (w.conv.in_c, w.conv.out_c);
    for (first, lanes) in d_bias.chunks_mut(LANES).enumerate() {
        let sums = total(w, splits, partial, sum_element(w.side()), in_c * out_c + first * LANES, lanes.len());
        lanes.copy_from_slice(&sums[..lanes.len()]);
    }
}
