//! Launchers of the softmax kernels.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, launch_elementwise};

pub(super) fn softmax_forward(
    gpu: &GpuDevice,
    rows: usize,
    classes: usize,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "softmax_forward", rows, classes, &[input, output])
}

pub(super) fn softmax_backward(
    gpu: &GpuDevice,
    rows: usize,
    classes: usize,
    output: &GpuBuffer,
    d_output: &GpuBuffer,
    d_input: &GpuBuffer,
) -> Result<()> {
    launch(gpu, "softmax_backward", rows, classes, &[output, d_output, d_input])
}

fn launch(gpu: &GpuDevice, kernel: &'static str, rows: usize, classes: usize, buffers: &[&GpuBuffer]) -> Result<()> {
    let constants = [("CLASSES", as_u32(kernel, classes)?)];
    launch_elementwise(gpu, kernel, &constants, bytemuck::bytes_of(&as_u32(kernel, rows)?), buffers, rows)
}
