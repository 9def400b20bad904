//! A loop that counts itself, to find drivers that end loops early.

pub(super) mod cases;
mod cpu;
mod gpu;

use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// `[2]`: iterations completed by a loop over a given count, and the final state of a number generator that it advances.
pub fn count_iterations(device: &Device, iterations: u32) -> Result<Tensor> {
    const OP: &str = "count_iterations";
    let counted = device.allocate(&[2], DType::U32)?;
    match device {
        Device::Cpu(_) => cpu::count_iterations(iterations, &mut counted.cpu(OP)?.write()),
        Device::Gpu(gpu) => gpu::count_iterations(gpu, iterations, counted.gpu(OP)?)?,
    }
    Ok(counted)
}
