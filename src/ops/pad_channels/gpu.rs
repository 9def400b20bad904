//! Launchers of the kernels that pad channels.

use super::ChannelPadding;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, half, launch_elementwise};
use crate::tensor::DType;

pub(super) fn pad_channels_forward(
    gpu: &GpuDevice,
    dtype: DType,
    g: &ChannelPadding,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "pad_channels_forward", dtype, g, g.pixels * g.out_c, &[input, output])
}

pub(super) fn pad_channels_backward(
    gpu: &GpuDevice,
    dtype: DType,
    g: &ChannelPadding,
    d_output: &GpuBuffer,
    d_input: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "pad_channels_backward", dtype, g, g.pixels * g.in_c, &[d_output, d_input])
}

fn launch(
    gpu: &GpuDevice,
    kernel: &'static str,
    dtype: DType,
    g: &ChannelPadding,
    count: usize,
    buffers: &[&GpuBuffer],
) -> Result<()> {
    let [in_c, out_c, before] = [g.in_c, g.out_c, g.before].map(|channels| channels as u32);
    let constants = [("IN_C", in_c), ("OUT_C", out_c), ("BEFORE", before), half(dtype)];
    launch_elementwise(gpu, kernel, &constants, bytemuck::bytes_of(&as_u32(kernel, count)?), buffers, count)
}
