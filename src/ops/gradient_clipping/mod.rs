//! Clipping gradients by their norm (Pascanu et al., "On the difficulty of training recurrent neural networks", 2013).

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{StepState, common_device, expect};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Reduces the step's `gradient_factor` so that the scaled gradients have a global norm of at most `max_norm`, as PyTorch's
/// `clip_grad_norm_`. `partial` is their [`crate::ops::loss_scaling::sum_of_squares`].
///
/// # Errors
/// If the shapes do not fit, or `max_norm` is not positive.
pub fn gradient_clipping(max_norm: f32, partial: &Tensor, state: &Tensor) -> Result<()> {
    const OP: &str = "gradient_clipping";
    let device = common_device(OP, &[partial, state])?;
    expect(OP, "partial sums", partial, partial.shape(), DType::F32)?;
    StepState::expect(OP, state)?;
    if !(max_norm > 0.0 && max_norm.is_finite()) {
        return Err(Error::shape(OP, format!("the largest norm, {max_norm}, must be positive")));
    }
    match device {
        Device::Cpu(_) => {
            let mut words = state.cpu(OP)?.write();
            let mut step = StepState::from_words(&words);
            cpu::gradient_clipping(max_norm, &partial.cpu(OP)?.read(), &mut step);
            words.copy_from_slice(&step.words());
        }
        Device::Gpu(gpu) => gpu::gradient_clipping(gpu, partial.len(), max_norm, partial.gpu(OP)?, state.gpu(OP)?)?,
    }
    Ok(())
}
