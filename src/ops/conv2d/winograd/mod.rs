//! Winograd's minimal filtering F(m×m, r×r) for convolutions of r×r windows with stride 1: (m + r − 1)² products for m² outputs
//! instead of r²·m² (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). Implemented are F(2×2, 3×3),
//! F(4×4, 3×3) and F(2×2, 5×5); the last two have tiles of 6×6 inputs and share the transform of these.
//!
//! ```text
//! output tile = Aᵀ [ Σ_channels (G · weight · Gᵀ) ⊙ (Bᵀ · input tile · B) ] A
//! ```
//!
//! The sum over channels of all tiles is one matrix product for each of the (m + r − 1)² elements of a tile. The cotangent of the
//! input is such a convolution, too, with the weight flipped; the gradient of the weight is Gᵀ [ Σ_tiles (Bᵀ · input tile · B) ⊙ (A
//! · cotangent tile · Aᵀ) ] G.

mod cpu;
mod gpu;
mod transforms;

use super::{Conv2dGeometry, DeviceKind, Finish, Splits, Tiling};
use crate::error::{Error, Result};
use crate::ops::StepState;
use crate::tensor::Device;
use crate::tensor::Tensor;

/// G of F(2×2, 3×3).
const WEIGHT_2: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// G of F(2×2, 5×5).
const WEIGHT_2_OF_5: [[f32; 5]; 6] = [
    [0.25, 0.0, 0.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0, 1.0 / 3.0, 2.0 / 3.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0, -1.0 / 3.0, 2.0 / 3.0],
    [0.0, 0.0, 0.0, 0.0, 1.0],
];

/// G of F(4×4, 3×3).
const WEIGHT_4: [[f32; 3]; 6] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Tiles that GPUs stage at a time where the weight's gradient is computed.
const LONGEST_LINE: usize = 32;

/// Index of the tile element that both transforms of the cotangent sum over the whole tile: (1, 1).
fn sum_element(side: usize) -> usize {
    side + 1
}

/// The split of a convolution's outputs into tiles of `outputs` × `outputs`.
#[derive(Debug, Clone, Copy)]
pub(super) struct WinogradGeometry {
    /// The convolution: 3×3 or 5×5, stride 1.
    pub conv: Conv2dGeometry,
    /// Outputs along a tile's side: 2 or 4.
    pub outputs: usize,
}

impl WinogradGeometry {
    /// The tiles of a convolution.
    ///
    /// # Errors
    /// If the algorithm does not apply to it.
    pub(super) fn new(conv: &Conv2dGeometry, outputs: usize) -> Result<Self> {
        if suits(conv, outputs) {
            return Ok(WinogradGeometry { conv: *conv, outputs });
        }
        Err(unfit(conv, outputs))
    }

    /// The tiles of the convolution that computes the input's cotangent from the output's: its weight is flipped and transposed.
    pub(super) fn flipped(conv: &Conv2dGeometry, outputs: usize) -> Result<Self> {
        let flipped = conv.flipped().ok_or_else(|| unfit(conv, outputs))?;
        WinogradGeometry::new(&flipped, outputs)
    }

    /// Inputs along a tile's side.
    pub(super) fn side(&self) -> usize {
        self.outputs + self.kernel() - 1
    }

    /// Taps along a window's side: 3 or 5.
    pub(super) fn kernel(&self) -> usize {
        self.conv.kernel_h
    }

    /// Elements of an input tile: matrix products that are computed.
    pub(super) fn matrices(&self) -> usize {
        self.side() * self.side()
    }

    /// Rows of tiles of all images.
    pub(super) fn tile_rows(&self) -> usize {
        self.conv.batch * self.conv.out_h.div_ceil(self.outputs)
    }

    /// Tiles in a row.
    pub(super) fn tiles_w(&self) -> usize {
        self.conv.out_w.div_ceil(self.outputs)
    }

    /// Tiles of all images.
    pub(super) fn tiles(&self) -> usize {
        self.tile_rows() * self.tiles_w()
    }

    /// How the sum over tiles is split when the weight's gradient is computed; lines are rows of tiles.
    ///
    /// Every split but the last has the same number of lines, and the last has as many where possible.
    pub(super) fn splits(&self) -> Splits {
        const TILES_PER_SPLIT: usize = 64;
        const MOST_SPLITS: usize = 64;
        const MOST_PARTIAL_SUMS: usize = 3 << 21;
        let lines = self.tile_rows();
        let sums = self.matrices() * (self.conv.in_c + 1) * self.conv.out_c;
        let affordable = (MOST_PARTIAL_SUMS / sums).clamp(1, MOST_SPLITS);
        let wanted = self.tiles().div_ceil(TILES_PER_SPLIT).min(affordable);
        // Whole lines of tiles, as GPUs stage them.
        let lines_per_split = lines.div_ceil(wanted).next_multiple_of((LONGEST_LINE / self.tiles_w()).max(1));
        Splits { lines, lines_per_split, count: lines.div_ceil(lines_per_split) }
    }

    /// Shape of the partial sums of the weight's gradient: a product for each element of a tile, whose last row is the bias's.
    pub(super) fn partial_sums_shape(&self) -> [usize; 4] {
        [self.splits().count, self.matrices(), self.conv.in_c + 1, self.conv.out_c]
    }
}

fn unfit(conv: &Conv2dGeometry, outputs: usize) -> Error {
    Error::shape("conv2d", format!("Winograd's F({outputs}×{outputs}) cannot compute {conv:?}"))
}

