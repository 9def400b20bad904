//! Launcher of the dropout kernel.

use super::Dropout;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, launch_elementwise};

pub(super) fn dropout(
    gpu: &GpuDevice,
    count: usize,
    dropout: Dropout,
    state: &GpuBuffer,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "dropout";
    let uniform = [as_u32(OP, count)?, dropout.stream, dropout.threshold(), dropout.scale().to_bits()];
    // One invocation handles two elements, which share a call of the generator.
    launch_elementwise(gpu, OP, &[], bytemuck::cast_slice(&uniform), &[state, input, output], count.div_ceil(2))
}
