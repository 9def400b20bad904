//! Assembles batches from images stored on the device as bytes, with optional augmentation.

mod augmentation;
pub(super) mod cases;
mod cpu;
mod gpu;

pub use augmentation::{Augmentation, Border, Flip};

use super::{StepState, as_u32, common_device, expect, expect_real};
use crate::error::{Error, Result};
use crate::tensor::Device;
use crate::tensor::{DType, Tensor};

/// Normalization of pixels: `(byte / 255 − mean) / std`, by channel.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Mean of each channel, as a fraction of the full range.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, as a fraction of the full range.
    pub std: Vec<f64>,
}

impl Normalization {
    /// `(byte / 255 − mean) / std` with one mean and one standard deviation per channel.
    pub fn new(mean: impl Into<Vec<f64>>, std: impl Into<Vec<f64>>) -> Self {
        Normalization { mean: mean.into(), std: std.into() }
    }

    /// The same for images with `channels` channels: gray gets the mean of the colors, and colors get the values of gray.
    #[must_use]
    pub fn for_channels(&self, channels: usize) -> Self {
        let adapted = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            if values.len() == channels { values.to_vec() } else { vec![mean; channels] }
        };
        Normalization { mean: adapted(&self.mean), std: adapted(&self.std) }
    }

    /// Checks that there are a mean and a standard deviation for each of `channels` channels.
    ///
    /// # Errors
    /// [`Error::Normalization`] if there are more or fewer.
    pub fn check_channels(&self, channels: usize) -> Result<()> {
        let (means, deviations) = (self.mean.len(), self.std.len());
        if (means, deviations) != (channels, channels) {
            return Err(Error::Normalization { means, deviations, channels });
        }
        Ok(())
    }

    /// No normalization beyond the scaling to 0…1: mean 0, standard deviation 1.
    pub fn identity(channels: usize) -> Self {
        Normalization::new(vec![0.0; channels], vec![1.0; channels])
    }

    /// Checks it for images with `channels` channels.
    ///
    /// # Errors
    /// If there are more or fewer numbers than channels, or a mean or standard deviation is out of range.
    pub fn validate(&self, channels: usize) -> std::result::Result<(), String> {
        let Normalization { mean, std } = self;
        if [mean.len(), std.len()] != [channels; 2] {
            return Err(format!(
                "mean {mean:?} and std {std:?} must each have a number for every channel; there are {channels} channels"
            ));
        }
        let is_sound = |value: f64| value.is_finite() && value.abs() < 1e6;
        if !mean.iter().all(|&mean| is_sound(mean)) || !std.iter().all(|&std| is_sound(std) && std > 1e-6) {
            return Err(format!(
                "mean {mean:?} and std {std:?} cannot normalize: standard deviations must be positive"
            ));
        }
        Ok(())
    }

    /// The same in units of a byte, for kernels.
    fn in_bytes(&self) -> ByteScale {
        let in_bytes = |values: &[f64]| values.iter().map(|value| (255.0 * value) as f32).collect();
        ByteScale { mean: in_bytes(&self.mean), std: in_bytes(&self.std) }
    }
}

/// `(byte − mean[c]) / std[c]` in channel c, a form with little rounding error. There is one number per channel.
#[derive(Debug, Clone, PartialEq)]
struct ByteScale {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl ByteScale {
    fn channels(&self) -> usize {
        self.mean.len()
    }

