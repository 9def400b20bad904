//! Launcher of the metrics kernel.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice, Launch, ShaderVariant};

pub(super) fn record_metrics(
    gpu: &GpuDevice,
    state: &GpuBuffer,
    loss: &GpuBuffer,
    correct: &GpuBuffer,
    history: &GpuBuffer,
) -> Result<()> {
    Ok(gpu.record(&Launch {
        variant: ShaderVariant::new("record_metrics", &[]),
        uniform: &[],
        buffers: &[state, loss, correct, history],
        workgroups: 1,
        flops: 0,
    })?)
}
