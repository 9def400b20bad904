//! Winograd's transforms in vectors of channels, for the CPU twins.

use std::mem::MaybeUninit;

use pulp::Simd;

/// A transform along one axis of a tile: `OUT` sums of `IN` values.
pub(super) trait Transform<const IN: usize, const OUT: usize>: Copy + Sync {
    /// The sums; each lane of a vector is another channel.
    fn apply<S: Simd>(self, simd: S, values: [S::f32s; IN]) -> [S::f32s; OUT];
}

/// `a + factor · b`.
#[inline(always)]
fn add_scaled<S: Simd>(simd: S, a: S::f32s, factor: f32, b: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(factor), b, a)
}

/// Bᵀ for tiles of 4×4 inputs.
#[derive(Clone, Copy)]
pub(super) struct InputTile4;

impl Transform<4, 4> for InputTile4 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [d0, d1, d2, d3]: [S::f32s; 4]) -> [S::f32s; 4] {
        [simd.sub_f32s(d0, d2), simd.add_f32s(d1, d2), simd.sub_f32s(d2, d1), simd.sub_f32s(d1, d3)]
    }
}

/// Bᵀ for tiles of 6×6 inputs, for the points 0, ±1, ±2 and infinity:
///
/// ```text
/// 4  0 −5  0  1  0
/// 0 −4 −4  1  1  0
/// 0  4 −4 −1  1  0
/// 0 −2 −1  2  1  0
/// 0  2 −1 −2  1  0
/// 0  4  0 −5  0  1
/// ```
#[derive(Clone, Copy)]
pub(super) struct InputTile6;

impl Transform<6, 6> for InputTile6 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [d0, d1, d2, d3, d4, d5]: [S::f32s; 6]) -> [S::f32s; 6] {
        let (even_1, odd_1) = (add_scaled(simd, d4, -4.0, d2), add_scaled(simd, d3, -4.0, d1));
        let (even_2, odd_2) = (simd.sub_f32s(d4, d2), simd.sub_f32s(d3, d1));
        [
            add_scaled(simd, add_scaled(simd, d4, -5.0, d2), 4.0, d0),
            simd.add_f32s(even_1, odd_1),
            simd.sub_f32s(even_1, odd_1),
            add_scaled(simd, even_2, 2.0, odd_2),
            add_scaled(simd, even_2, -2.0, odd_2),
            add_scaled(simd, add_scaled(simd, d5, -5.0, d3), 4.0, d1),
        ]
    }
}

/// Aᵀ of F(2×2, 3×3).
#[derive(Clone, Copy)]
pub(super) struct Output2;

impl Transform<4, 2> for Output2 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [m0, m1, m2, m3]: [S::f32s; 4]) -> [S::f32s; 2] {
        [simd.add_f32s(m0, simd.add_f32s(m1, m2)), simd.sub_f32s(simd.sub_f32s(m1, m2), m3)]
    }
}

/// Aᵀ of F(2×2, 5×5).
#[derive(Clone, Copy)]
pub(super) struct Output2Of5;

impl Transform<6, 2> for Output2Of5 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [m0, m1, m2, m3, m4, m5]: [S::f32s; 6]) -> [S::f32s; 2] {
        let (sum_1, difference_1) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
        let (sum_2, difference_2) = (simd.add_f32s(m3, m4), simd.sub_f32s(m3, m4));
        [
            simd.add_f32s(m0, simd.add_f32s(sum_1, sum_2)),
            simd.add_f32s(add_scaled(simd, difference_1, 2.0, difference_2), m5),
        ]
    }
}

/// Aᵀ of F(4×4, 3×3):
///
/// ```text
/// 1  1  1  1  1  0
/// 0  1 −1  2 −2  0
/// 0  1  1  4  4  0
/// 0  1 −1  8 −8  1
/// ```
#[derive(Clone, Copy)]
pub(super) struct Output4;

