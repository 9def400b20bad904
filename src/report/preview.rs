//! What an augmentation makes of images, to look at before training with it.

use std::path::Path;

use image::{Rgb, RgbImage};

use super::raster::png;
use crate::data::{Dataset, IMAGE_SIDE};
use crate::error::{Error, Result};
use crate::files::replace;
use crate::ops::StepState;
use crate::ops::batch_assembly::{Augmentation, Normalization};
use crate::tensor::DType;
use crate::tensor::Device;
use crate::train::DeviceDataset;

/// Images in a row, as they are and then as so many steps of training would see them.
const STEPS: u32 = 11;
/// Rows at most.
const MOST_ROWS: usize = 8;
/// Times that each pixel is repeated along both axes.
const ZOOM: u32 = 3;
/// Pixels between images.
const GAP: u32 = 4;

/// Writes a picture of the first images of a data set, a row each: as they are, then as training with this augmentation sees
/// them in steps of its own, each in another epoch.
///
/// # Errors
/// If the augmentation cannot be used, or the file cannot be written; what was there is then as it was.
pub fn write_preview(dataset: &Dataset, augmentation: &Augmentation, seed: u64, path: &Path) -> Result<()> {
    augmentation.validate(IMAGE_SIDE, IMAGE_SIDE)?;
    let rows = dataset.len().min(MOST_ROWS);
    let device = Device::cpu();
    // What is cut out is the mean color, as a network sees it.
    let (mean, _) = dataset.color_statistics();
    let normalization = Normalization::new(mean, [1.0; 3]);
    let images = DeviceDataset::new(&device, &dataset.clone().truncated(rows), &normalization)?;
    let indices = device.tensor_u32(&[rows], &(0..).take(rows).collect::<Vec<u32>>())?;
    let side = IMAGE_SIDE as u32;
    let place = |number: u32| GAP + number * (ZOOM * side + GAP);
    let mut sheet = RgbImage::from_pixel(place(STEPS + 1), place(rows as u32), Rgb([255; 3]));
    for column in 0..=STEPS {
        let state = StepState { epoch: column, ..StepState::new(seed, column, 0.0) }.tensor(&device)?;
        let changes = (column > 0).then_some((augmentation, &state));
        let pixels = images.assemble(&indices, DType::F32, changes)?.images.to_vec()?;
        for (row, image) in (0..).zip(pixels.chunks_exact(3 * IMAGE_SIDE * IMAGE_SIDE)) {
            for y in 0..ZOOM * side {
                for x in 0..ZOOM * side {
                    let at = 3 * (y / ZOOM * side + x / ZOOM) as usize;
                    // Normalized by a deviation of one: shares of the full range, less the mean.
                    let byte = |c: usize| (255.0 * (image[at + c] + mean[c] as f32)).round().clamp(0.0, 255.0) as u8;
                    sheet.put_pixel(place(column) + x, place(row) + y, Rgb([0, 1, 2].map(byte)));
                }
            }
        }
    }
    let bytes = png(&sheet).map_err(|message| Error::Report { path: path.to_owned(), message })?;
    replace(path, &bytes)
}
