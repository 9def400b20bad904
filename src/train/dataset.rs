//! A data set stored on the device as bytes, and the batches assembled from it.

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::ops::batch_assembly::{Augmentation, ImageChunk, Normalization, batch_assembly};
use crate::tensor::{DType, Device, ImageShape, Tensor};

/// A data set on a device.
#[derive(Debug)]
pub struct DeviceDataset {
    device: Device,
    shape: ImageShape,
    chunks: Vec<ImageChunk>,
    labels: Tensor,
    len: usize,
    normalization: Normalization,
}

/// Normalized images and their labels.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[batch, height, width, channels]`.
    pub images: Tensor,
    /// `[batch]`.
    pub labels: Tensor,
}

impl DeviceDataset {
    /// Copies a data set to a device, in as many chunks as the device's limits require.
    ///
    /// # Errors
    /// [`Error::Normalization`] if the normalization is for other channels, or if the device cannot hold the images.
    pub fn new(device: &Device, dataset: &Dataset, normalization: &Normalization) -> Result<Self> {
        let shape = dataset.shape();
        normalization.check_channels(shape.channels())?;
        let most_bytes = match device {
            Device::Cpu(_) => i32::MAX as u64,
            Device::Gpu(gpu) => gpu.limits().max_binding_bytes.min(i32::MAX as u64),
        };
        // If not even one image fits, the device reports the error.
        let images_per_chunk = (most_bytes as usize / shape.bytes()).max(1);
        let chunks = dataset
            .images()
            .chunks(images_per_chunk * shape.bytes())
            .enumerate()
            .map(|(i, bytes)| {
                let axes = [bytes.len() / shape.bytes(), shape.channels(), shape.pixels()];
                Ok(ImageChunk { start: i * images_per_chunk, images: device.tensor_u8(&axes, bytes)? })
            })
            .collect::<Result<_>>()?;
        let labels: Vec<u32> = dataset.labels().iter().map(|&label| label.into()).collect();
        Ok(DeviceDataset {
            device: device.clone(),
            shape,
            chunks,
            labels: device.tensor_u32(&[labels.len()], &labels)?,
            len: labels.len(),
            normalization: normalization.clone(),
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no images; data sets always have some.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The images at `indices`, normalized, and their labels.
    ///
    /// # Errors
    /// If an index is past the last image.
    pub fn batch(&self, indices: &[u32]) -> Result<Batch> {
        self.check(indices)?;
        self.assemble(&self.device.tensor_u32(&[indices.len()], indices)?, DType::F32, None)
    }

    /// Checks that there are images at all these indices.
    ///
    /// # Errors
    /// If there is none at one of them.
    pub fn check(&self, indices: &[u32]) -> Result<()> {
        match indices.iter().find(|&&index| index as usize >= self.len) {
            Some(index) => Err(Error::shape("batch", format!("there is no image {index}, only {}", self.len))),
            None => Ok(()),
        }
    }

    /// The images at the indices in a tensor `[batch]`, normalized, as floats of type `dtype`, and their labels; augmented at
    /// random if an augmentation and a step's state are given.
    ///
    /// The indices must be valid; see [`DeviceDataset::check`].
    pub fn assemble(
        &self,
        indices: &Tensor,
        dtype: DType,
        augmentation: Option<(&Augmentation, &Tensor)>,
    ) -> Result<Batch> {
        self.assemble_as(&self.normalization, indices, dtype, augmentation)
    }

    /// The same with another normalization.
    pub(super) fn assemble_as(
        &self,
        normalization: &Normalization,
        indices: &Tensor,
        dtype: DType,
        augmentation: Option<(&Augmentation, &Tensor)>,
    ) -> Result<Batch> {
        let size = indices.len();
        let images = self.device.allocate(&self.shape.batch(size), dtype)?;
        let labels = self.device.allocate(&[size], DType::U32)?;
        batch_assembly(normalization, augmentation, &self.chunks, &self.labels, indices, &images, &labels)?;
        Ok(Batch { images, labels })
    }
}
