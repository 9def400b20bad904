//! The windows of a convolution on the CPU: which source pixels a target pixel sums, gathered as rows of a matrix.

use super::Conv2dGeometry;
use super::phase::{Phase, PhaseAxis};

/// How the rows of an implicit GEMM's left operand come from the source image: the window of a target pixel starts at
/// `position · stride − pad`.
pub(super) struct Window {
    target_h: usize,
    target_w: usize,
    source_h: usize,
    source_w: usize,
    channels: usize,
    kernel_h: usize,
    kernel_w: usize,
    stride: usize,
    pad_top: isize,
    pad_left: isize,
}

impl Window {
    pub(super) fn forward(g: &Conv2dGeometry) -> Self {
        Window {
            target_h: g.out_h,
            target_w: g.out_w,
            source_h: g.in_h,
            source_w: g.in_w,
            channels: g.in_c,
            kernel_h: g.kernel_h,
            kernel_w: g.kernel_w,
            stride: g.stride,
            pad_top: g.pad_top as isize,
            pad_left: g.pad_left as isize,
        }
    }

    /// That of the cotangent of these input pixels: their taps in reverse.
    pub(super) fn backward(g: &Conv2dGeometry, phase: &Phase) -> Self {
        let pad = |axis: PhaseAxis| axis.taps as isize - 1 - axis.shift as isize;
        Window {
            target_h: phase.y.pixels,
            target_w: phase.x.pixels,
            source_h: g.out_h,
            source_w: g.out_w,
            channels: g.out_c,
            kernel_h: phase.y.taps,
            kernel_w: phase.x.taps,
            stride: 1,
            pad_top: pad(phase.y),
            pad_left: pad(phase.x),
        }
    }

    /// Products that one target element sums.
    pub(super) fn products(&self) -> usize {
        self.kernel_h * self.kernel_w * self.channels
    }

    /// Whether a patch is the source pixel itself, so that nothing is gathered.
    fn is_identity(&self) -> bool {
        (self.kernel_h, self.kernel_w, self.stride, self.pad_top, self.pad_left) == (1, 1, 1, 0, 0)
            && (self.target_h, self.target_w) == (self.source_h, self.source_w)
    }

    /// Elements of the buffer that gathering `rows` patches needs.
    pub(super) fn buffer_len(&self, rows: usize) -> usize {
        if self.is_identity() { 0 } else { rows * self.products() }
    }

    /// The patches of `rows` target pixels from `first_row` on as rows of a matrix, zeros where there is no source pixel.
    pub(super) fn patches<'a>(
        &self,
        first_row: usize,
        rows: usize,
        source: &'a [f32],
        buffer: &'a mut [f32],
    ) -> &'a [f32] {
        let products = self.products();
        if self.is_identity() {
            return &source[first_row * products..(first_row + rows) * products];
        }
        if products == 0 {
            return &[];
        }
        let patches = &mut buffer[..rows * products];
        for (i, patch) in patches.chunks_exact_mut(products).enumerate() {
            let row = first_row + i;
            let (line, x) = (row / self.target_w, row % self.target_w);
            let (image, y) = (line / self.target_h, line % self.target_h);
            let top = (y * self.stride) as isize - self.pad_top;
            for (ky, taps) in (top..).zip(patch.chunks_exact_mut(self.kernel_w * self.channels)) {
                match usize::try_from(ky).ok().filter(|&source_y| source_y < self.source_h) {
                    Some(source_y) => self.line((image * self.source_h + source_y) * self.source_w, x, source, taps),
                    None => taps.fill(0.0),
                }
            }
        }
        patches
    }

    /// One line of a window: neighboring pixels, which are contiguous.
    fn line(&self, line: usize, x: usize, source: &[f32], taps: &mut [f32]) {
        let (left, kernel_w, channels) = ((x * self.stride) as isize - self.pad_left, self.kernel_w, self.channels);
        let inside = |edge: isize| edge.clamp(0, kernel_w as isize) as usize;
        let (first, end) = (inside(-left), inside(self.source_w as isize - left));
        let (before, rest) = taps.split_at_mut(first * channels);
        let (inside, after) = rest.split_at_mut((end - first) * channels);
        before.fill(0.0);
        if !inside.is_empty() {
            let start = (line + (left + first as isize) as usize) * channels;
            inside.copy_from_slice(&source[start..start + inside.len()]);
        }
        after.fill(0.0);
    }
}
