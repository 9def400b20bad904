//! Launchers of batch normalization's kernels.

use super::Parts;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::{as_u32, half, in_fours, launch_elementwise};
use crate::tensor::DType;

/// Invocations that combine the parts of a channel.
const LANES: u32 = 64;

pub(super) fn batch_norm_partial(
    gpu: &GpuDevice,
    dtype: DType,
    parts: Parts,
    channels: usize,
    input: &GpuBuffer,
    partial: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_norm_partial";
    let count = parts.count * channels;
    let uniform = [as_u32(OP, parts.rows)?, as_u32(OP, parts.rows_per_part)?, as_u32(OP, count)?];
    let constants = [("CHANNELS", as_u32(OP, channels)?), half(dtype)];
    launch_elementwise(gpu, OP, &constants, bytemuck::cast_slice(&uniform), &[input, partial], count)
}

/// The statistics of a batch from its parts, if there are some, else the running ones.
#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_norm_statistics(
    gpu: &GpuDevice,
    parts: Parts,
    channels: usize,
    [epsilon, momentum]: [f32; 2],
    partial: Option<&GpuBuffer>,
    running_mean: &GpuBuffer,
    running_variance: &GpuBuffer,
    statistics: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_norm_statistics";
    let uniform = [
        as_u32(OP, parts.rows)?,
        as_u32(OP, parts.rows_per_part)?,
        as_u32(OP, parts.count)?,
        epsilon.to_bits(),
        momentum.to_bits(),
    ];
    let constants = [("CHANNELS", as_u32(OP, channels)?), ("TRAINING", u32::from(partial.is_some()))];
    let mut buffers = vec![statistics, running_mean, running_variance];
    buffers.extend(partial);
    per_channel(gpu, OP, &constants, bytemuck::cast_slice(&uniform), &buffers, channels)
}

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_norm_forward(
    gpu: &GpuDevice,
    dtype: DType,
    count: usize,
    channels: usize,
    relu: bool,
    input: &GpuBuffer,
    statistics: &GpuBuffer,
    weight: &GpuBuffer,
    bias: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_norm_forward";
    let (wide, count) = in_fours(channels, count);
    let constants = [("CHANNELS", as_u32(OP, channels)?), ("RELU", u32::from(relu)), half(dtype), wide];
    let buffers = [input, statistics, weight, bias, output];
    launch_elementwise(gpu, OP, &constants, bytemuck::bytes_of(&as_u32(OP, count)?), &buffers, count)
}

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_norm_backward_partial(
    gpu: &GpuDevice,
    dtype: DType,
    parts: Parts,
    channels: usize,
    input: &GpuBuffer,
    statistics: &GpuBuffer,
    d_output: &GpuBuffer,
    output: Option<&GpuBuffer>,
    partial: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_norm_backward_partial";
    let count = parts.count * channels;
    let uniform = [as_u32(OP, parts.rows)?, as_u32(OP, parts.rows_per_part)?, as_u32(OP, count)?];
    let constants = [("CHANNELS", as_u32(OP, channels)?), ("MASK", u32::from(output.is_some())), half(dtype)];
    let mut buffers = vec![input, statistics, d_output, partial];
    buffers.extend(output);
    launch_elementwise(gpu, OP, &constants, bytemuck::cast_slice(&uniform), &buffers, count)
}

pub(super) fn batch_norm_backward_weight(
    gpu: &GpuDevice,
    parts: Parts,
    channels: usize,
    partial: &GpuBuffer,
    d_weight: &GpuBuffer,
    d_bias: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_norm_backward_weight";
    let constants = [("CHANNELS", as_u32(OP, channels)?)];
    let uniform = as_u32(OP, parts.count)?;
    per_channel(gpu, OP, &constants, bytemuck::bytes_of(&uniform), &[partial, d_weight, d_bias], channels)
}

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_norm_backward_input(
    gpu: &GpuDevice,
    dtype: DType,
    rows: usize,
    channels: usize,
    input: &GpuBuffer,
    statistics: &GpuBuffer,
    weight: &GpuBuffer,
    d_weight: &GpuBuffer,
    d_bias: &GpuBuffer,
    d_output: &GpuBuffer,
    output: Option<&GpuBuffer>,
    d_input: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_norm_backward_input";
    let (wide, count) = in_fours(channels, rows * channels);
    let constants = [("CHANNELS", as_u32(OP, channels)?), ("MASK", u32::from(output.is_some())), half(dtype), wide];
    let uniform = [as_u32(OP, count)?, as_u32(OP, rows)?];
    let mut buffers = vec![input, statistics, weight, d_weight, d_bias, d_output, d_input];
    buffers.extend(output);
    launch_elementwise(gpu, OP, &constants, bytemuck::cast_slice(&uniform), &buffers, count)
}

/// Records a kernel with a workgroup for each channel.
fn per_channel(
    gpu: &GpuDevice,
    name: &'static str,
    constants: &[(&'static str, u32)],
    uniform: &[u8],
    buffers: &[&GpuBuffer],
    channels: usize,
) -> Result<()> {
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(name, &[&[("LANES", LANES)], constants].concat()),
        uniform,
        buffers,
        workgroups: channels as u64,
        flops: 0,
    })?)
}
