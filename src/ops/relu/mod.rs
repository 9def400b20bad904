//! Rectified linear units.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{
    Context, Cotangents, Gate, GateEffect, Op, Output, Upstream, common_device, expect, expect_real, operands,
};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::Tensor;

/// `max(input, 0)`.
pub fn forward(input: &Tensor) -> Result<Tensor> {
    const OP: &str = "relu_forward";
    expect_real(OP, "input", input, input.shape())?;
    let output = input.device().allocate(input.shape(), input.dtype())?;
    match input.device() {
        Device::Cpu(_) => cpu::relu_forward(&input.floats(OP)?, &mut output.floats_mut(OP)?),
        Device::Gpu(gpu) => gpu::relu_forward(gpu, input.dtype(), input.len(), input.gpu(OP)?, output.gpu(OP)?)?,
    }
    Ok(output)
}

/// Cotangent of the input: the output's gate applied to `d_output`.
pub fn backward(gate: Gate<&Tensor>, d_output: &Tensor) -> Result<Tensor> {
    const OP: &str = "relu_backward";
    let Gate { output, factor } = gate;
    let device = common_device(OP, &[output, d_output])?;
    expect_real(OP, "output", output, output.shape())?;
    expect(OP, "d_output", d_output, output.shape(), output.dtype())?;
    let d_input = device.allocate(output.shape(), output.dtype())?;
    match device {
        Device::Cpu(_) => {
            cpu::relu_backward(factor, &output.floats(OP)?, &d_output.floats(OP)?, &mut d_input.floats_mut(OP)?);
        }
        Device::Gpu(gpu) => {
            gpu::relu_backward(
                gpu,
                output.dtype(),
                output.len(),
                factor,
                output.gpu(OP)?,
                d_output.gpu(OP)?,
                d_input.gpu(OP)?,
            )?;
        }
    }
    Ok(d_input)
}

/// The operation `max(input, 0)` of a tape.
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Op for Relu {
    type Saved = Tensor;

    fn name(&self) -> &'static str {
        "relu"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Tensor>> {
        let [input] = operands(self.name(), inputs)?;
        let output = forward(input)?;
        Ok(Output::new(output.clone(), output).with_gate(GateEffect::Makes(1.0)))
    }

    fn backward(&self, output: Tensor, upstream: Upstream<'_>) -> Result<Cotangents> {
        let gate = Gate { output: &output, factor: 1.0 };
        Ok(if upstream.is_gated { upstream.cotangent.clone() } else { backward(gate, upstream.cotangent)? }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that ends in ReLU must not turn NaNs into zeros, or divergence would go unnoticed.
    #[test]
    fn a_nan_stays_one_on_the_cpu() {
        let input = Device::cpu().tensor(&[3], &[f32::NAN, -1.0, 2.0]).unwrap();
        let output = forward(&input).unwrap().to_vec().unwrap();
        assert!(output[0].is_nan() && output[1..] == [0.0, 2.0], "{output:?}");
    }
}
