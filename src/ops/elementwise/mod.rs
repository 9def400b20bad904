//! Filling, adding, scaling and linear combinations.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{
    Context, Cotangents, Gate, GateEffect, Op, Output, Upstream, common_device, expect, expect_real, operands, relu,
};
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
///
/// # Errors
/// If shapes, types or devices differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    add_by(false, a, b)
}

/// `max(a + b, 0)`, of one shape.
///
/// # Errors
/// As for [`add`].
pub fn add_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    add_by(true, a, b)
}

fn add_by(relu: bool, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const OP: &str = "add";
    let device = common_device(OP, &[a, b])?;
    expect_real(OP, "a", a, a.shape())?;
    expect(OP, "b", b, a.shape(), a.dtype())?;
    let sum = device.allocate(a.shape(), a.dtype())?;
    match device {
        Device::Cpu(_) => cpu::add(relu, &a.floats(OP)?, &b.floats(OP)?, &mut sum.floats_mut(OP)?),
        Device::Gpu(gpu) => gpu::add(gpu, a.dtype(), a.len(), relu, a.gpu(OP)?, b.gpu(OP)?, sum.gpu(OP)?)?,
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

/// `x_factor · x + y_factor · y`, of one shape.
///
/// # Errors
/// If shapes, types or devices differ.
pub fn combine(x_factor: f32, x: &Tensor, y_factor: f32, y: &Tensor) -> Result<Tensor> {
    const OP: &str = "combine";
    let device = common_device(OP, &[x, y])?;
    expect(OP, "x", x, x.shape(), DType::F32)?;
    expect(OP, "y", y, x.shape(), DType::F32)?;
    let output = device.empty(x.shape())?;
    match device {
        Device::Cpu(_) => {
            cpu::combine(x_factor, &x.cpu(OP)?.read(), y_factor, &y.cpu(OP)?.read(), &mut output.cpu(OP)?.write());
        }
        Device::Gpu(gpu) => {
            gpu::combine(gpu, x.len(), x_factor, y_factor, x.gpu(OP)?, y.gpu(OP)?, output.gpu(OP)?)?;
        }
    }
    Ok(output)
}

/// The operation of a tape: `a + b`, of one shape, then ReLU if `relu`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Add {
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Op for Add {
    /// The output, if ReLU follows.
    type Saved = Option<Tensor>;

    fn name(&self) -> &'static str {
        "add"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Option<Tensor>>> {
        let [a, b] = operands(self.name(), inputs)?;
        let sum = add_by(self.relu, a, b)?;
        let gate = if self.relu { GateEffect::Makes(1.0) } else { GateEffect::Ends };
        Ok(Output::new(sum.clone(), self.relu.then_some(sum)).with_gate(gate))
    }

    fn backward(&self, output: Option<Tensor>, upstream: Upstream<'_>) -> Result<Cotangents> {
        let cotangent = match output {
            Some(output) if !upstream.is_gated => {
                relu::backward(Gate { output: &output, factor: 1.0 }, upstream.cotangent)?
            }
            _ => upstream.cotangent.clone(),
        };
        Ok(vec![Some(cotangent.clone()), Some(cotangent)].into())
    }
}

/// The operation of a tape: `x_factor · x + y_factor · y`, of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Combine {
    /// Factor of the first input.
    pub x_factor: f32,
    /// Factor of the second input.
    pub y_factor: f32,
}

impl Op for Combine {
    type Saved = ();

    fn name(&self) -> &'static str {
        "combine"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<()>> {
        let [x, y] = operands(self.name(), inputs)?;
        Ok(Output::new(combine(self.x_factor, x, self.y_factor, y)?, ()))
    }

    fn backward(&self, (): (), upstream: Upstream<'_>) -> Result<Cotangents> {
        let scaled = |factor: f32| combine(factor, upstream.cotangent, 0.0, upstream.cotangent).map(Some);
        Ok(vec![scaled(self.x_factor)?, scaled(self.y_factor)?].into())
    }
}
