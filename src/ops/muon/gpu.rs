//! Launchers of Muon's kernels.

use super::Muon;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::loss_scaling::LANES;
use crate::ops::{as_u32, launch_elementwise};

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn muon_momentum(
    gpu: &GpuDevice,
    count: usize,
    momentum: f32,
    nesterov: bool,
    state: &GpuBuffer,
    gradient: &GpuBuffer,
    velocity: &GpuBuffer,
    direction: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "muon_momentum";
    let uniform = [as_u32(OP, count)?, momentum.to_bits(), u32::from(nesterov)];
    let buffers = [state, gradient, velocity, direction];
    launch_elementwise(gpu, OP, &[], bytemuck::cast_slice(&uniform), &buffers, count)
}

pub(super) fn muon_normalize(
    gpu: &GpuDevice,
    parts: usize,
    count: usize,
    norm: f32,
    state: &GpuBuffer,
    partial: &GpuBuffer,
    values: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "muon_normalize";
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &[("LANES", LANES as u32)]),
        uniform: bytemuck::cast_slice(&[as_u32(OP, parts)?, as_u32(OP, count)?, norm.to_bits()]),
        buffers: &[state, partial, values],
        workgroups: count.div_ceil(LANES) as u64,
        flops: 0,
    })?)
}

pub(super) fn muon_step(
    gpu: &GpuDevice,
    count: usize,
    muon: Muon,
    state: &GpuBuffer,
    direction: &GpuBuffer,
    parameter: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "muon_step";
    let uniform = [as_u32(OP, count)?, muon.rate_factor.to_bits(), muon.weight_decay.to_bits()];
    launch_elementwise(gpu, OP, &[], bytemuck::cast_slice(&uniform), &[state, direction, parameter], count)
}
