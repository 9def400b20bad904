//! Launcher of the distillation kernel.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::as_u32;

/// Invocations of the kernel's one workgroup, a power of 2.
const LANES: u32 = 256;

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn distillation(
    gpu: &GpuDevice,
    rows: usize,
    classes: usize,
    temperature: f32,
    student: &GpuBuffer,
    teacher: &GpuBuffer,
    d_student: &GpuBuffer,
    loss: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "distillation";
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &[("CLASSES", as_u32(OP, classes)?), ("LANES", LANES)]),
        uniform: bytemuck::cast_slice(&[as_u32(OP, rows)?, temperature.to_bits()]),
        buffers: &[student, teacher, d_student, loss],
        workgroups: 1,
        flops: 0,
    })?)
}
