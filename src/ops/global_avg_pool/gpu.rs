//! Launchers of the global average pool's kernels.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, half, launch_elementwise};
use crate::tensor::DType;

pub(super) fn global_avg_pool_forward(
    gpu: &GpuDevice,
    dtype: DType,
    batch: usize,
    pixels: usize,
    channels: usize,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "global_avg_pool_forward", dtype, batch * channels, pixels, channels, &[input, output])
}

pub(super) fn global_avg_pool_backward(
    gpu: &GpuDevice,
    dtype: DType,
    batch: usize,
    pixels: usize,
    channels: usize,
    d_output: &GpuBuffer,
    d_input: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "global_avg_pool_backward", dtype, batch * pixels * channels, pixels, channels, &[d_output, d_input])
}

fn launch(
    gpu: &GpuDevice,
    name: &'static str,
    dtype: DType,
    count: usize,
    pixels: usize,
    channels: usize,
    buffers: &[&GpuBuffer],
) -> Result<()> {
    let constants = [("PIXELS", as_u32(name, pixels)?), ("CHANNELS", as_u32(name, channels)?), half(dtype)];
    launch_elementwise(gpu, name, &constants, bytemuck::bytes_of(&as_u32(name, count)?), buffers, count)
}
