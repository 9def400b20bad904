//! Splits the cotangent of a strided convolution's input into convolutions of stride 1.

use super::Conv2dGeometry;

/// Input pixels at one offset within the stride. The windows that read them did so at the same taps, a `stride`-th of all along
/// each axis: the others would only multiply zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase {
    pub(super) y: PhaseAxis,
    pub(super) x: PhaseAxis,
}

/// One axis of a phase: at tap `first_tap + t · stride` pixel `first + i · stride` was read by the window at `i + shift − t`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PhaseAxis {
    pub(super) first: usize,
    /// Number of pixels.
    pub(super) pixels: usize,
    pub(super) first_tap: usize,
    /// Number of taps: none if the kernel is smaller than the stride and skips these pixels.
    pub(super) taps: usize,
    pub(super) shift: usize,
}

impl PhaseAxis {
    /// Those of an axis of `pixels` pixels.
    fn all(pixels: usize, kernel: usize, stride: usize, pad: usize) -> impl Iterator<Item = Self> + Clone {
        (0..stride.min(pixels)).map(move |first| {
            let first_tap = (first + pad) % stride;
            PhaseAxis {
                first,
                pixels: (pixels - first).div_ceil(stride),
                first_tap,
                taps: kernel.saturating_sub(first_tap).div_ceil(stride),
                shift: (first + pad) / stride,
            }
        })
    }
}

impl Phase {
    /// All phases of a convolution; a single one if its stride is 1.
    pub(super) fn all(g: &Conv2dGeometry) -> impl Iterator<Item = Self> {
        let columns = PhaseAxis::all(g.in_w, g.kernel_w, g.stride, g.pad_left);
        PhaseAxis::all(g.in_h, g.kernel_h, g.stride, g.pad_top)
            .flat_map(move |y| columns.clone().map(move |x| Phase { y, x }))
    }

    /// Pixels of an image.
    pub(super) fn pixels(&self) -> usize {
        self.y.pixels * self.x.pixels
    }

    /// Taps that read each.
    pub(super) fn taps(&self) -> usize {
        self.y.taps * self.x.taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Padding;

    #[test]
    fn phases_share_out_pixels_and_taps() {
        for (side, kernel, stride, padding, phases) in [
            (32, 3, 1, Padding::Same, 1),
            (32, 3, 2, Padding::Same, 4),
            (9, 5, 3, Padding::Valid, 9),
            (2, 1, 3, Padding::Explicit(1), 4),
        ] {
            let g = Conv2dGeometry::new(&[1, side, side, 1], &[kernel, kernel, 1, 1], stride, padding).unwrap();
            let all: Vec<_> = Phase::all(&g).collect();
            assert_eq!(all.len(), phases);
            assert_eq!(all.iter().map(Phase::pixels).sum::<usize>(), side * side);
            if stride <= side {
                assert_eq!(all.iter().map(Phase::taps).sum::<usize>(), kernel * kernel);
            }
        }
    }
}