impl Transform<6, 4> for Output4 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [m0, m1, m2, m3, m4, m5]: [S::f32s; 6]) -> [S::f32s; 4] {
        let (sum_1, difference_1) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
        let (sum_2, difference_2) = (simd.add_f32s(m3, m4), simd.sub_f32s(m3, m4));
        [
            simd.add_f32s(m0, simd.add_f32s(sum_1, sum_2)),
            add_scaled(simd, difference_1, 2.0, difference_2),
            add_scaled(simd, sum_1, 4.0, sum_2),
            simd.add_f32s(add_scaled(simd, difference_1, 8.0, difference_2), m5),
        ]
    }
}

/// A of F(2×2, 3×3).
#[derive(Clone, Copy)]
pub(super) struct Cotangent2;

impl Transform<2, 4> for Cotangent2 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [d0, d1]: [S::f32s; 2]) -> [S::f32s; 4] {
        [d0, simd.add_f32s(d0, d1), simd.sub_f32s(d0, d1), simd.neg_f32s(d1)]
    }
}

/// A of F(2×2, 5×5).
#[derive(Clone, Copy)]
pub(super) struct Cotangent2Of5;

impl Transform<2, 6> for Cotangent2Of5 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [d0, d1]: [S::f32s; 2]) -> [S::f32s; 6] {
        [
            d0,
            simd.add_f32s(d0, d1),
            simd.sub_f32s(d0, d1),
            add_scaled(simd, d0, 2.0, d1),
            add_scaled(simd, d0, -2.0, d1),
            d1,
        ]
    }
}

/// A of F(4×4, 3×3).
#[derive(Clone, Copy)]
pub(super) struct Cotangent4;

impl Transform<4, 6> for Cotangent4 {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [d0, d1, d2, d3]: [S::f32s; 4]) -> [S::f32s; 6] {
        let (even_1, odd_1) = (simd.add_f32s(d0, d2), simd.add_f32s(d1, d3));
        let (even_2, odd_2) = (add_scaled(simd, d0, 4.0, d2), add_scaled(simd, d1, 4.0, d3));
        [
            d0,
            simd.add_f32s(even_1, odd_1),
            simd.sub_f32s(even_1, odd_1),
            add_scaled(simd, even_2, 2.0, odd_2),
            add_scaled(simd, even_2, -2.0, odd_2),
            d3,
        ]
    }
}

/// Both axes of a tile, one after the other: `load(i, j)` gives its elements, `store(i, j, sum)` takes the sums.
#[inline(always)]
pub(super) fn transform_tile<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    simd: S,
    transform: T,
    load: impl Fn(usize, usize) -> S::f32s,
    mut store: impl FnMut(usize, usize, S::f32s),
) {
    // Not filled first: that takes as long as the sums.
    let mut halfway = [[MaybeUninit::<S::f32s>::uninit(); IN]; OUT];
    for j in 0..IN {
        // Loops: `array::from_fn` is not always inlined, and so not compiled for the vectors at hand.
        let mut column = [simd.splat_f32s(0.0); IN];
        for (i, element) in column.iter_mut().enumerate() {
            *element = load(i, j);
        }
        for (row, sum) in halfway.iter_mut().zip(transform.apply(simd, column)) {
            row[j].write(sum);
        }
    }
    for (i, halfway) in halfway.iter().enumerate() {
        let mut row = [simd.splat_f32s(0.0); IN];
        for (element, sum) in row.iter_mut().zip(halfway) {
            // SAFETY: the loop above wrote column j of every row, for all columns.
            *element = unsafe { sum.assume_init() };
        }
        for (j, sum) in transform.apply(simd, row).into_iter().enumerate() {
            store(i, j, sum);
        }
    }
}

/// A vector of neighboring channels, zeros past the last.
#[inline(always)]
pub(super) fn load<S: Simd>(simd: S, channels: &[f32]) -> S::f32s {
    match channels.get(..S::F32_LANES) {
        Some(whole) => S::as_simd_f32s(whole).0[0],
        None => simd.partial_load_f32s(channels),
    }
}

/// Puts a vector where neighboring channels are, as far as there are any.
#[inline(always)]
pub(super) fn store<S: Simd>(simd: S, channels: &mut [f32], vector: S::f32s) {
    match channels.get_mut(..S::F32_LANES) {
        Some(whole) => S::as_mut_simd_f32s(whole).0[0] = vector,
        None => simd.partial_store_f32s(channels, vector),
    }
}
