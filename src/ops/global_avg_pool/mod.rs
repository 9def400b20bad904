//! The mean of every channel over all pixels.

mod cpu;
mod gpu;

use super::{Backward, Wanted, expect};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// Means of `input [batch, height, width, channels]` over height and width: `[batch, channels]`.
pub fn forward(input: &Tensor) -> Result<Tensor> {
    const OP: &str = "global_avg_pool_forward";
    let &[batch, height, width, channels] = input.shape() else {
        return Err(Error::shape(OP, format!("input {:?} must have four axes", input.shape())));
    };
    expect(OP, "input", input, input.shape(), DType::F32)?;
    let output = input.device().empty(&[batch, channels])?;
    let pixels = height * width;
    match input.device() {
        Device::Cpu(_) => {
            cpu::global_avg_pool_forward(pixels, channels, &input.cpu(OP)?.read(), &mut output.cpu(OP)?.write());
        }
        Device::Gpu(gpu) => {
            gpu::global_avg_pool_forward(gpu, batch, pixels, channels, input.gpu(OP)?, output.gpu(OP)?)?;
        }
    }
    Ok(output)
}

/// Cotangent of an input of shape `input_shape` from that of the means.
pub fn backward(input_shape: [usize; 4], d_output: &Tensor) -> Result<Tensor> {
    const OP: &str = "global_avg_pool_backward";
    let [batch, height, width, channels] = input_shape;
    expect(OP, "d_output", d_output, &[batch, channels], DType::F32)?;
    let d_input = d_output.device().empty(&input_shape)?;
    let pixels = height * width;
    match d_output.device() {
        Device::Cpu(_) => {
            cpu::global_avg_pool_backward(pixels, channels, &d_output.cpu(OP)?.read(), &mut d_input.cpu(OP)?.write());
        }
        Device::Gpu(gpu) => {
            gpu::global_avg_pool_backward(gpu, batch, pixels, channels, d_output.gpu(OP)?, d_input.gpu(OP)?)?;
        }
    }
    Ok(d_input)
}

/// The tape rule of [`forward`].
#[derive(Debug)]
pub struct GlobalAvgPoolBackward {
    /// Shape of the input.
    pub input_shape: [usize; 4],
}

impl Backward for GlobalAvgPoolBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(backward(self.input_shape, cotangent)?)])
    }
}
