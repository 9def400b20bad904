//! Shapes of a convolution, and how its longest sum is split.

use crate::error::{Error, Result};
use crate::ops::{Padding, as_u32};
use crate::tensor::elements;

/// Shapes of one convolution, checked to fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub in_h: usize,
    /// Input width in pixels.
    pub in_w: usize,
    /// Input channels.
    pub in_c: usize,
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
    /// Output channels.
    pub out_c: usize,
    /// Kernel height in pixels.
    pub kernel_h: usize,
    /// Kernel width in pixels.
    pub kernel_w: usize,
    /// Stride in pixels, in both directions.
    pub stride: usize,
    /// Zeros above the input in pixels.
    pub pad_top: usize,
    /// Zeros left of the input in pixels.
    pub pad_left: usize,
}

impl Conv2dGeometry {
    /// Geometry for an input `[batch, height, width, channels]` and a weight `[kernel_h, kernel_w, in, out]`.
    ///
    /// # Errors
    /// If the shapes do not fit, the stride is 0, or the padded input is smaller than the kernel.
    pub fn new(input: &[usize], weight: &[usize], stride: usize, padding: Padding) -> Result<Self> {
        let error = |message| Error::shape("conv2d", message);
        let (&[batch, in_h, in_w, in_c], &[kernel_h, kernel_w, weight_c, out_c]) = (input, weight) else {
            return Err(error(format!("input {input:?} and weight {weight:?} must have four axes each")));
        };
        if weight_c != in_c {
            return Err(error(format!("input {input:?} has {in_c} channels, weight {weight:?} takes {weight_c}")));
        }
        if [batch, in_h, in_w, in_c, out_c].contains(&0) {
            return Err(error(format!("input {input:?} and weight {weight:?} must not have a zero")));
        }
        let [vertical, horizontal] = padding.windows("conv2d", [in_h, in_w], [kernel_h, kernel_w], stride)?;
        let (pad_top, out_h) = (vertical.before, vertical.count);
        let (pad_left, out_w) = (horizontal.before, horizontal.count);
        let geometry = Conv2dGeometry {
            batch,
            in_h,
            in_w,
            in_c,
            out_h,
            out_w,
            out_c,
            kernel_h,
            kernel_w,
            stride,
            pad_top,
            pad_left,
        };
        for shape in [&geometry.input_shape(), &geometry.output_shape(), &geometry.weight_shape()] {
            as_u32("conv2d", elements(shape).unwrap_or(usize::MAX))?;
        }
        Ok(geometry)
    }

    /// `[batch, in_h, in_w, in_c]`.
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.in_h, self.in_w, self.in_c]
    }

    /// `[batch, out_h, out_w, out_c]`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.out_h, self.out_w, self.out_c]
    }

    /// `[kernel_h, kernel_w, in_c, out_c]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.kernel_h, self.kernel_w, self.in_c, self.out_c]
    }

    /// The convolution that computes the input's cotangent from the output's, with the weight transposed and flipped; `None` if the
    /// stride or the padding does not allow it.
    pub(super) fn flipped(&self) -> Option<Self> {
        Some(Conv2dGeometry {
            in_h: self.out_h,
            in_w: self.out_w,
            in_c: self.out_c,
            out_h: self.in_h,
            out_w: self.in_w,
            out_c: self.in_c,
            pad_top: (self.kernel_h - 1).checked_sub(self.pad_top)?,
            pad_left: (self.kernel_w - 1).checked_sub(self.pad_left)?,
            ..*self
        })
        .filter(|_| self.stride == 1)
    }

    /// Products that one output element sums.
    pub fn products(&self) -> usize {
        self.kernel_h * self.kernel_w * self.in_c
    }

    /// Floating-point operations of one of its products; a multiply-add counts as two.
    pub fn flops(&self) -> u64 {
        2 * (self.products() * self.out_c) as u64 * self.out_pixels() as u64
    }

    /// Pixels of all outputs.
    pub fn out_pixels(&self) -> usize {
        self.batch * self.out_h * self.out_w
    }

    /// Shape of the partial sums that [`split_k_reduce`](super::split_k_reduce) adds up: `[splits, products + 1, out_c]`.
    pub fn partial_sums_shape(&self) -> [usize; 3] {
        [self.splits().count, self.products() + 1, self.out_c]
    }

    /// How the contraction over pixels is split when the weight's gradient is computed.
    ///
    /// A function of the shape alone, so that the sum's order does not depend on the machine.
    pub(super) fn splits(&self) -> Splits {
        // Short sums round less and run in parallel, but each split costs a copy of the weight.
        const PIXELS_PER_SPLIT: usize = 64;
        const MOST_SPLITS: usize = 256;
        const MOST_PARTIAL_SUMS: usize = 1 << 22;
        // Some drivers end an invocation's loops after 65,535 iterations.
        const MOST_PIXELS_PER_SPLIT: usize = 32_768;
        let lines = self.batch * self.out_h;
        let affordable = (MOST_PARTIAL_SUMS / ((self.products() + 1) * self.out_c)).clamp(1, MOST_SPLITS);
        let wanted = self.out_pixels().div_ceil(PIXELS_PER_SPLIT).min(affordable);
        let needed = self.out_pixels().div_ceil(MOST_PIXELS_PER_SPLIT);
        let lines_per_split = lines.div_ceil(wanted.max(needed));
        Splits { lines, lines_per_split, count: lines.div_ceil(lines_per_split) }
    }
}

/// Runs of output lines (rows of one image) that are summed separately and then added in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Splits {
    pub(super) lines: usize,
    pub(super) lines_per_split: usize,
    pub(super) count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_all_lines_and_stay_under_the_iteration_limit() {
        for batch in [1, 3, 64, 256, 5000] {
            let g = Conv2dGeometry::new(&[batch, 32, 32, 3], &[3, 3, 3, 4], 1, Padding::Same).unwrap();
            let s = g.splits();
            assert!(s.count * s.lines_per_split >= s.lines && (s.count - 1) * s.lines_per_split < s.lines);
            assert!(s.lines_per_split * (g.out_w + 1) < 65_535, "batch {batch}: {s:?}");
        }
    }
}
