//! Launcher of the Adam kernel.

use super::Adam;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, launch_elementwise};

#[expect(clippy::too_many_arguments, reason = "one for each of the kernel's bindings")]
pub(super) fn adam_step(
    gpu: &GpuDevice,
    count: usize,
    adam: Adam,
    rate_factor: f32,
    state: &GpuBuffer,
    gradient: &GpuBuffer,
    parameter: &GpuBuffer,
    first_moment: &GpuBuffer,
    second_moment: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "adam_step";
    let uniform = [
        as_u32(OP, count)?,
        adam.one_minus_beta1().to_bits(),
        (adam.beta2 as f32).to_bits(),
        adam.one_minus_beta2().to_bits(),
        adam.epsilon.to_bits(),
        adam.weight_decay.to_bits(),
        u32::from(adam.decoupled),
        rate_factor.to_bits(),
    ];
    let buffers = [state, gradient, parameter, first_moment, second_moment];
    launch_elementwise(gpu, OP, &[], bytemuck::cast_slice(&uniform), &buffers, count)
}
