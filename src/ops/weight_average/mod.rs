//! A running average of the weights over the steps, which generalizes better than the final weights (Polyak and Juditsky, 1992).

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{StepState, as_u32, common_device, expect};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// `average += average_share · (parameter − average)`, with `average_share` from the state; unchanged if the state's
/// `gradient_factor` is negative.
///
/// # Errors
/// If the shapes do not fit.
pub fn weight_average(state: &Tensor, parameter: &Tensor, average: &Tensor) -> Result<()> {
    const OP: &str = "weight_average";
    let device = common_device(OP, &[state, parameter, average])?;
    StepState::expect(OP, state)?;
    expect(OP, "parameter", parameter, parameter.shape(), DType::F32)?;
    expect(OP, "average", average, parameter.shape(), DType::F32)?;
    as_u32(OP, parameter.len())?;
    match device {
        Device::Cpu(_) => {
            cpu::weight_average(&StepState::read(OP, state)?, &parameter.cpu(OP)?.read(), &mut average.cpu(OP)?.write())
        }
        Device::Gpu(gpu) => {
            gpu::weight_average(gpu, parameter.len(), state.gpu(OP)?, parameter.gpu(OP)?, average.gpu(OP)?)?;
        }
    }
    Ok(())
}
