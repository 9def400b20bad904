//! A preview of an augmentation, to inspect before training with it.

use std::path::Path;

use image::imageops::{FilterType, replace as put, resize};
use image::{Rgb, RgbImage};

use super::raster::png;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::replace;
use crate::ops::StepState;
use crate::ops::batch_assembly::{Augmentation, Normalization};
use crate::tensor::{DType, Device, ImageShape};
use crate::train::DeviceDataset;

/// Images per row: the original, then augmented versions of several steps.
const STEPS: u32 = 11;
/// Maximum number of rows.
const MOST_ROWS: usize = 8;
/// Pixels of an image's longer side on the sheet, about: small images are enlarged by a whole factor, large ones reduced.
const SIDE: usize = 96;
/// Pixels between images.
const GAP: u32 = 4;

/// Writes a picture of the first images of a data set, one row each: the original, then versions augmented as in training, each of
/// another epoch.
///
/// # Errors
/// If the augmentation cannot be used, or the file cannot be written; an existing file is then unchanged.
pub fn write_preview(dataset: &Dataset, augmentation: &Augmentation, seed: u64, path: &Path) -> Result<()> {
    let shape = dataset.shape();
    augmentation.validate(shape.height(), shape.width())?;
    let rows = dataset.len().min(MOST_ROWS);
    let device = Device::cpu();
    // Cutout uses the mean color, as in the network's input.
    let (mean, _) = dataset.color_statistics();
    let normalization = Normalization::new(mean.clone(), vec![1.0; shape.channels()]);
    let images = DeviceDataset::new(&device, &dataset.clone().truncated(rows), &normalization)?;
    let indices = device.tensor_u32(&[rows], &(0..).take(rows).collect::<Vec<u32>>())?;
    let [height, width] = shown_size(shape);
    let place = |number: u32, side: u32| GAP + number * (side + GAP);
    let mut sheet = RgbImage::from_pixel(place(STEPS + 1, width), place(rows as u32, height), Rgb([255; 3]));
    for column in 0..=STEPS {
        let state = StepState { epoch: column, ..StepState::new(seed, column, 0.0) }.tensor(&device)?;
        let changes = (column > 0).then_some((augmentation, &state));
        let pixels = images.assemble(&indices, DType::F32, changes)?.images.to_vec()?;
        for (row, image) in (0..).zip(pixels.chunks_exact(shape.bytes())) {
            let picture = RgbImage::from_fn(shape.width() as u32, shape.height() as u32, |x, y| {
                let at = shape.channels() * (y as usize * shape.width() + x as usize);
                // Normalized with standard deviation 1: fractions of the full range minus the mean.
                let byte = |c: usize| (255.0 * (image[at + c] + mean[c] as f32)).round().clamp(0.0, 255.0) as u8;
                Rgb([0, 1, 2].map(|c| byte(c.min(shape.channels() - 1))))
            });
            let filter = if width < picture.width() { FilterType::Triangle } else { FilterType::Nearest };
            let picture = resize(&picture, width, height, filter);
            put(&mut sheet, &picture, place(column, width).into(), place(row, height).into());
        }
    }
    let bytes = png(&sheet).map_err(|message| Error::Report { path: path.to_owned(), message })?;
    replace(path, &bytes)
}

/// Height and width of an image on the sheet.
fn shown_size(shape: ImageShape) -> [u32; 2] {
    let longer = shape.height().max(shape.width());
    [shape.height(), shape.width()].map(|side| match SIDE / longer {
        0 => (side * SIDE).div_ceil(longer) as u32,
        zoom => (side * zoom) as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;

    #[test]
    fn images_of_any_shape_are_shown_at_a_size_to_look_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        for (axes, [height, width]) in
            [([32, 32, 3], [96, 96]), ([48, 40, 1], [96, 80]), ([200, 20, 3], [96, 10]), ([1, 4096, 1], [1, 96])]
        {
            let shape = ImageShape::try_from(axes).unwrap();
            let set = synthetic::generate(shape, 2, 1, 0).unwrap().train;
            write_preview(&set, &Augmentation::MIRROR, 1, &path).unwrap();
            let sheet = image::open(&path).unwrap().into_rgb8();
            assert_eq!(sheet.dimensions(), (4 + 12 * (width + 4), 4 + 2 * (height + 4)), "{axes:?}");
            if shape.is_gray() {
                assert!(sheet.pixels().all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
            }
            if axes == [32, 32, 3] {
                // Each pixel is three by three, and the second column is the first, mirrored.
                let byte = |x: usize, y: usize| set.image(1).unwrap()[32 * y + x];
                for (x, y) in [(0, 0), (31, 0), (7, 20), (31, 31)] {
                    for (left, column) in [(4, x), (104, 31 - x)] {
                        let at = |dx, dy| sheet.get_pixel(left + 3 * column as u32 + dx, 104 + 3 * y as u32 + dy)[0];
                        assert_eq!([at(0, 0), at(2, 2)], [byte(x, y); 2], "{x}, {y}");
                    }
                }
            }
        }
    }
}
