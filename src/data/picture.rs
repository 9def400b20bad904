//! Single pictures of any size, as a person would hand them over.

use super::walk::walk;
use super::{DataError, IMAGE_BYTES, IMAGE_SIDE};
use byteorder::{BigEndian, ByteOrder};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// Which pictures are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSize {
    /// Those of 32×32 pixels, pixel for pixel; what says that it is to be turned (EXIF) is turned.
    Exact,
    /// Those of any size, brought to 32×32 pixels as [`load_picture`] does.
    Any,
}

/// What a decoder may allocate: enough for a photograph of 60 megapixels.
const MAX_DECODER_BYTES: u64 = 256 << 20;
/// The same where only 32×32 pixels are taken, which need a few KiB.
const MAX_DECODER_BYTES_EXACT: u64 = 16 << 20;

/// Bytes of a picture's file at most; larger ones would be no picture that the decoder may hold.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads a JPEG or PNG of any size and brings it to 32×32 pixels.
///
/// The sides are scaled apart where they differ, and a picture that says how it
/// is to be turned (EXIF) is turned. Grey becomes equal planes,
/// 16 bits a channel become 8, and transparency is dropped.
///
/// # Errors
///
/// [`DataError::Io`] for a file that cannot be read, [`DataError::FileTooLarge`]
/// for one of over 64 MiB, [`DataError::Undecodable`] for one that is no such
/// picture.
pub fn load_picture(path: &Path) -> Result<[u8; IMAGE_BYTES], DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    read_picture(&path.display().to_string(), file)
}

/// Reads a picture, as [`load_picture`] does, from anything that can be read;
/// errors call it `name`.
///
/// # Errors
///
/// As [`load_picture`].
pub fn read_picture(name: &str, source: impl Read) -> Result<[u8; IMAGE_BYTES], DataError> {
    decode_picture(name, &read_within(name, source, MAX_FILE_BYTES)?, PictureSize::Any)
}

/// All bytes of `source`, which are `limit` at most.
pub(super) fn read_within(name: &str, source: impl Read, limit: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    // One byte past the limit shows that there is more.
    source.take(limit + 1).read_to_end(&mut bytes).map_err(DataError::io("read", name))?;
    if bytes.len() as u64 > limit {
        return Err(DataError::FileTooLarge { file: name.to_owned(), size: bytes.len() as u64, limit });
    }
    Ok(bytes)
}

/// Decodes a picture of 32×32 pixels, or of any size, which it brings to that.
///
/// The format is told from the contents.
pub(super) fn decode_picture(name: &str, bytes: &[u8], sizes: PictureSize) -> Result<[u8; IMAGE_BYTES], DataError> {
    let undecodable = |source| DataError::Undecodable { file: name.to_owned(), source };
    check_whole(name, bytes)?;
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| undecodable(error.into()))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(match sizes {
        PictureSize::Exact => MAX_DECODER_BYTES_EXACT,
        PictureSize::Any => MAX_DECODER_BYTES,
    });
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    // Checked on the header, before any pixel is decoded.
    let (width, height) = decoder.dimensions();
    let side = IMAGE_SIDE as u32;
    let fits = (width, height) == (side, side);
    if sizes == PictureSize::Exact && !fits {
        return Err(DataError::WrongSize { file: name.to_owned(), width, height });
    }
    limits.reserve(decoder.total_bytes()).map_err(undecodable)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    if !fits {
        // Before its colors are converted, which takes as much memory again.
        picture = picture.resize_exact(side, side, FilterType::Triangle);
    }
    picture.apply_orientation(orientation);
    Ok(planes(&picture.into_rgb8()))
}

/// Refuses a JPEG that ends before its picture does: decoders fill in what is missing.
fn check_whole(name: &str, bytes: &[u8]) -> Result<(), DataError> {
    match bytes.starts_with(&[0xff, 0xd8]) && !has_end_of_image(bytes) {
        true => Err(DataError::CutOff { file: name.to_owned() }),
        false => Ok(()),
    }
}

