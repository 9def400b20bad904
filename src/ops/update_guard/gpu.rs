//! Launcher of the guard's kernel.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::as_u32;
use crate::ops::loss_scaling::LANES;

pub(super) fn update_guard(
    gpu: &GpuDevice,
    parts: usize,
    halts: bool,
    [gradients, parameters]: [&GpuBuffer; 2],
    history: &GpuBuffer,
    halted: &GpuBuffer,
    state: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "update_guard";
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &[("LANES", LANES as u32), ("HALT", u32::from(halts))]),
        uniform: bytemuck::bytes_of(&as_u32(OP, parts)?),
        buffers: &[gradients, parameters, history, halted, state],
        workgroups: 1,
        flops: 0,
    })?)
}
