//! Dynamic loss scaling: cotangents of 16 bits would vanish if the loss were not multiplied by something large, which is reduced
//! when gradients overflow (Micikevicius et al., "Mixed Precision Training", 2018; the numbers are those of PyTorch's
//! `GradScaler`). All of it stays on the device.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{StepState, as_u32, common_device, expect};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Elements of the state tensor of [`loss_scaling`]: the scale, finite steps since it changed, steps skipped, and the gradients'
/// norm.
pub const ELEMENTS: usize = 4;
/// Scale of the first step.
pub const FIRST_SCALE: f32 = 65_536.0;
/// Steps without overflow after which the scale doubles.
const GROWTH_INTERVAL: u32 = 2_000;
/// Upper limit of the scale.
const LARGEST_SCALE: u32 = 1 << 24;
/// Invocations of a part of [`sum_of_squares`], and of the workgroups that add up the parts, here and in `gradient_clipping`.
pub(super) const LANES: usize = 256;
/// Maximum number of parts of [`sum_of_squares`].
const MOST_PARTS: usize = 32;

/// Partial sums of the squares of all elements; their number is a function of the number of elements.
pub fn sum_of_squares(input: &Tensor) -> Result<Tensor> {
    const OP: &str = "sum_of_squares";
    expect(OP, "input", input, input.shape(), DType::F32)?;
    as_u32(OP, input.len())?;
    // Some drivers end an invocation's loops after 65,535 iterations; these loops are far shorter.
    let parts = input.len().div_ceil(LANES).min(MOST_PARTS);
    let partial = input.device().empty(&[parts])?;
    match input.device() {
        Device::Cpu(_) => cpu::sum_of_squares(&input.cpu(OP)?.read(), &mut partial.cpu(OP)?.write()),
        Device::Gpu(gpu) => gpu::sum_of_squares(gpu, input.len(), parts, input.gpu(OP)?, partial.gpu(OP)?)?,
    }
    Ok(partial)
}

/// Sets the step's `gradient_factor` from the partial sums of the squares of all gradients, and adapts `scaling`, a tensor
/// of [`ELEMENTS`] floats that starts as [`FIRST_SCALE`] and zeros.
///
/// If a gradient is not finite, the factor is negative and the optimizer skips the update.
pub fn loss_scaling(partial: &Tensor, scaling: &Tensor, state: &Tensor) -> Result<()> {
    const OP: &str = "loss_scaling";
    let device = common_device(OP, &[partial, scaling, state])?;
    expect(OP, "partial sums", partial, partial.shape(), DType::F32)?;
    expect(OP, "scaling", scaling, &[ELEMENTS], DType::F32)?;
    StepState::expect(OP, state)?;
    match device {
        Device::Cpu(_) => {
            let mut words = state.cpu(OP)?.write();
            let mut step = StepState::from_words(&words);
            cpu::loss_scaling(&partial.cpu(OP)?.read(), &mut scaling.cpu(OP)?.write(), &mut step);
            words.copy_from_slice(&step.words());
        }
        Device::Gpu(gpu) => {
            gpu::loss_scaling(gpu, partial.len(), partial.gpu(OP)?, scaling.gpu(OP)?, state.gpu(OP)?)?;
        }
    }
    Ok(())
}
