//! Launcher of the weight average kernel.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, launch_elementwise};

pub(super) fn weight_average(
    gpu: &GpuDevice,
    count: usize,
    state: &GpuBuffer,
    parameter: &GpuBuffer,
    average: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "weight_average";
    let buffers = [state, parameter, average];
    launch_elementwise(gpu, OP, &[], bytemuck::bytes_of(&as_u32(OP, count)?), &buffers, count)
}
