//! Launchers of the max-pooling kernels.

use super::MaxPool2dGeometry;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, half, launch_elementwise};
use crate::tensor::DType;

pub(super) fn max_pool2d_forward(
    gpu: &GpuDevice,
    dtype: DType,
    g: &MaxPool2dGeometry,
    input: &GpuBuffer,
    output: &GpuBuffer,
    choice: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "max_pool2d_forward", dtype, g, &g.output_shape(), &[input, output, choice])
}

pub(super) fn max_pool2d_backward(
    gpu: &GpuDevice,
    dtype: DType,
    g: &MaxPool2dGeometry,
    choice: &GpuBuffer,
    d_output: &GpuBuffer,
    d_input: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "max_pool2d_backward", dtype, g, &g.input_shape(), &[choice, d_output, d_input])
}

fn launch(
    gpu: &GpuDevice,
    name: &'static str,
    dtype: DType,
    g: &MaxPool2dGeometry,
    shape: &[usize],
    buffers: &[&GpuBuffer],
) -> Result<()> {
    let constants = [
        ("KERNEL_H", g.kernel_h),
        ("KERNEL_W", g.kernel_w),
        ("STRIDE", g.stride),
        ("IN_H", g.in_h),
        ("IN_W", g.in_w),
        ("OUT_H", g.out_h),
        ("OUT_W", g.out_w),
        ("CHANNELS", g.channels),
    ];
    let constants: Vec<_> =
        constants.into_iter().map(|(name, value)| (name, value as u32)).chain([half(dtype)]).collect();
    // Invocations handle four channels where every pixel has so many.
    let count = shape.iter().product::<usize>() / if g.channels.is_multiple_of(4) { 4 } else { 1 };
    launch_elementwise(gpu, name, &constants, bytemuck::bytes_of(&as_u32(name, count)?), buffers, count)
}
