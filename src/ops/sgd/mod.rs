//! One update of stochastic gradient descent.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{StepState, as_u32, common_device, expect};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Settings of stochastic gradient descent, as in PyTorch with dampening 0. The learning rate is in the step's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Momentum: fraction of the velocity kept from step to step.
    pub momentum: f32,
    /// Weight decay: this factor times the parameter is added to its gradient.
    pub weight_decay: f32,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

/// Updates `parameter` and `velocity` in place, at `rate_factor` times the state's learning rate; the velocity starts as zeros.
pub fn sgd_step(
    sgd: Sgd,
    rate_factor: f32,
    state: &Tensor,
    gradient: &Tensor,
    parameter: &Tensor,
    velocity: &Tensor,
) -> Result<()> {
    const OP: &str = "sgd_step";
    let device = common_device(OP, &[state, gradient, parameter, velocity])?;
    StepState::expect(OP, state)?;
    expect(OP, "gradient", gradient, parameter.shape(), DType::F32)?;
    expect(OP, "velocity", velocity, parameter.shape(), DType::F32)?;
    as_u32(OP, parameter.len())?;
    match device {
        Device::Cpu(_) => cpu::sgd_step(
            sgd,
            rate_factor,
            &StepState::read(OP, state)?,
            &gradient.cpu(OP)?.read(),
            &mut parameter.cpu(OP)?.write(),
            &mut velocity.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => gpu::sgd_step(
            gpu,
            parameter.len(),
            sgd,
            rate_factor,
            state.gpu(OP)?,
            gradient.gpu(OP)?,
            parameter.gpu(OP)?,
            velocity.gpu(OP)?,
        )?,
    }
    Ok(())
}
