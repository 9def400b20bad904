//! The windows of a convolution on the CPU: which source pixels a target pixel sums, gathered as rows of a matrix.

use super::Conv2dGeometry;

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

    /// Target pixels of an image.
    pub(super) fn pixels(&self) -> usize {
        self.target_h * self.target_w
    }

    /// Products that one target element sums.
    pub(super) fn products(&self) -> usize {
        self.kernel_h * self.kernel_w * self.channels
    }

    /// Whether a patch is just the source pixel itself, so that nothing need be gathered.
    fn is_identity(&self) -> bool {
        (self.kernel_h, self.kernel_w, self.stride, self.pad_top, self.pad_left) == (1, 1, 1, 0, 0)
            && (self.target_h, self.target_w) == (self.source_h, self.source_w)
    }

    /// The patches of `rows` target pixels from `first_row` on as rows of a matrix, zeros where there is no source pixel.
    pub(super) fn patches<'a>(
        &self,
        first_row: usize,
        rows: usize,
        source: &'a [f32],
        buffer: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let products = self.products();
        if self.is_identity() {
            return &source[first_row * products..(first_row + rows) * products];
        }
        buffer.resize(rows * products, 0.0);
        if products == 0 {
            return buffer;
        }
        for (i, patch) in buffer.chunks_exact_mut(products).enumerate() {
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
        buffer
    }

    /// One line of a window: neighbouring pixels, which lie behind one another.
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

/// A convolution's input pixels at one offset within its stride. The windows that read them did so at the same taps, a
/// `stride`-th of all along each axis, so their cotangent is a convolution of stride 1 with those taps in reverse.
pub(super) struct Phase {
    first_y: usize,
    first_x: usize,
    stride: usize,
    pub(super) window: Window,
    /// `[taps, out_c, in_c]`: the taps of the transposed weight that the window sums.
    pub(super) weight: Vec<f32>,
}

/// One axis of a phase.
struct PhaseAxis {
    pixels: usize,
    /// Those that read these pixels, in the order of the windows.
    taps: Vec<usize>,
    pad: isize,
}

impl PhaseAxis {
    fn new(first: usize, pixels: usize, kernel: usize, stride: usize, pad: usize) -> Self {
        let taps: Vec<usize> = (0..kernel).rev().filter(|tap| (first + pad) % stride == tap % stride).collect();
        let last_tap = taps.first().map_or(0, |&tap| tap as isize);
        PhaseAxis {
            pixels: (pixels - first).div_ceil(stride),
            taps,
            pad: (last_tap - (first + pad) as isize) / stride as isize,
        }
    }
}

impl Phase {
    /// All of a convolution, for a weight `[kernel_h, kernel_w, out_c, in_c]`.
    pub(super) fn all(g: &Conv2dGeometry, transposed_weight: &[f32]) -> Vec<Self> {
        let offsets = |pixels: usize| 0..g.stride.min(pixels);
        let phase = |first_y, first_x| {
            let rows = PhaseAxis::new(first_y, g.in_h, g.kernel_h, g.stride, g.pad_top);
            let columns = PhaseAxis::new(first_x, g.in_w, g.kernel_w, g.stride, g.pad_left);
            let tap = g.in_c * g.out_c;
            let taps = rows.taps.iter().flat_map(|ky| columns.taps.iter().map(move |kx| ky * g.kernel_w + kx));
            Phase {
                first_y,
                first_x,
                stride: g.stride,
                weight: taps.flat_map(|i| &transposed_weight[i * tap..][..tap]).copied().collect(),
                window: Window {
                    target_h: rows.pixels,
                    target_w: columns.pixels,
                    source_h: g.out_h,
                    source_w: g.out_w,
                    channels: g.out_c,
                    kernel_h: rows.taps.len(),
                    kernel_w: columns.taps.len(),
                    stride: 1,
                    pad_top: rows.pad,
                    pad_left: columns.pad,
                },
            }
        };
        offsets(g.in_h).flat_map(|y| offsets(g.in_w).map(move |x| phase(y, x))).collect()
    }

    /// Where in its image pixel `i` of this phase lies.
    pub(super) fn place(&self, g: &Conv2dGeometry, i: usize) -> usize {
        let (y, x) = (i / self.window.target_w, i % self.window.target_w);
        (self.first_y + y * self.stride) * g.in_w + self.first_x + x * self.stride
    }
}
