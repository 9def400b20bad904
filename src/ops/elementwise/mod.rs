//! Filling, adding and scaling.

mod cpu;
mod gpu;

use super::{common_device, expect, expect_real};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Sets every element of `output` to `value`.
pub fn fill(value: f32, output: &Tensor) -> Result<()> {
    const OP: &str = "fill";
    expect(OP, "output", output, output.shape(), DType::F32)?;
    match output.device() {
        Device::Cpu(_) => cpu::fill(value, &mut output.cpu(OP)?.write()[..output.len()]),
        Device::Gpu(gpu) => gpu::fill(gpu, output.len(), value, output.gpu(OP)?)?,
    }
    Ok(())
}

/// `a + b`, of one shape.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const OP: &str = "add";
    let device = common_device(OP, &[a, b])?;
    expect_real(OP, "a", a, a.shape())?;
    expect(OP, "b", b, a.shape(), a.dtype())?;
    let sum = device.allocate(a.shape(), a.dtype())?;
    match device {
        Device::Cpu(_) => cpu::add(&a.floats(OP)?, &b.floats(OP)?, &mut sum.floats_mut(OP)?),
        Device::Gpu(gpu) => gpu::add(gpu, a.dtype(), a.len(), a.gpu(OP)?, b.gpu(OP)?, sum.gpu(OP)?)?,
    }
    Ok(sum)
}

/// `input` times the one element of `factor`.
pub fn scale(input: &Tensor, factor: &Tensor) -> Result<Tensor> {
    const OP: &str = "scale";
    let device = common_device(OP, &[input, factor])?;
    expect(OP, "input", input, input.shape(), DType::F32)?;
    expect(OP, "factor", factor, &[1], DType::F32)?;
    let output = device.empty(input.shape())?;
    match device {
        Device::Cpu(_) => {
            cpu::scale(&input.cpu(OP)?.read(), &factor.cpu(OP)?.read(), &mut output.cpu(OP)?.write());
        }
        Device::Gpu(gpu) => gpu::scale(gpu, input.len(), input.gpu(OP)?, factor.gpu(OP)?, output.gpu(OP)?)?,
    }
    Ok(output)
}
