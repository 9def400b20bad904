//! Two-dimensional average pooling. Padding counts as zeros, as in PyTorch (`count_include_pad`).

pub(super) mod cases;
mod cpu;
mod gpu;

use super::pool2d::Pool2dGeometry;
use super::{Context, Cotangents, Op, Output, Padding, Upstream, expect_real, operands};
use crate::error::Result;
use crate::tensor::{Device, Tensor};

/// The mean of each window.
///
/// # Errors
/// If the input's shape differs from the geometry's, or the device fails.
pub fn forward(geometry: &Pool2dGeometry, input: &Tensor) -> Result<Tensor> {
    const OP: &str = "avg_pool2d_forward";
    expect_real(OP, "input", input, &geometry.input_shape())?;
    let output = input.device().allocate(&geometry.output_shape(), input.dtype())?;
    match input.device() {
        Device::Cpu(_) => cpu::avg_pool2d_forward(geometry, &input.floats(OP)?, &mut output.floats_mut(OP)?),
        Device::Gpu(gpu) => {
            gpu::avg_pool2d_forward(gpu, input.dtype(), geometry, input.gpu(OP)?, output.gpu(OP)?)?;
        }
    }
    Ok(output)
}

/// Cotangent of the input: each window's cotangent is spread evenly over its elements.
///
/// # Errors
/// If the cotangent's shape differs from the geometry's, or the device fails.
pub fn backward(geometry: &Pool2dGeometry, d_output: &Tensor) -> Result<Tensor> {
    const OP: &str = "avg_pool2d_backward";
    expect_real(OP, "d_output", d_output, &geometry.output_shape())?;
    let d_input = d_output.device().allocate(&geometry.input_shape(), d_output.dtype())?;
    match d_output.device() {
        Device::Cpu(_) => cpu::avg_pool2d_backward(geometry, &d_output.floats(OP)?, &mut d_input.floats_mut(OP)?),
        Device::Gpu(gpu) => {
            gpu::avg_pool2d_backward(gpu, d_output.dtype(), geometry, d_output.gpu(OP)?, d_input.gpu(OP)?)?;
        }
    }
    Ok(d_input)
}

/// The operation of a tape.
#[derive(Debug, Clone, Copy)]
pub struct AvgPool2d {
    /// Window height and width in pixels.
    pub kernel: [usize; 2],
    /// Stride in pixels.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
}

impl Op for AvgPool2d {
    type Saved = Pool2dGeometry;

    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Pool2dGeometry>> {
        let [input] = operands(self.name(), inputs)?;
        let geometry = Pool2dGeometry::new(self.name(), input.shape(), self.kernel, self.stride, self.padding)?;
        Ok(Output::new(forward(&geometry, input)?, geometry))
    }

    fn backward(&self, geometry: Pool2dGeometry, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(backward(&geometry, upstream.cotangent)?.into())
    }
}
