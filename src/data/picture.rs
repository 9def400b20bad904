//! Single pictures of any size, as a person would hand them over.

use super::{DataError, IMAGE_BYTES, IMAGE_SIDE};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits, RgbImage};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// What a decoder may allocate: enough for a photograph of 60 megapixels.
const MAX_DECODER_BYTES: u64 = 256 << 20;

/// What is read of a file; what comes after would be no picture that the decoder may hold.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads a JPEG or PNG of any size and brings it to 32×32 pixels.
///
/// The sides are scaled apart where they differ. Grey becomes equal planes,
/// 16 bits a channel become 8, and transparency is dropped.
///
/// # Errors
///
/// [`DataError::Io`] for a file that cannot be read, [`DataError::Undecodable`]
/// for one that is no such picture.
pub fn load_picture(path: &Path) -> Result<[u8; IMAGE_BYTES], DataError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(DataError::io("read", path))?;
    let undecodable = |source| DataError::Undecodable { file: path.display().to_string(), source };
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| undecodable(error.into()))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let picture = reader.decode().map_err(undecodable)?;
    let side = IMAGE_SIDE as u32;
    let picture = match (picture.width(), picture.height()) {
        (width, height) if (width, height) == (side, side) => picture,
        _ => DynamicImage::from(picture.into_rgb8()).resize_exact(side, side, FilterType::Triangle),
    };
    Ok(planes(&picture.into_rgb8()))
}

/// The planes R, G, B of a picture of 32×32 pixels.
pub(super) fn planes(pixels: &RgbImage) -> [u8; IMAGE_BYTES] {
    let mut planes = [0u8; IMAGE_BYTES];
    let plane = IMAGE_SIDE * IMAGE_SIDE;
    for (index, pixel) in pixels.pixels().take(plane).enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            planes[channel * plane + index] = value;
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_picture_is_scaled_down_plane_by_plane() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        // Left half red, right half blue, twice as wide as high.
        RgbImage::from_fn(128, 64, |x, _| image::Rgb(if x < 64 { [200, 10, 0] } else { [0, 10, 100] }))
            .save(&path)
            .unwrap();
        let planes = load_picture(&path).unwrap();
        let at = |channel: usize, x: usize, y: usize| planes[channel * 1024 + y * 32 + x];
        assert_eq!([at(0, 3, 9), at(1, 3, 9), at(2, 3, 9)], [200, 10, 0]);
        assert_eq!([at(0, 28, 9), at(1, 28, 9), at(2, 28, 9)], [0, 10, 100]);
    }

    #[test]
    fn what_is_no_picture_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no.jpg");
        std::fs::write(&path, b"no picture").unwrap();
        assert!(load_picture(&path).unwrap_err().to_string().contains("no.jpg"));
    }
}
