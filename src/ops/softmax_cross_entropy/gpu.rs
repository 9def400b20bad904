//! Launcher of the softmax cross-entropy kernel.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::as_u32;

/// Invocations of the kernel's one workgroup, a power of 2.
const LANES: u32 = 256;

#[expect(clippy::too_many_arguments, reason = "one for each of the kernel's bindings")]
pub(super) fn softmax_cross_entropy(
    gpu: &GpuDevice,
    rows: usize,
    classes: usize,
    smoothing: f32,
    logits: &GpuBuffer,
    labels: &GpuBuffer,
    d_logits: &GpuBuffer,
    loss: &GpuBuffer,
    correct: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "softmax_cross_entropy";
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &[("CLASSES", as_u32(OP, classes)?), ("LANES", LANES)]),
        uniform: bytemuck::cast_slice(&[as_u32(OP, rows)?, smoothing.to_bits()]),
        buffers: &[logits, labels, d_logits, loss, correct],
        workgroups: 1,
        flops: 0,
    })?)
}
