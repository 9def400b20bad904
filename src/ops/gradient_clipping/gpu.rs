//! Launcher of the gradient clipping kernel.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::as_u32;
use crate::ops::loss_scaling::LANES;

pub(super) fn gradient_clipping(
    gpu: &GpuDevice,
    parts: usize,
    max_norm: f32,
    partial: &GpuBuffer,
    state: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "gradient_clipping";
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &[("LANES", LANES as u32)]),
        uniform: bytemuck::cast_slice(&[as_u32(OP, parts)?, max_norm.to_bits()]),
        buffers: &[partial, state],
        workgroups: 1,
        flops: 0,
    })?)
}