/// Whether the marker that ends a JPEG's picture is there, other than within a segment, as that of a thumbnail is.
fn has_end_of_image(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair[0] == 0xff)) {
        at += found + 2;
        match bytes[at - 1] {
            0xd9 => return true,
            // A second of two fill bytes may begin a marker.
            0xff => at -= 1,
            // A stuffed byte of the picture, or a marker without a segment.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => match bytes.get(at..at + 2) {
                Some(length) => at += usize::from(BigEndian::read_u16(length)),
                None => return false,
            },
        }
    }
    false
}

/// Whether a file's name ends as those of JPEG and PNG files do.
pub(super) fn has_image_ending(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, ending)| ["jpg", "jpeg", "png"].iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The files of pictures in `folder` and in the folders below, sorted, and the errors of folders that cannot be looked
/// through; what is hidden is left out.
///
/// Links to folders are not followed, so that no circle of them has no end. The errors are [`DataError::Io`] for a folder that
/// cannot be listed, and [`DataError::NoPictures`] if there is neither a picture nor such an error.
pub fn pictures_below(folder: &Path) -> (Vec<PathBuf>, Vec<DataError>) {
    let (mut pictures, mut errors) = (Vec::new(), Vec::new());
    for found in walk(folder, None) {
        match found {
            Ok(found) if found.is_file && has_image_ending(&found.name) => pictures.push(found.path),
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    if pictures.is_empty() && errors.is_empty() {
        errors.push(DataError::NoPictures { path: folder.to_path_buf() });
    }
    pictures.sort();
    (pictures, errors)
}

/// The planes R, G, B of a picture of 32×32 pixels.
fn planes(pixels: &RgbImage) -> [u8; IMAGE_BYTES] {
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
    use std::fs;

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
    fn a_photograph_is_turned_as_its_metadata_say() {
        // Left half red, right half blue, taken with the camera turned: to be turned clockwise by a quarter.
        let taken = RgbImage::from_fn(64, 64, |x, _| image::Rgb(if x < 32 { [200, 10, 0] } else { [0, 10, 100] }));
        let mut jpeg = Vec::new();
        taken.write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        // A TIFF directory with one entry: tag 0x0112 (orientation), one 16-bit number, 6.
        let exif = *b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let marker = [0xff, 0xe1, 0, exif.len() as u8 + 2];
        let turned = [&jpeg[..2], &marker, &exif, &jpeg[2..]].concat();
        for (bytes, [first_red, last_red]) in [(&jpeg, [true, true]), (&turned, [true, false])] {
            let planes = decode_picture("p.jpg", bytes, PictureSize::Any).unwrap();
            let is_red = |x: usize, y: usize| planes[y * 32 + x] > 150;
            assert_eq!([is_red(3, 3), is_red(3, 28)], [first_red, last_red]);
        }
    }

    /// Decoders fill a picture that is cut off with gray.
    #[test]
    fn a_jpeg_that_is_cut_off_is_refused() {
        let picture = RgbImage::from_fn(200, 160, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
        let mut jpeg = Vec::new();
        picture.write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        decode_picture("whole.jpg", &jpeg, PictureSize::Any).unwrap();
        // What some cameras put behind a picture is none of it.
        decode_picture("whole.jpg", &[&jpeg[..], b"more"].concat(), PictureSize::Any).unwrap();
        // A thumbnail's end is not the picture's.
        let thumbnail = [0xff, 0xe1, 0, 8, 0xff, 0xd8, 1, 2, 0xff, 0xd9];
        let with_thumbnail = [&jpeg[..2], &thumbnail, &jpeg[2..]].concat();
        decode_picture("whole.jpg", &with_thumbnail, PictureSize::Any).unwrap();
        for bytes in [&jpeg[..jpeg.len() - 2], &jpeg[..jpeg.len() / 3], &with_thumbnail[..with_thumbnail.len() / 2]] {
            let error = decode_picture("cut.jpg", bytes, PictureSize::Any).unwrap_err().to_string();
            assert!(error.contains("cut.jpg") && error.contains("ends before"), "{error}");
        }
    }

    #[test]
    fn what_is_no_picture_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no.jpg");
        fs::write(&path, b"no picture").unwrap();
        assert!(load_picture(&path).unwrap_err().to_string().contains("no.jpg"));
    }
}
