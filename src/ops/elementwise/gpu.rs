//! Launchers of the element-by-element kernels.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, half, in_fours, launch_elementwise};
use crate::tensor::DType;

pub(super) fn fill(gpu: &GpuDevice, count: usize, value: f32, output: &GpuBuffer) -> Result<()> {
    let uniform = [as_u32("fill", count)?, value.to_bits()];
    launch_elementwise(gpu, "fill", &[], bytemuck::cast_slice(&uniform), &[output], count)
}

pub(super) fn add(
    gpu: &GpuDevice,
    dtype: DType,
    count: usize,
    relu: bool,
    a: &GpuBuffer,
    b: &GpuBuffer,
    sum: &GpuBuffer,
) -> Result<()> {
    let (wide, count) = in_fours(count, count);
    let uniform = as_u32("add", count)?;
    launch_elementwise(
        gpu,
        "add",
        &[half(dtype), wide, ("RELU", u32::from(relu))],
        bytemuck::bytes_of(&uniform),
        &[a, b, sum],
        count,
    )
}

pub(super) fn scale(
    gpu: &GpuDevice,
    count: usize,
    input: &GpuBuffer,
    factor: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    let uniform = as_u32("scale", count)?;
    launch_elementwise(gpu, "scale", &[], bytemuck::bytes_of(&uniform), &[input, factor, output], count)
}

pub(super) fn combine(
    gpu: &GpuDevice,
    count: usize,
    x_factor: f32,
    y_factor: f32,
    x: &GpuBuffer,
    y: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    let uniform = [as_u32("combine", count)?, x_factor.to_bits(), y_factor.to_bits()];
    launch_elementwise(gpu, "combine", &[], bytemuck::cast_slice(&uniform), &[x, y, output], count)
}
