//! Launcher of the dropout kernel.

use super::DropoutMask;
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, half, launch_elementwise};
use crate::tensor::DType;

pub(super) fn dropout(
    gpu: &GpuDevice,
    dtype: DType,
    count: usize,
    dropout: DropoutMask,
    state: &GpuBuffer,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "dropout";
    let [stream, threshold, scale, image_elements] = dropout.parameters();
    let uniform = [as_u32(OP, count)?, stream, threshold, scale, image_elements];
    // One invocation handles two elements, which share a call of the generator.
    let buffers = [state, input, output];
    launch_elementwise(gpu, OP, &[half(dtype)], bytemuck::cast_slice(&uniform), &buffers, count.div_ceil(2))
}
