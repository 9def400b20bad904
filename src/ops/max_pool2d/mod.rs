//! Two-dimensional max-pooling without padding.

mod cpu;
mod gpu;

use super::{Backward, Wanted, as_u32, common_device, expect, expect_real};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Shapes of one max-pooling, checked to fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPool2dGeometry {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub in_h: usize,
    /// Input width in pixels.
    pub in_w: usize,
    /// Channels.
    pub channels: usize,
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
    /// Window height in pixels.
    pub kernel_h: usize,
    /// Window width in pixels.
    pub kernel_w: usize,
    /// Step between windows in pixels, in both directions.
    pub stride: usize,
}

impl MaxPool2dGeometry {
    /// Geometry for an input `[batch, height, width, channels]`; windows stay inside, rest pixels are left out.
    ///
    /// # Errors
    /// If the window does not fit into the input or something is 0.
    pub fn new(input: &[usize], kernel: [usize; 2], stride: usize) -> Result<Self> {
        const OP: &str = "max_pool2d";
        let (&[batch, in_h, in_w, channels], [kernel_h, kernel_w]) = (input, kernel) else {
            return Err(Error::shape(OP, format!("input {input:?} must have four axes")));
        };
        if stride == 0 || kernel_h == 0 || kernel_w == 0 || kernel_h > in_h || kernel_w > in_w {
            return Err(Error::shape(OP, format!("windows {kernel:?} at stride {stride} do not fit input {input:?}")));
        }
        as_u32(OP, crate::tensor::elements(input).unwrap_or(usize::MAX))?;
        Ok(MaxPool2dGeometry {
            batch,
            in_h,
            in_w,
            channels,
            out_h: (in_h - kernel_h) / stride + 1,
            out_w: (in_w - kernel_w) / stride + 1,
            kernel_h,
            kernel_w,
            stride,
        })
    }

    /// `[batch, in_h, in_w, channels]`.
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.in_h, self.in_w, self.channels]
    }

    /// `[batch, out_h, out_w, channels]`.
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.out_h, self.out_w, self.channels]
    }
}

/// The largest element of each window, and which of the window's elements it was, counted row by row.
///
/// Of equal elements the first is chosen, as in PyTorch.
pub fn forward(geometry: &MaxPool2dGeometry, input: &Tensor) -> Result<(Tensor, Tensor)> {
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
pub fn backward(geometry: &MaxPool2dGeometry, choice: &Tensor, d_output: &Tensor) -> Result<Tensor> {
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

/// The tape rule of [`forward`].
#[derive(Debug)]
pub struct MaxPool2dBackward {
    /// Geometry of the forward call.
    pub geometry: MaxPool2dGeometry,
    /// Which element each window chose.
    pub choice: Tensor,
}

impl Backward for MaxPool2dBackward {
    fn backward(&self, cotangent: &Tensor, _wanted: &[Wanted]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(backward(&self.geometry, &self.choice, cotangent)?)])
    }

    fn passes_gate(&self) -> bool {
        true
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
        let geometry = MaxPool2dGeometry::new(input.shape(), [2, 2], 2).unwrap();
        let (output, choice) = forward(&geometry, &input).unwrap();
        let output = output.to_vec().unwrap();
        assert!([0, 1, 3].iter().all(|&i| output[i].is_nan()) && output[2] == 4.0, "{output:?}");
        assert_eq!(choice.to_vec_u32().unwrap(), [1, 0, 2, 3]);
    }
}
