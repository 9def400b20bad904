//! The matrix product of the CPU twins, in vectors of neighboring columns. Blocks of sums stay in registers while the right operand's
//! rows are read as they lie in memory: nothing is packed, because operands are blocks that fit the cache.

use bytemuck::Zeroable;
use pulp::{Arch, Simd, WithSimd};

/// Products that are summed in one go: longer sums are added up in blocks, which rounds less.
const SUM_BLOCK: usize = 256;

/// `dst (m × n) = lhs (m × k) · rhs (k × n)`, all row-major, or `dst +=` if `accumulate`; `lhs` may be given transposed
/// (k × m).
#[expect(clippy::too_many_arguments, reason = "the usual arguments of a matrix product")]
pub(super) fn matrix_product(
    m: usize,
    n: usize,
    k: usize,
    dst: &mut [f32],
    accumulate: bool,
    lhs: &[f32],
    lhs_transposed: bool,
    rhs: &[f32],
) {
    let (dst, lhs, rhs) = (&mut dst[..m * n], &lhs[..m * k], &rhs[..k * n]);
    let (row_stride, column_stride) = if lhs_transposed { (1, m) } else { (k, 1) };
    if k == 0 && !accumulate {
        dst.fill(0.0);
    }
    for first in (0..k).step_by(SUM_BLOCK) {
        Arch::new().dispatch(Product {
            m,
            n,
            k: SUM_BLOCK.min(k - first),
            dst,
            accumulate: accumulate || first > 0,
            lhs: &lhs[first * column_stride..],
            row_stride,
            column_stride,
            rhs: &rhs[first * n..],
        });
    }
}

/// One block of products of every sum. `lhs` and `rhs` begin with the block's first column and row.
struct Product<'a> {
    m: usize,
    n: usize,
    k: usize,
    dst: &'a mut [f32],
    accumulate: bool,
    lhs: &'a [f32],
    row_stride: usize,
    column_stride: usize,
    rhs: &'a [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut column = 0;
        while column < self.n {
            let vectors = (self.n - column) / S::F32_LANES;
            // So many rows that sums, a row of the right operand and an element of the left one fill the registers: 32 of
            // AVX-512 and NEON, 16 of AVX2.
            column += match (S::REGISTER_COUNT >= 32, vectors) {
                (_, 0) => self.columns::<S, 8, 1, true>(simd, column),
                (true, 1) => self.columns::<S, 16, 1, false>(simd, column),
                (true, 2) => self.columns::<S, 12, 2, false>(simd, column),
                (true, 4) => self.columns::<S, 6, 4, false>(simd, column),
                (true, _) => self.columns::<S, 8, 3, false>(simd, column),
                (false, 1) => self.columns::<S, 8, 1, false>(simd, column),
                (false, 2 | 4) => self.columns::<S, 6, 2, false>(simd, column),
                (false, _) => self.columns::<S, 4, 3, false>(simd, column),
            };
        }
    }
}

impl Product<'_> {
    /// All rows of `VECTORS` vectors of columns from `column` on, or of the last ones that fill no vector if `IS_PARTIAL`; returns how
    /// many columns these are.
    #[inline(always)]
    fn columns<S: Simd, const ROWS: usize, const VECTORS: usize, const IS_PARTIAL: bool>(
        &mut self,
        simd: S,
        column: usize,
    ) -> usize {
        let mut row = 0;
        while row + ROWS <= self.m {
            self.block::<S, ROWS, VECTORS, IS_PARTIAL>(simd, row, column);
            row += ROWS;
        }
        while row + 4 <= self.m {
            self.block::<S, 4, VECTORS, IS_PARTIAL>(simd, row, column);
            row += 4;
        }
        while row < self.m {
            self.block::<S, 1, VECTORS, IS_PARTIAL>(simd, row, column);
            row += 1;
        }
        if IS_PARTIAL { self.n - column } else { VECTORS * S::F32_LANES }
    }

    /// `ROWS` rows of `VECTORS` vectors, or of the columns that are left if `IS_PARTIAL`.
    #[inline(always)]
    fn block<S: Simd, const ROWS: usize, const VECTORS: usize, const IS_PARTIAL: bool>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
    ) {
        let columns = if IS_PARTIAL { self.n - column } else { VECTORS * S::F32_LANES };
        let vectors = |start: usize| start..start + columns;
        // Checked once for all loads below, which are unchecked.
        assert!(row + ROWS <= self.m && column + columns <= self.n && self.k > 0);
        assert!(self.rhs.len() >= (self.k - 1) * self.n + self.n);
        assert!(self.lhs.len() > (self.m - 1) * self.row_stride + (self.k - 1) * self.column_stride);
        let mut sums: [[S::f32s; VECTORS]; ROWS] = Zeroable::zeroed();
        for product in 0..self.k {
            // SAFETY: columns `column..column + columns` of row `product` of the right operand, which has `k` rows of `n`.
            let right = unsafe { self.rhs.get_unchecked(vectors(product * self.n + column)) };
            let mut loaded: [S::f32s; VECTORS] = Zeroable::zeroed();
            load_row::<S, VECTORS, IS_PARTIAL>(simd, right, &mut loaded);
            unrolled::<ROWS>(
                #[inline(always)]
                |i| {
                    let place = (row + i) * self.row_stride + product * self.column_stride;
                    // SAFETY: `row + i` is less than `m` and `product` less than `k`, whose last element is inside.
                    let left = simd.splat_f32s(unsafe { *self.lhs.get_unchecked(place) });
                    unrolled::<VECTORS>(
                        #[inline(always)]
                        |j| sums[i][j] = simd.mul_add_e_f32s(left, loaded[j], sums[i][j]),
                    );
                },
            );
        }
        unrolled::<ROWS>(
            #[inline(always)]
            |i| {
                let target = &mut self.dst[vectors((row + i) * self.n + column)];
                if self.accumulate {
                    let mut before: [S::f32s; VECTORS] = Zeroable::zeroed();
                    load_row::<S, VECTORS, IS_PARTIAL>(simd, target, &mut before);
                    unrolled::<VECTORS>(
                        #[inline(always)]
                        |j| sums[i][j] = simd.add_f32s(sums[i][j], before[j]),
                    );
                }
                if IS_PARTIAL {
                    simd.partial_store_f32s(target, sums[i][0]);
                } else {
                    let target = S::as_mut_simd_f32s(target).0;
                    unrolled::<VECTORS>(
                        #[inline(always)]
                        |j| target[j] = sums[i][j],
                    );
                }
            },
        );
    }
}

