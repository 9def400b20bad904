//! Shapes of pooling: windows that slide over each channel of an image.

use std::ops::Range;

use super::case::Purpose;
use super::{Draw, Padding, as_u32, half, launch_elementwise};
use crate::error::{Error, Result};
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::tensor::{DType, elements};

/// Shapes of one pooling, checked to fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub in_h: usize,
    /// Input width in pixels.
    pub in_w: usize,
    /// Channels.
    pub channels: usize,
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
    /// Window height in pixels.
    pub kernel_h: usize,
    /// Window width in pixels.
    pub kernel_w: usize,
    /// Stride in pixels, in both directions.
    pub stride: usize,
    /// Pixels of padding above the input.
    pub pad_top: usize,
    /// Pixels of padding left of the input.
    pub pad_left: usize,
}

impl Pool2dGeometry {
    /// Geometry for an input `[batch, height, width, channels]`; pixels after the last window are ignored.
    ///
    /// # Errors
    /// If the window does not fit into the padded input, a window is entirely padding, or a size is 0.
    pub fn new(op: &'static str, input: &[usize], kernel: [usize; 2], stride: usize, padding: Padding) -> Result<Self> {
        let &[batch, in_h, in_w, channels] = input else {
            return Err(Error::shape(op, format!("input {input:?} must have four axes")));
        };
        let [kernel_h, kernel_w] = kernel;
        if input.contains(&0) {
            return Err(Error::shape(op, format!("input {input:?} must not have a zero")));
        }
        let [vertical, horizontal] = padding.windows(op, [in_h, in_w], kernel, stride)?;
        let sees_input = |windows: super::padding::Windows, kernel: usize, length: usize| {
            windows.before < kernel && (windows.count - 1) * stride < windows.before + length
        };
        if !sees_input(vertical, kernel_h, in_h) || !sees_input(horizontal, kernel_w, in_w) {
            let message = format!("a window {kernel:?} would be entirely padding, {padding:?}, of input {input:?}");
            return Err(Error::shape(op, message));
        }
        let geometry = Pool2dGeometry {
            batch,
            in_h,
            in_w,
            channels,
            out_h: vertical.count,
            out_w: horizontal.count,
            kernel_h,
            kernel_w,
            stride,
            pad_top: vertical.before,
            pad_left: horizontal.before,
        };
        for shape in [geometry.input_shape(), geometry.output_shape()] {
            as_u32(op, elements(&shape).unwrap_or(usize::MAX))?;
        }
        Ok(geometry)
    }

    /// `[batch, in_h, in_w, channels]`.
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.in_h, self.in_w, self.channels]
    }

    /// `[batch, out_h, out_w, channels]`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.out_h, self.out_w, self.channels]
    }

    /// Which rows of the window at output row `y` lie inside the input.
    #[inline(always)]
    pub(super) fn window_rows(&self, y: usize) -> Range<usize> {
        inside(y * self.stride, self.kernel_h, self.pad_top, self.in_h)
    }

    /// Which columns of the window at output column `x` lie inside the input.
    #[inline(always)]
    pub(super) fn window_columns(&self, x: usize) -> Range<usize> {
        inside(x * self.stride, self.kernel_w, self.pad_left, self.in_w)
    }

    /// The input's row and column under a tap inside it of the window at output row `y` and column `x`.
    #[inline(always)]
    pub(super) fn pixel(&self, y: usize, x: usize, ky: usize, kx: usize) -> [usize; 2] {
        [y * self.stride + ky - self.pad_top, x * self.stride + kx - self.pad_left]
    }

    /// Whether a window reaches over an edge of the input.
    fn is_padded(&self) -> bool {
        let reaches_over = |count: usize, kernel: usize, before: usize, length: usize| {
            before > 0 || (count - 1) * self.stride + kernel > length
        };
        reaches_over(self.out_h, self.kernel_h, self.pad_top, self.in_h)
            || reaches_over(self.out_w, self.kernel_w, self.pad_left, self.in_w)
    }

    /// The constants of the pooling kernels.
    fn constants(&self, dtype: DType) -> Vec<(&'static str, u32)> {
        [
            ("KERNEL_H", self.kernel_h),
            ("KERNEL_W", self.kernel_w),
            ("STRIDE", self.stride),
            ("PAD_TOP", self.pad_top),
            ("PAD_LEFT", self.pad_left),
            ("PADDED", usize::from(self.is_padded())),
            ("IN_H", self.in_h),
            ("IN_W", self.in_w),
            ("OUT_H", self.out_h),
            ("OUT_W", self.out_w),
            ("CHANNELS", self.channels),
        ]
        .into_iter()
        .map(|(name, value)| (name, value as u32))
        .chain([half(dtype)])
        .collect()
    }
}

/// Which of the `kernel` pixels from padded pixel `start` on lie among the `length` pixels behind `before` of padding.
#[inline(always)]
fn inside(start: usize, kernel: usize, before: usize, length: usize) -> Range<usize> {
    before.saturating_sub(start).min(kernel)..(before + length).saturating_sub(start).min(kernel)
}

/// Launches a pooling kernel over the elements of a tensor of this shape. An invocation handles four channels if their number is a
/// multiple of four.
pub(super) fn launch(
    gpu: &GpuDevice,
    kernel: &'static str,
    dtype: DType,
    g: &Pool2dGeometry,
    shape: &[usize],
    buffers: &[&GpuBuffer],
) -> Result<()> {
    let count = shape.iter().product::<usize>() / if g.channels.is_multiple_of(4) { 4 } else { 1 };
    let uniform = as_u32(kernel, count)?;
    launch_elementwise(gpu, kernel, &g.constants(dtype), bytemuck::bytes_of(&uniform), buffers, count)
}

/// Purpose, input, window, stride and padding of a case.
type Window = (Purpose, [usize; 4], [usize; 2], usize, Padding);

/// Random windows over random images: purpose, input, kernel, stride and padding.
pub(super) fn drawn(op: &'static str, draw: &mut Draw) -> Vec<Window> {
    draw.times(2, |draw| {
        loop {
            let (input, kernel) = (draw.images(20, 40), [draw.count(4), draw.count(4)]);
            let (stride, padding) = (draw.one_of(&[1, 2, 3]), draw.padding(kernel));
            if Pool2dGeometry::new(op, &input, kernel, stride, padding).is_ok() {
                return (Purpose::Random, input, kernel, stride, padding);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_must_see_the_input() {
        let new = |kernel, stride, padding| Pool2dGeometry::new("test", &[1, 5, 5, 2], kernel, stride, padding);
        let g = new([3, 3], 2, Padding::Explicit(1)).unwrap();
        assert_eq!((g.out_h, g.out_w, g.pad_top, g.is_padded()), (3, 3, 1, true));
        assert!(!new([3, 3], 2, Padding::Valid).unwrap().is_padded());
        // The first window, or the last one, would be entirely padding.
        assert!(new([2, 2], 2, Padding::Explicit(2)).is_err());
        assert!(new([2, 2], 1, Padding::Sides { top: 0, bottom: 2, left: 0, right: 0 }).is_err());
        assert!(new([6, 6], 1, Padding::Valid).is_err() && new([0, 1], 1, Padding::Valid).is_err());
    }
}
