//! Launchers of the loss scaling's kernels.

use super::{GROWTH_INTERVAL, LANES, LARGEST_SCALE};
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::{as_u32, in_fours};

pub(super) fn sum_of_squares(
    gpu: &GpuDevice,
    count: usize,
    parts: usize,
    input: &GpuBuffer,
    partial: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "sum_of_squares";
    let (wide, vectors) = in_fours(count, count);
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &[("LANES", LANES as u32), wide]),
        uniform: bytemuck::cast_slice(&[as_u32(OP, vectors)?, as_u32(OP, parts)?]),
        buffers: &[input, partial],
        workgroups: parts as u64,
        flops: 0,
    })?)
}

pub(super) fn loss_scaling(
    gpu: &GpuDevice,
    parts: usize,
    partial: &GpuBuffer,
    scaling: &GpuBuffer,
    state: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "loss_scaling";
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(
            OP,
            &[("LANES", LANES as u32), ("GROWTH_INTERVAL", GROWTH_INTERVAL), ("LARGEST", LARGEST_SCALE)],
        ),
        uniform: bytemuck::bytes_of(&as_u32(OP, parts)?),
        buffers: &[partial, scaling, state],
        workgroups: 1,
        flops: 0,
    })?)
}
