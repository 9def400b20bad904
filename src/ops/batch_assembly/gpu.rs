//! Launcher of the batch assembly kernel.

use super::{CHANNELS, Normalisation};
use crate::error::Result;
use crate::gpu::{GpuBuffer, GpuDevice};
use crate::ops::{as_u32, half, launch_elementwise};
use crate::tensor::DType;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    chunk_start: u32,
    chunk_images: u32,
    reserved: u32,
    mean: [f32; 4],
    std: [f32; 4],
}

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_assembly(
    gpu: &GpuDevice,
    dtype: DType,
    normalisation: &Normalisation,
    batch: usize,
    pixels: usize,
    chunk_start: usize,
    chunk_images: usize,
    images: &GpuBuffer,
    labels: &GpuBuffer,
    indices: &GpuBuffer,
    output: &GpuBuffer,
    labels_out: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_assembly";
    let padded = |[r, g, b]: [f32; CHANNELS]| [r, g, b, 0.0];
    let count = batch * pixels;
    let params = Params {
        count: as_u32(OP, count)?,
        chunk_start: as_u32(OP, chunk_start)?,
        chunk_images: as_u32(OP, chunk_images)?,
        reserved: 0,
        mean: padded(normalisation.mean),
        std: padded(normalisation.std),
    };
    let constants = [("PIXELS", as_u32(OP, pixels)?), ("CHANNELS", CHANNELS as u32), half(dtype)];
    let buffers = [images, labels, indices, output, labels_out];
    launch_elementwise(gpu, OP, &constants, bytemuck::bytes_of(&params), &buffers, count)
}
