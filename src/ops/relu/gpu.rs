//! Launchers of the ReLU kernels.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, half, in_fours, launch_elementwise};
use crate::tensor::DType;

pub(super) fn relu_forward(
    gpu: &GpuDevice,
    dtype: DType,
    count: usize,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    let (wide, count) = in_fours(count, count);
    let uniform = as_u32("relu_forward", count)?;
    launch_elementwise(gpu, "relu_forward", &[half(dtype), wide], bytemuck::bytes_of(&uniform), &[input, output], count)
}

pub(super) fn relu_backward(
    gpu: &GpuDevice,
    dtype: DType,
    count: usize,
    factor: f32,
    output: &GpuBuffer,
    d_output: &GpuBuffer,
    d_input: &GpuBuffer,
) -> Result<()> {
    let (wide, count) = in_fours(count, count);
    let uniform = [as_u32("relu_backward", count)?, factor.to_bits()];
    let buffers = [output, d_output, d_input];
    launch_elementwise(gpu, "relu_backward", &[half(dtype), wide], bytemuck::cast_slice(&uniform), &buffers, count)
}
