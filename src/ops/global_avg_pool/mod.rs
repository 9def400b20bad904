//! The mean of every channel over all pixels.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{Context, Cotangents, Op, Output, Upstream, expect_real, operands};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::Tensor;

/// Means of `input [batch, height, width, channels]` over height and width: `[batch, channels]`.
pub fn forward(input: &Tensor) -> Result<Tensor> {
    const OP: &str = "global_avg_pool_forward";
    let &[batch, height, width, channels] = input.shape() else {
        return Err(Error::shape(OP, format!("input {:?} must have four axes", input.shape())));
    };
    expect_real(OP, "input", input, input.shape())?;
    let output = input.device().allocate(&[batch, channels], input.dtype())?;
    let pixels = height * width;
    match input.device() {
        Device::Cpu(_) => {
            cpu::global_avg_pool_forward(pixels, channels, &input.floats(OP)?, &mut output.floats_mut(OP)?);
        }
        Device::Gpu(gpu) => {
            let (from, to) = (input.gpu(OP)?, output.gpu(OP)?);
            gpu::global_avg_pool_forward(gpu, input.dtype(), batch, pixels, channels, from, to)?;
        }
    }
    Ok(output)
}

/// Cotangent of an input of shape `input_shape` from that of the means.
pub fn backward(input_shape: [usize; 4], d_output: &Tensor) -> Result<Tensor> {
    const OP: &str = "global_avg_pool_backward";
    let [batch, height, width, channels] = input_shape;
    expect_real(OP, "d_output", d_output, &[batch, channels])?;
    let d_input = d_output.device().allocate(&input_shape, d_output.dtype())?;
    let pixels = height * width;
    match d_output.device() {
        Device::Cpu(_) => {
            cpu::global_avg_pool_backward(pixels, channels, &d_output.floats(OP)?, &mut d_input.floats_mut(OP)?);
        }
        Device::Gpu(gpu) => {
            let (from, to) = (d_output.gpu(OP)?, d_input.gpu(OP)?);
            gpu::global_avg_pool_backward(gpu, d_output.dtype(), batch, pixels, channels, from, to)?;
        }
    }
    Ok(d_input)
}

/// The operation of a tape.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAvgPool;

impl Op for GlobalAvgPool {
    /// Shape of the input.
    type Saved = [usize; 4];

    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<[usize; 4]>> {
        let [input] = operands(self.name(), inputs)?;
        let output = forward(input)?;
        let &[batch, height, width, channels] = input.shape() else {
            return Err(Error::shape(self.name(), "the input must have four axes"));
        };
        Ok(Output::new(output, [batch, height, width, channels]))
    }

    fn backward(&self, input_shape: [usize; 4], upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(backward(input_shape, upstream.cotangent)?.into())
    }
}
