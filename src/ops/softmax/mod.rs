//! Softmax over the last axis. As a loss use [`super::softmax_cross_entropy`], which rounds less than a logarithm of this.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::{Context, Cotangents, Op, Output, Upstream, as_u32, common_device, expect, operands};
use crate::error::{Error, Result};
use crate::tensor::{DType, Device, Tensor};

fn rows_and_classes(op: &'static str, input: &Tensor) -> Result<(usize, usize)> {
    let &[rows, classes] = input.shape() else {
        return Err(Error::shape(op, format!("input {:?} must have two axes", input.shape())));
    };
    as_u32(op, input.len())?;
    expect(op, "input", input, input.shape(), DType::F32)?;
    Ok((rows, classes))
}

/// Probabilities `[batch, classes]` of logits `[batch, classes]`, stable for logits of any finite size.
///
/// # Errors
/// If the input has not two axes of 32-bit floats, or the device fails.
pub fn forward(input: &Tensor) -> Result<Tensor> {
    const OP: &str = "softmax_forward";
    let (rows, classes) = rows_and_classes(OP, input)?;
    let output = input.device().empty(input.shape())?;
    match input.device() {
        Device::Cpu(_) => cpu::softmax_forward(classes, &input.floats(OP)?, &mut output.floats_mut(OP)?),
        Device::Gpu(gpu) => gpu::softmax_forward(gpu, rows, classes, input.gpu(OP)?, output.gpu(OP)?)?,
    }
    Ok(output)
}

/// Cotangent of the logits from the probabilities and their cotangent.
///
/// # Errors
/// If the shapes differ, or the device fails.
pub fn backward(output: &Tensor, d_output: &Tensor) -> Result<Tensor> {
    const OP: &str = "softmax_backward";
    let device = common_device(OP, &[output, d_output])?;
    let (rows, classes) = rows_and_classes(OP, output)?;
    expect(OP, "d_output", d_output, output.shape(), DType::F32)?;
    let d_input = device.empty(output.shape())?;
    match device {
        Device::Cpu(_) => {
            cpu::softmax_backward(classes, &output.floats(OP)?, &d_output.floats(OP)?, &mut d_input.floats_mut(OP)?);
        }
        Device::Gpu(gpu) => {
            gpu::softmax_backward(gpu, rows, classes, output.gpu(OP)?, d_output.gpu(OP)?, d_input.gpu(OP)?)?;
        }
    }
    Ok(d_input)
}

/// The operation of a tape.
#[derive(Debug, Clone, Copy)]
pub struct Softmax;

impl Op for Softmax {
    /// The probabilities.
    type Saved = Tensor;

    fn name(&self) -> &'static str {
        "softmax"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Tensor>> {
        let [input] = operands(self.name(), inputs)?;
        let output = forward(input)?;
        Ok(Output::new(output.clone(), output))
    }

    fn backward(&self, output: Tensor, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(backward(&output, upstream.cotangent)?.into())
    }
}