    fn apply(&self, channel: usize, byte: f32) -> f32 {
        (byte - self.mean[channel]) / self.std[channel]
    }
}

/// Consecutive images of a data set that may be too large for one tensor.
#[derive(Debug, Clone)]
pub struct ImageChunk {
    /// Number of the first image in the whole data set.
    pub start: usize,
    /// Bytes `[images, channels, pixels]`.
    pub images: Tensor,
}

/// Fills `output [batch, height, width, channels]` and `labels_out [batch]` with the images and labels at `indices [batch]`.
///
/// There are 1 or 3 channels, and the normalization has a mean and a deviation for each. `labels` covers all images, `chunks` hold
/// all of them. Indices must be below the number of images; the caller checks that. An augmentation needs the step's state: seed,
/// step and epoch determine its random numbers.
///
/// # Errors
/// If shapes or types do not fit together, the augmentation does not fit the images, or the device fails.
pub fn batch_assembly(
    normalization: &Normalization,
    augmentation: Option<(&Augmentation, &Tensor)>,
    chunks: &[ImageChunk],
    labels: &Tensor,
    indices: &Tensor,
    output: &Tensor,
    labels_out: &Tensor,
) -> Result<()> {
    const OP: &str = "batch_assembly";
    let &[batch, height, width, channels @ (1 | 3)] = output.shape() else {
        return Err(Error::shape(OP, format!("output {:?} must be [batch, height, width, 1 or 3]", output.shape())));
    };
    normalization.check_channels(channels)?;
    let scale = &normalization.in_bytes();
    let (size, pixels) = ([height, width], height * width);
    if let Some((augmentation, state)) = augmentation {
        augmentation.validate(height, width)?;
        common_device(OP, &[state, output])?;
        StepState::expect(OP, state)?;
    }
    expect_real(OP, "output", output, output.shape())?;
    expect(OP, "indices", indices, &[batch], DType::U32)?;
    expect(OP, "labels_out", labels_out, &[batch], DType::U32)?;
    expect(OP, "labels", labels, labels.shape(), DType::U32)?;
    as_u32(OP, output.len())?;
    for chunk in chunks {
        let device = common_device(OP, &[&chunk.images, labels, indices, output, labels_out])?;
        let images = chunk.images.shape().first().copied().unwrap_or(0);
        expect(OP, "images", &chunk.images, &[images, channels, pixels], DType::U8)?;
        if labels.len() < chunk.start + images {
            return Err(Error::shape(OP, format!("{} labels for {} images", labels.len(), chunk.start + images)));
        }
        as_u32(OP, chunk.images.len())?;
        as_u32(OP, chunk.start + images)?;
        match device {
            Device::Cpu(_) => {
                let state = augmentation.map(|(_, state)| StepState::read(OP, state)).transpose()?;
                cpu::batch_assembly(
                    scale,
                    augmentation.map(|(augmentation, _)| augmentation).zip(state.as_ref()),
                    size,
                    chunk.start,
                    &chunk.images.cpu(OP)?.read::<u8>()[..chunk.images.len()],
                    &labels.cpu(OP)?.read(),
                    &indices.cpu(OP)?.read(),
                    &mut output.floats_mut(OP)?,
                    &mut labels_out.cpu(OP)?.write(),
                );
            }
            Device::Gpu(gpu) => gpu::batch_assembly(
                gpu,
                output.dtype(),
                scale,
                augmentation.map(|(augmentation, state)| Ok::<_, Error>((augmentation, state.gpu(OP)?))).transpose()?,
                batch,
                size,
                chunk.start,
                images,
                chunk.images.gpu(OP)?,
                labels.gpu(OP)?,
                indices.gpu(OP)?,
                output.gpu(OP)?,
                labels_out.gpu(OP)?,
            )?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalization_has_numbers_for_each_channel() {
        let color = Normalization::new([0.2, 0.3, 0.4], [0.1, 0.2, 0.6]);
        let gray = color.for_channels(1);
        assert!((gray.mean[0] - 0.3).abs() < 1e-12 && (gray.std[0] - 0.3).abs() < 1e-12, "{gray:?}");
        assert_eq!(color.for_channels(3), color);
        assert_eq!(Normalization::new([0.5], [0.25]).for_channels(3), Normalization::new([0.5; 3], [0.25; 3]));
        gray.check_channels(1).unwrap();
        let lopsided = Normalization::new([0.5; 3], [0.25]);
        for (normalization, channels) in [(&gray, 3), (&color, 1), (&lopsided, 1), (&lopsided, 3)] {
            let error = normalization.check_channels(channels).unwrap_err();
            assert!(matches!(error, Error::Normalization { .. }), "{error}");
        }
    }

    #[test]
    fn batches_of_other_channels_are_refused() {
        let device = Device::cpu();
        let assemble = |channels: usize, normalization: &Normalization| {
            let images = device.tensor_u8(&[1, channels, 4], &vec![0; 4 * channels])?;
            let labels = device.tensor_u32(&[1], &[0])?;
            let output = device.empty(&[1, 2, 2, channels])?;
            batch_assembly(normalization, None, &[ImageChunk { start: 0, images }], &labels, &labels, &output, &labels)
        };
        let [one, two, three] = [1, 2, 3].map(|channels| Normalization::new(vec![0.5; channels], vec![0.5; channels]));
        assert!(matches!(assemble(1, &three), Err(Error::Normalization { means: 3, channels: 1, .. })));
        assert!(matches!(assemble(3, &one), Err(Error::Normalization { means: 1, channels: 3, .. })));
        assert!(matches!(assemble(2, &two), Err(Error::Shape { .. })));
    }
}
