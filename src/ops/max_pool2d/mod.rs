//! Two-dimensional max-pooling. Padding is never chosen.

pub(super) mod cases;
mod cpu;
mod gpu;

use super::pool2d::Pool2dGeometry;
use super::{
    Context, Cotangents, GateEffect, Op, Output, Padding, Upstream, common_device, expect, expect_real, operands,
};
use crate::error::Result;
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// The largest element of each window, and which of the window's elements it was, counted row by row.
///
/// Of equal elements the first is chosen, as in PyTorch.
pub fn forward(geometry: &Pool2dGeometry, input: &Tensor) -> Result<(Tensor, Tensor)> {
    const OP: &str = "max_pool2d_forward";
    expect_real(OP, "input", input, &geometry.input_shape())?;
    let device = input.device();
    let output = device.allocate(&geometry.output_shape(), input.dtype())?;
    let choice = device.allocate(&geometry.output_shape(), DType::U32)?;
    match device {
        Device::Cpu(_) => cpu::max_pool2d_forward(
            geometry,
            &input.floats(OP)?,
            &mut output.floats_mut(OP)?,
            &mut choice.cpu(OP)?.write(),
        ),
        Device::Gpu(gpu) => {
            gpu::max_pool2d_forward(gpu, input.dtype(), geometry, input.gpu(OP)?, output.gpu(OP)?, choice.gpu(OP)?)?;
        }
    }
    Ok((output, choice))
}

/// Cotangent of the input: each window's cotangent goes to the element it chose.
pub fn backward(geometry: &Pool2dGeometry, choice: &Tensor, d_output: &Tensor) -> Result<Tensor> {
    const OP: &str = "max_pool2d_backward";
    let device = common_device(OP, &[choice, d_output])?;
    expect(OP, "choice", choice, &geometry.output_shape(), DType::U32)?;
    expect_real(OP, "d_output", d_output, &geometry.output_shape())?;
    let d_input = device.allocate(&geometry.input_shape(), d_output.dtype())?;
    match device {
        Device::Cpu(_) => cpu::max_pool2d_backward(
            geometry,
            &choice.cpu(OP)?.read(),
            &d_output.floats(OP)?,
            &mut d_input.floats_mut(OP)?,
        ),
        Device::Gpu(gpu) => {
            gpu::max_pool2d_backward(
                gpu,
                d_output.dtype(),
                geometry,
                choice.gpu(OP)?,
                d_output.gpu(OP)?,
                d_input.gpu(OP)?,
            )?;
        }
    }
    Ok(d_input)
}

/// The operation of a tape.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool2d {
    /// Window height and width in pixels.
    pub kernel: [usize; 2],
    /// Stride in pixels.
    pub stride: usize,
    /// Pixels around the input, which are never chosen.
    pub padding: Padding,
}

impl MaxPool2d {
    /// Square windows that stay inside the input.
    pub fn new(kernel: usize, stride: usize) -> Self {
        MaxPool2d { kernel: [kernel; 2], stride, padding: Padding::Valid }
    }
}

impl Op for MaxPool2d {
    /// The geometry, and which element each window chose.
    type Saved = (Pool2dGeometry, Tensor);

    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn forward(&self, inputs: &[&Tensor], _context: &Context<'_>) -> Result<Output<Self::Saved>> {
        let [input] = operands(self.name(), inputs)?;
        let geometry = Pool2dGeometry::new(self.name(), input.shape(), self.kernel, self.stride, self.padding)?;
        let (output, choice) = forward(&geometry, input)?;
        Ok(Output::new(output, (geometry, choice)).with_gate(GateEffect::Passes(1.0)))
    }

    fn backward(&self, (geometry, choice): Self::Saved, upstream: Upstream<'_>) -> Result<Cotangents> {
        Ok(backward(&geometry, &choice, upstream.cotangent)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in a ReLU: a window with a NaN must not look like one without.
    #[test]
    fn a_nan_is_larger_than_any_number_on_the_cpu() {
        let nan = f32::NAN;
        let windows = [[1.0, nan, 0.0, 2.0], [nan, 3.0, 1.0, 0.0], [0.0, 1.0, 4.0, 4.0], [0.0, 0.0, 0.0, nan]];
        let input: Vec<f32> = windows.concat();
        let input = Device::cpu().tensor(&[4, 2, 2, 1], &input).unwrap();
        let geometry = Pool2dGeometry::new("test", input.shape(), [2, 2], 2, Padding::Valid).unwrap();
        let (output, choice) = forward(&geometry, &input).unwrap();
        let output = output.to_vec().unwrap();
        assert!([0, 1, 3].iter().all(|&i| output[i].is_nan()) && output[2] == 4.0, "{output:?}");
        assert_eq!(choice.to_vec_u32().unwrap(), [1, 0, 2, 3]);
    }
}
