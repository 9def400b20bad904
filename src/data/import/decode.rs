//! Turns one image file's bytes into one image of the data set.

use crate::data::picture::{check_whole, planes};
use crate::data::{DataError, IMAGE_BYTES, IMAGE_SIDE};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use std::io::Cursor;

/// What a decoder may allocate; a 32×32 image needs a few KiB.
const MAX_DECODER_BYTES: u64 = 16 << 20;

/// Decodes a JPEG or PNG of 32×32 pixels to the planes R, G, B.
///
/// The format is told from the contents. Grey becomes equal planes, 16 bits a
/// channel become 8, and transparency is dropped.
pub(super) fn decode(file: &str, bytes: &[u8]) -> Result<[u8; IMAGE_BYTES], DataError> {
    let undecodable = |source: ImageError| DataError::Undecodable { file: file.to_owned(), source };
    check_whole(file, bytes)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| undecodable(error.into()))?;
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(undecodable)?;
    // Checked on the header, before any pixel is decoded.
    let (width, height) = decoder.dimensions();
    let side = IMAGE_SIDE as u32;
    if (width, height) != (side, side) {
        return Err(DataError::WrongSize { file: file.to_owned(), width, height });
    }
    Ok(planes(&DynamicImage::from_decoder(decoder).map_err(undecodable)?.into_rgb8()))
}
