//! One update of Adam or AdamW.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{StepState, as_u32, common_device, expect};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Settings of Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019).
///
/// Learning rate and moment corrections are in the step's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator to avoid division by zero.
    pub epsilon: f32,
    /// Strength of the weight decay.
    pub weight_decay: f32,
    /// Whether weight decay is decoupled (AdamW), not added to the gradient.
    pub decoupled: bool,
}

impl Adam {
    fn one_minus_beta1(&self) -> f32 {
        (1.0 - self.beta1) as f32
    }

    fn one_minus_beta2(&self) -> f32 {
        (1.0 - self.beta2) as f32
    }
}

/// Updates `parameter` and both moments in place, at `rate_factor` times the state's learning rate; the moments start as zeros. The
/// factor does not apply to a decoupled weight decay.
pub fn adam_step(
    adam: Adam,
    rate_factor: f32,
    state: &Tensor,
    gradient: &Tensor,
    parameter: &Tensor,
    first_moment: &Tensor,
    second_moment: &Tensor,
) -> Result<()> {
    const OP: &str = "adam_step";
    let device = common_device(OP, &[state, gradient, parameter, first_moment, second_moment])?;
    StepState::expect(OP, state)?;
    expect(OP, "gradient", gradient, parameter.shape(), DType::F32)?;
    expect(OP, "first moment", first_moment, parameter.shape(), DType::F32)?;
    expect(OP, "second moment", second_moment, parameter.shape(), DType::F32)?;
    as_u32(OP, parameter.len())?;
    match device {
        Device::Cpu(_) => cpu::adam_step(
            adam,
            rate_factor,
            &StepState::read(OP, state)?,
            &gradient.cpu(OP)?.read(),
            &mut parameter.cpu(OP)?.write(),
            &mut first_moment.cpu(OP)?.write(),
            &mut second_moment.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => gpu::adam_step(
            gpu,
            parameter.len(),
            adam,
            rate_factor,
            state.gpu(OP)?,
            gradient.gpu(OP)?,
            parameter.gpu(OP)?,
            first_moment.gpu(OP)?,
            second_moment.gpu(OP)?,
        )?,
    }
    Ok(())
}
