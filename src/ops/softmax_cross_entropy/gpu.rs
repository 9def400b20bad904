//! Launcher of the softmax cross-entropy kernel.

use super::Criterion;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};
use crate::ops::as_u32;

/// Invocations of the kernel's one workgroup, a power of 2.
const LANES: u32 = 256;

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn softmax_cross_entropy(
    gpu: &GpuDevice,
    rows: usize,
    classes: usize,
    criterion: &Criterion,
    logits: &GpuBuffer,
    labels: &GpuBuffer,
    class_weights: Option<&GpuBuffer>,
    d_logits: &GpuBuffer,
    loss: &GpuBuffer,
    correct: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "softmax_cross_entropy";
    let constants = [
        ("CLASSES", as_u32(OP, classes)?),
        ("CLASS_WEIGHTS", u32::from(class_weights.is_some())),
        ("IGNORE", u32::from(criterion.ignored.is_some())),
        ("LANES", LANES),
    ];
    let uniform = [
        as_u32(OP, rows)?,
        criterion.smoothing.to_bits(),
        criterion.mean_weight.to_bits(),
        criterion.ignored.unwrap_or_default(),
    ];
    let buffers: Vec<_> = [logits, labels, d_logits, loss, correct].into_iter().chain(class_weights).collect();
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new(OP, &constants),
        uniform: bytemuck::cast_slice(&uniform),
        buffers: &buffers,
        workgroups: 1,
        flops: 0,
    })?)
}