/// Products for each pair of channels and image with tiles of `outputs` × `outputs`.
pub(super) fn products_per_channel(conv: &Conv2dGeometry, outputs: usize) -> usize {
    let side = outputs + conv.kernel_h - 1;
    side * side * conv.out_h.div_ceil(outputs) * conv.out_w.div_ceil(outputs)
}

/// Whether Winograd's algorithm with tiles of `outputs` × `outputs` can compute a convolution and its gradients, and on a GPU
/// all tiles of the batch fit into buffers that every adapter can bind. The CPU goes over them in blocks.
pub(super) fn fits(conv: &Conv2dGeometry, outputs: usize, kind: DeviceKind) -> bool {
    /// WebGPU's minimum for the limit on a storage buffer binding.
    const MOST_BYTES: usize = 128 << 20;
    let small = |conv: Conv2dGeometry| {
        let w = WinogradGeometry { conv, outputs };
        let elements = w.matrices().saturating_mul(w.tiles()).saturating_mul(conv.in_c.max(conv.out_c));
        elements.saturating_mul(4) <= MOST_BYTES
    };
    suits(conv, outputs) && (kind == DeviceKind::Cpu || small(*conv) && conv.flipped().is_some_and(small))
}

/// Whether there are transforms for tiles of `outputs` × `outputs` of this convolution and its gradients.
fn suits(conv: &Conv2dGeometry, outputs: usize) -> bool {
    matches!((outputs, conv.kernel_h, conv.kernel_w), (2 | 4, 3, 3) | (2, 5, 5))
        && conv.stride == 1
        && conv.pad_top < conv.kernel_h
        && conv.pad_left < conv.kernel_w
}

/// `output = conv2d(input, weight)`, finished; if `flip`, with the weight of the convolution whose [`WinogradGeometry::flipped`]
/// form `w` is. The operands fit the geometry.
pub(super) fn forward(
    w: &WinogradGeometry,
    tiling: Tiling,
    flip: bool,
    input: &Tensor,
    weight: &Tensor,
    finish: Finish<&Tensor, &Tensor>,
    output: &Tensor,
) -> Result<()> {
    const OP: &str = "winograd_forward";
    let device = input.device();
    let Conv2dGeometry { in_c, out_c, .. } = w.conv;
    let transformed_weight = device.empty(&[w.matrices(), in_c, out_c])?;
    match device {
        Device::Cpu(_) => {
            cpu::winograd_transform_weight(w, flip, &weight.cpu(OP)?.read(), &mut transformed_weight.cpu(OP)?.write());
            let finish = finish.try_map(|operand| operand.floats(OP), |state| StepState::read(OP, state))?;
            cpu::winograd_forward(
                w,
                &input.cpu(OP)?.read(),
                &transformed_weight.cpu(OP)?.read(),
                finish.as_ref().try_map(|operand| Ok(&**operand), Ok)?,
                &mut output.cpu(OP)?.write(),
            );
        }
        Device::Gpu(gpu) => {
            let transformed_weight = transformed_weight.gpu(OP)?;
            gpu::winograd_transform_weight(gpu, w, flip, weight.gpu(OP)?, transformed_weight)?;
            let patches = device.empty(&[w.matrices(), w.tiles(), in_c])?;
            gpu::winograd_transform_input(gpu, w, input.gpu(OP)?, patches.gpu(OP)?)?;
            let products = device.empty(&[w.matrices(), w.tiles(), out_c])?;
            gpu::winograd_product(gpu, w, tiling, patches.gpu(OP)?, transformed_weight, products.gpu(OP)?)?;
            let finish = finish.try_map(|operand| operand.gpu(OP), |state| state.gpu(OP))?;
            gpu::winograd_transform_output(gpu, w, products.gpu(OP)?, finish, output.gpu(OP)?)?;
        }
    }
    Ok(())
}

/// Gradients of weight and bias, from the cotangent of the output before its ReLU, into `d_weight` and `d_bias`, which may
/// be views of one tensor. The operands fit the geometry.
pub(super) fn backward_weight(
    w: &WinogradGeometry,
    tiling: Tiling,
    input: &Tensor,
    d_output: &Tensor,
    d_weight: &Tensor,
    d_bias: &Tensor,
) -> Result<()> {
    const OP: &str = "winograd_backward_weight";
    let device = input.device();
    let splits = w.splits();
    let partial = device.empty(&w.partial_sums_shape())?;
    match device {
        Device::Cpu(_) => {
            let sums = partial.cpu(OP)?;
            cpu::winograd_backward_weight(
                w,
                splits,
                &input.cpu(OP)?.read(),
                &d_output.cpu(OP)?.read(),
                &mut sums.write(),
            );
            cpu::winograd_reduce_weight(w, splits.count, &sums.read(), &mut d_weight.cpu(OP)?.write());
            cpu::winograd_reduce_bias(w, splits.count, &sums.read(), &mut d_bias.cpu(OP)?.write());
        }
        Device::Gpu(gpu) => {
            let partial = partial.gpu(OP)?;
            let patches = device.empty(&[w.matrices(), w.tiles(), w.conv.in_c])?;
            gpu::winograd_transform_input(gpu, w, input.gpu(OP)?, patches.gpu(OP)?)?;
            let cotangents = device.empty(&[w.matrices(), w.tiles(), w.conv.out_c])?;
            gpu::winograd_transform_cotangent(gpu, w, d_output.gpu(OP)?, cotangents.gpu(OP)?)?;
            gpu::winograd_weight_product(gpu, w, tiling, splits, patches.gpu(OP)?, cotangents.gpu(OP)?, partial)?;
            gpu::winograd_reduce_weight(gpu, w, splits.count, partial, d_weight.gpu(OP)?, d_bias.gpu(OP)?)?;
        }
    }
    Ok(())
}
