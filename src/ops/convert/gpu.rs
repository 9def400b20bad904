//! Launcher of the conversion kernel.

use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, launch_elementwise};
use crate::tensor::DType;

pub(super) fn convert(
    gpu: &GpuDevice,
    dtype: DType,
    count: usize,
    input: &GpuBuffer,
    output: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "convert";
    let constants = [("TO_HALF", u32::from(dtype == DType::F16))];
    launch_elementwise(gpu, OP, &constants, bytemuck::bytes_of(&as_u32(OP, count)?), &[input, output], count)
}
