//! Launcher of the batch assembly kernel.

use super::augmentation::{DRAWS, STREAM};
use super::{Augmentation, ByteScale};
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
    flip: u32,
    mean: [f32; 4],
    std: [f32; 4],
    /// In pixels, along x and y.
    shift: [f32; 2],
    rotation_radians: f32,
    crop_padding: u32,
    translation: [i32; 2],
    cutout: u32,
    /// 0 black, 1 reflected.
    crop_border: u32,
}

#[expect(clippy::too_many_arguments, reason = "the kernel's parameters and bindings")]
pub(super) fn batch_assembly(
    gpu: &GpuDevice,
    dtype: DType,
    scale: &ByteScale,
    augmentation: Option<(&Augmentation, &GpuBuffer)>,
    batch: usize,
    [height, width]: [usize; 2],
    chunk_start: usize,
    chunk_images: usize,
    images: &GpuBuffer,
    labels: &GpuBuffer,
    indices: &GpuBuffer,
    output: &GpuBuffer,
    labels_out: &GpuBuffer,
) -> Result<()> {
    const OP: &str = "batch_assembly";
    let padded = |values: &[f32]| std::array::from_fn(|channel| values.get(channel).copied().unwrap_or_default());
    let count = batch * height * width;
    let changes = augmentation.map_or(Augmentation::NONE, |(augmentation, _)| *augmentation);
    let params = Params {
        count: as_u32(OP, count)?,
        chunk_start: as_u32(OP, chunk_start)?,
        chunk_images: as_u32(OP, chunk_images)?,
        flip: changes.flip.code(),
        mean: padded(&scale.mean),
        std: padded(&scale.std),
        shift: [changes.shift * width as f32, changes.shift * height as f32],
        rotation_radians: changes.rotation_degrees.to_radians(),
        crop_padding: changes.crop_padding,
        translation: changes.translation,
        cutout: changes.cutout,
        crop_border: changes.crop_border.code(),
    };
    let constants = [
        ("HEIGHT", as_u32(OP, height)?),
        ("WIDTH", as_u32(OP, width)?),
        ("CHANNELS", as_u32(OP, scale.channels())?),
        half(dtype),
        ("AUGMENT", u32::from(augmentation.is_some())),
        ("INTERPOLATE", u32::from(changes.interpolates())),
        ("STREAM", STREAM),
        ("DRAWS", DRAWS),
    ];
    let mut buffers = vec![images, labels, indices, output, labels_out];
    buffers.extend(augmentation.map(|(_, state)| state));
    launch_elementwise(gpu, OP, &constants, bytemuck::bytes_of(&params), &buffers, count)
}
