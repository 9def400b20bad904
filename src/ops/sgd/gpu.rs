//! Launcher of the SGD kernel.

use super::Sgd;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, launch_elementwise};

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn sgd_step(
    gpu: &GpuDevice,
    count: usize,
    sgd: Sgd,
    rate_factor: f32,
    state: &GpuBuffer,
    gradient: &GpuBuffer,
    parameter: &GpuBuffer,
    velocity: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "sgd_step";
    let uniform = [
        as_u32(OP, count)?,
        sgd.momentum.to_bits(),
        sgd.weight_decay.to_bits(),
        u32::from(sgd.nesterov),
        rate_factor.to_bits(),
    ];
    let buffers = [state, gradient, parameter, velocity];
    launch_elementwise(gpu, OP, &[], bytemuck::cast_slice(&uniform), &buffers, count)
}
