//! Launcher of the kernel that counts iterations.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};

pub(super) fn count_iterations(gpu: &GpuDevice, iterations: u32, counted: &GpuBuffer) -> Result<()> {
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new("count_iterations", &[]),
        uniform: bytemuck::bytes_of(&iterations),
        buffers: &[counted],
        workgroups: 1,
        flops: 0,
    })?)
}