/// Reads `VECTORS` vectors, or the part of one if `IS_PARTIAL`.
#[inline(always)]
fn load_row<S: Simd, const VECTORS: usize, const IS_PARTIAL: bool>(
    simd: S,
    row: &[f32],
    vectors: &mut [S::f32s; VECTORS],
) {
    if IS_PARTIAL {
        vectors[0] = simd.partial_load_f32s(row);
    } else {
        let row = S::as_simd_f32s(row).0;
        unrolled::<VECTORS>(
            #[inline(always)]
            |j| vectors[j] = row[j],
        );
    }
}

/// Calls `work` with 0 to `N - 1`, as a loop that is written out: builds for small size, as for browsers, unroll none, and sums that a
/// loop indexes are not in registers.
#[inline(always)]
fn unrolled<const N: usize>(mut work: impl FnMut(usize)) {
    const { assert!(N <= 16) };
    macro_rules! each {
        ($($index:literal)*) => { $(if $index < N { work($index) })* };
    }
    each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    /// Whole numbers, so that sums are exact in any order.
    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|i| (i * factor % 13) as f32 - 6.0).collect()
    }

    /// Runs `product` compiled for every kind of vectors of this CPU.
    fn with_all_vectors(run: impl Fn(&dyn Fn(Product<'_>))) {
        run(&|product| Arch::new().dispatch(product));
        run(&|product| product.with_simd(Scalar));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            run(&|product| Simd::vectorize(simd, product));
        }
    }

    #[test]
    fn sums_are_those_of_the_definition() {
        let sizes = [(1, 1, 1), (3, 10, 5), (35, 64, 32), (13, 100, 9), (33, 200, 7), (17, 96, 300), (5, 17, 1)];
        for ((m, n, k), transposed) in sizes.into_iter().flat_map(|size| [(size, false), (size, true)]) {
            let (lhs, rhs, before) = (numbers(m * k, 7), numbers(k * n, 5), numbers(m * n, 3));
            let (row_stride, column_stride) = if transposed { (1, m) } else { (k, 1) };
            for accumulate in [false, true] {
                let expected: Vec<f32> = (0..m * n)
                    .map(|at| {
                        let (i, j) = (at / n, at % n);
                        let sum: f32 = (0..k).map(|p| lhs[i * row_stride + p * column_stride] * rhs[p * n + j]).sum();
                        if accumulate { before[at] + sum } else { sum }
                    })
                    .collect();
                let mut whole = before.clone();
                matrix_product(m, n, k, &mut whole, accumulate, &lhs, transposed, &rhs);
                assert_eq!(whole, expected, "{m} × {n} × {k}, transposed: {transposed}");
                with_all_vectors(|dispatch| {
                    let mut dst = before.clone();
                    let (dst_of_all, lhs, rhs) = (&mut dst[..], &lhs[..], &rhs[..]);
                    dispatch(Product { m, n, k, dst: dst_of_all, accumulate, lhs, row_stride, column_stride, rhs });
                    assert_eq!(dst, expected, "{m} × {n} × {k}, transposed: {transposed}");
                });
            }
        }
    }

    #[test]
    fn no_products_are_zeros() {
        let mut dst = [3.0; 6];
        matrix_product(2, 3, 0, &mut dst, true, &[], false, &[]);
        assert_eq!(dst, [3.0; 6]);
        matrix_product(2, 3, 0, &mut dst, false, &[], false, &[]);
        assert_eq!(dst, [0.0; 6]);
    }
}
