//! A data set that stays on the device as bytes, and the batches made from it there.

use std::collections::HashMap;

use crate::data::{Dataset, IMAGE_BYTES, IMAGE_SIDE};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::ops::batch_assembly::{ImageChunk, Normalisation, batch_assembly};
use crate::tensor::{DType, Tensor};

/// A data set on a device.
#[derive(Debug)]
pub struct DeviceDataset {
    device: Device,
    chunks: Vec<ImageChunk>,
    labels: Tensor,
    len: usize,
    normalisation: Normalisation,
    /// Where batches are made, by their size.
    batches: HashMap<usize, Batch>,
}

/// Normalised images and their labels.
#[derive(Debug, Clone)]
pub struct Batch {
    indices: Tensor,
    /// `[batch, 32, 32, 3]`.
    pub images: Tensor,
    /// `[batch]`.
    pub labels: Tensor,
}

impl DeviceDataset {
    /// Copies a data set to a device, in as many pieces as the device's limits demand.
    pub fn new(device: &Device, dataset: &Dataset, normalisation: Normalisation) -> Result<Self> {
        let most_bytes = match device {
            Device::Cpu(_) => i32::MAX as u64,
            Device::Gpu(gpu) => gpu.limits().max_storage_buffer_binding_size.min(i32::MAX as u64),
        };
        let images_per_chunk = most_bytes as usize / IMAGE_BYTES;
        let chunks = dataset
            .images()
            .chunks(images_per_chunk * IMAGE_BYTES)
            .enumerate()
            .map(|(i, bytes)| {
                let shape = [bytes.len() / IMAGE_BYTES, 3, IMAGE_SIDE * IMAGE_SIDE];
                Ok(ImageChunk { start: i * images_per_chunk, images: device.tensor_u8(&shape, bytes)? })
            })
            .collect::<Result<_>>()?;
        let labels: Vec<u32> = dataset.labels().iter().map(|&label| label.into()).collect();
        Ok(DeviceDataset {
            device: device.clone(),
            chunks,
            labels: device.tensor_u32(&[labels.len()], &labels)?,
            len: labels.len(),
            normalisation,
            batches: HashMap::new(),
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

    /// The images at `indices`, normalised, and their labels. The next batch of the same size takes their place.
    ///
    /// # Errors
    /// If an index is past the last image.
    pub fn batch(&mut self, indices: &[u32]) -> Result<Batch> {
        if let Some(index) = indices.iter().find(|&&index| index as usize >= self.len) {
            return Err(Error::shape("batch", format!("there is no image {index}, only {}", self.len)));
        }
        let size = indices.len();
        let batch = match self.batches.get(&size) {
            Some(batch) => batch.clone(),
            None => {
                let batch = Batch {
                    indices: self.device.allocate(&[size], DType::U32)?,
                    images: self.device.empty(&[size, IMAGE_SIDE, IMAGE_SIDE, 3])?,
                    labels: self.device.allocate(&[size], DType::U32)?,
                };
                self.batches.insert(size, batch.clone());
                batch
            }
        };
        batch.indices.write_u32(indices)?;
        batch_assembly(&self.normalisation, &self.chunks, &self.labels, &batch.indices, &batch.images, &batch.labels)?;
        Ok(batch)
    }
}
