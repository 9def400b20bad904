//! Single pictures of any size, such as photographs.

use super::DataError;
use super::planes::write_planes;
use super::walk::walk;
use crate::tensor::ImageShape;
use byteorder::{BigEndian, ByteOrder, LittleEndian};
use image::imageops::{FilterType, resize};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, Luma, Rgb, RgbImage};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// The accepted picture sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSize {
    /// Only pictures of the target size, without scaling. They are rotated according to their EXIF orientation.
    Exact,
    /// Pictures of any size, scaled as by [`load_picture`].
    Any,
}

/// Limit on a decoder's memory: enough for a picture of 134 megapixels.
const MAX_DECODER_BYTES: u64 = 384 << 20;
/// The same if only pictures of 32×32 pixels are accepted, which need a few KiB.
const MAX_DECODER_BYTES_EXACT: u64 = 16 << 20;

/// Maximum size of a picture's file in bytes; a decoded larger one would exceed the decoder's limit.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads a picture (JPEG, PNG, WebP, BMP, or the first one of a GIF) of any size and resizes it to this shape, as the planes of an
/// image of a [`Dataset`](super::Dataset).
///
/// Height and width are scaled separately, and the picture is rotated according to its EXIF orientation. Gray becomes equal planes
/// if the shape has color, and color becomes its luma (0.2126 R + 0.7152 G + 0.0722 B) if the shape is gray; 16 bits a channel
/// become 8, and transparency is dropped.
///
/// # Errors
///
/// [`DataError::Io`] for a file that cannot be read, [`DataError::FileTooLarge`] for one of over 64 MiB, [`DataError::Undecodable`]
/// for one that is not a valid picture.
pub fn load_picture(path: &Path, shape: ImageShape) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io("open", path))?;
    read_picture(&path.display().to_string(), file, shape)
}

/// Reads a picture, as [`load_picture`] does, from anything that can be read;
/// errors call it `name`.
///
/// # Errors
///
/// As [`load_picture`].
pub fn read_picture(name: &str, source: impl Read, shape: ImageShape) -> Result<Vec<u8>, DataError> {
    decode_picture(name, &read_within(name, source, MAX_FILE_BYTES)?, PictureSize::Any, shape)
}

/// All bytes of `source`, at most `limit`.
pub(super) fn read_within(name: &str, source: impl Read, limit: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    // One byte past the limit shows that there is more.
    source.take(limit + 1).read_to_end(&mut bytes).map_err(DataError::io("read", name))?;
    if bytes.len() as u64 > limit {
        return Err(DataError::FileTooLarge { file: name.to_owned(), size: bytes.len() as u64, limit });
    }
    Ok(bytes)
}

/// Decodes a picture, which must have this size or is resized to it.
///
/// The format is detected from the contents.
pub(super) fn decode_picture(
    name: &str,
    bytes: &[u8],
    sizes: PictureSize,
    shape: ImageShape,
) -> Result<Vec<u8>, DataError> {
    let most = match sizes {
        PictureSize::Exact => MAX_DECODER_BYTES_EXACT,
        PictureSize::Any => MAX_DECODER_BYTES,
    };
    decode_within(name, bytes, sizes, shape, most)
}

/// The same with a decoder that may take `most` bytes; scaling may take twice as many.
pub(super) fn decode_within(
    name: &str,
    bytes: &[u8],
    sizes: PictureSize,
    shape: ImageShape,
    most: u64,
) -> Result<Vec<u8>, DataError> {
    let undecodable =
        |source: image::ImageError| DataError::Undecodable { file: name.to_owned(), source: source.into() };
    check_whole(name, bytes)?;
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| undecodable(error.into()))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(most);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    // Checked on the header, before any pixel is decoded.
    let (width, height) = decoder.dimensions();
    if bytes.starts_with(b"RIFF") && !webp_sizes_fit(bytes.get(12..).unwrap_or_default(), (width, height), true) {
        let source = "a part of it has another size than it says".into();
        return Err(DataError::Undecodable { file: name.to_owned(), source });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let before_turning = if swaps_sides(orientation) { (shape.height(), shape.width()) } else { sides(shape) };
    if sizes == PictureSize::Exact && (width as usize, height as usize) != before_turning {
        return Err(DataError::WrongSize { file: name.to_owned(), width, height, wanted: shape });
    }
    if limits.reserve(decoder.total_bytes()).is_err() {
        return Err(DataError::PictureTooLarge { file: name.to_owned(), width, height, limit: most / 3 });
    }
    // Rows are scaled first, to four floats a pixel in the full width.
    if u64::from(width) * before_turning.1 as u64 * 16 > 2 * most {
        let limit = 2 * most / 16 / before_turning.1 as u64;
        return Err(DataError::PictureTooWide { file: name.to_owned(), width, limit });
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    // Before the rotation and color conversion, which need the same memory again.
    let mut picture = scaled(picture, before_turning);
    picture.apply_orientation(orientation);
    Ok(planes_of(picture, shape))
}

/// Width and height, as the `image` crate orders them.
fn sides(shape: ImageShape) -> (usize, usize) {
    (shape.width(), shape.height())
}

/// Whether this orientation swaps height and width.
fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// A picture in this width and height.
fn scaled(picture: DynamicImage, (width, height): (usize, usize)) -> DynamicImage {
    let (width, height) = (width as u32, height as u32);
    if (picture.width(), picture.height()) == (width, height) {
        return picture;
    }
    // Transparency is dropped in any case; scaling it would take as much code again.
    let picture = match picture {
        DynamicImage::ImageLumaA8(_) => picture.into_luma8().into(),
        DynamicImage::ImageRgba8(_) => picture.into_rgb8().into(),
        DynamicImage::ImageLumaA16(_) => picture.into_luma16().into(),
        DynamicImage::ImageRgba16(_) => picture.into_rgb16().into(),
        other => other,
    };
    match picture {
        DynamicImage::ImageLuma8(pixels) => resize(&pixels, width, height, FilterType::Triangle).into(),
        DynamicImage::ImageLuma16(pixels) => resize(&pixels, width, height, FilterType::Triangle).into(),
        DynamicImage::ImageRgb8(pixels) => resize(&pixels, width, height, FilterType::Triangle).into(),
        other => resize(&other.into_rgb16(), width, height, FilterType::Triangle).into(),
    }
}

/// The planes of a picture that has the size of `shape`.
fn planes_of(picture: DynamicImage, shape: ImageShape) -> Vec<u8> {
    let mut planes = vec![0; shape.bytes()];
    write_planes(picture.into_rgb8().pixels().map(|pixel| pixel.0), shape, &mut planes);
    planes
}

/// An image of shape `from` resized to shape `to`, in the same way as pictures.
pub(super) fn fitted(planes_from: &[u8], from: ImageShape, to: ImageShape) -> Vec<u8> {
    planes_of(scaled(to_picture(planes_from, from), sides(to)), to)
}

/// The picture of an image's planes.
pub(crate) fn to_picture(planes: &[u8], shape: ImageShape) -> DynamicImage {
    let (width, height) = (shape.width() as u32, shape.height() as u32);
    let byte = |channel: usize, x: u32, y: u32| {
        let index = (channel * shape.height() + y as usize) * shape.width() + x as usize;
        planes.get(index).copied().unwrap_or_default()
    };
    match shape.channels() {
        1 => GrayImage::from_fn(width, height, |x, y| Luma([byte(0, x, y)])).into(),
        _ => RgbImage::from_fn(width, height, |x, y| Rgb([0, 1, 2].map(|channel| byte(channel, x, y)))).into(),
    }
}

/// Rejects what decoders would not notice: an empty file, and a JPEG that is cut off or that they get wrong.
fn check_whole(name: &str, bytes: &[u8]) -> Result<(), DataError> {
    let file = || name.to_owned();
    if bytes.is_empty() {
        return Err(DataError::EmptyPicture { file: file() });
    }
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Ok(());
    }
    let markers = JpegMarkers::read(bytes);
    // Decoders would fill in the missing part.
    if !markers.has_end {
        return Err(DataError::CutOff { file: file() });
    }
    // zune-jpeg 0.5.15 decodes them to other colors without an error (its issues 419 and 422).
    if markers.is_sequential && markers.least_in_scan < markers.components {
        return Err(DataError::SeparateScans { file: file() });
    }
    Ok(())
}

/// Whether among the chunks of a WebP picture the lossy frames have the size that is said before them, and the metadata are in the
/// file. Decoders take memory for either first, and image-webp 0.2.4 compares late, or not at all.
fn webp_sizes_fit(mut chunks: &[u8], sides: (u32, u32), is_whole: bool) -> bool {
    let mut follows_alpha = false;
    while let Some((header, rest)) = chunks.split_at_checked(8) {
        let size = LittleEndian::read_u32(&header[4..]) as usize;
        let data = rest.get(..size).unwrap_or(rest);
        let fits = match &header[..4] {
            b"VP8 " => data.get(6..10).is_none_or(|own| {
                let [width, height] = [0, 2].map(|at| u32::from(LittleEndian::read_u16(&own[at..]) & 0x3fff));
                (width, height) == sides
            }),
            // Of an animation's frame, the decoder takes any chunk there as one.
            _ if follows_alpha && !is_whole => false,
            b"EXIF" => size <= rest.len(),
            // A frame of an animation: its place, size and duration, then its own chunks.
            b"ANMF" if is_whole => data.split_at_checked(16).is_none_or(|(frame, chunks)| {
                let [width, height] = [6, 9].map(|at| LittleEndian::read_u24(&frame[at..]) + 1);
                webp_sizes_fit(chunks, (width, height), false)
            }),
            _ => true,
        };
        if !fits {
            return false;
        }
        follows_alpha = header[..4] == *b"ALPH";
        chunks = rest.get(size.saturating_add(size % 2)..).unwrap_or_default();
    }
    true
}

/// What a JPEG's markers tell.
#[derive(Debug, Default)]
struct JpegMarkers {
    /// Whether it has its end-of-image marker, outside of segments, which may hold a thumbnail.
    has_end: bool,
    /// Whether it is not progressive.
    is_sequential: bool,
    /// Components of the picture.
    components: u8,
    /// Components of the scan with the fewest.
    least_in_scan: u8,
}

impl JpegMarkers {
    fn read(bytes: &[u8]) -> Self {
        let mut markers = JpegMarkers { least_in_scan: u8::MAX, ..JpegMarkers::default() };
        let mut at = 2;
        while let Some(found) = bytes.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair[0] == 0xff)) {
            at += found + 2;
            let marker = bytes[at - 1];
            match marker {
                0xd9 => {
                    markers.has_end = true;
                    break;
                }
                // A second of two fill bytes may begin a marker.
                0xff => at -= 1,
                // A stuffed byte of the picture, or a marker without a segment.
                0x00 | 0x01 | 0xd0..=0xd8 => {}
                _ => {
                    let Some(length) = bytes.get(at..at + 2) else { break };
                    match (marker, bytes.get(at + 2), bytes.get(at + 7)) {
                        (0xc0 | 0xc1, _, Some(&components)) => {
                            (markers.is_sequential, markers.components) = (true, components);
                        }
                        (0xda, Some(&in_scan), _) => markers.least_in_scan = markers.least_in_scan.min(in_scan),
                        _ => {}
                    }
                    at += usize::from(BigEndian::read_u16(length));
                }
            }
        }
        markers
    }
}

/// Endings of pictures; which format a file is of depends on its contents alone.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp"];

/// Whether a file's name ends as those of pictures do.
pub(super) fn has_image_ending(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The files of pictures in `folder` and in the folders below, sorted, and the errors of folders that cannot be read; hidden ones
/// are ignored.
///
/// Links to folders are not followed, to avoid cycles. The errors are [`DataError::Io`] for a folder that cannot be listed, and
/// [`DataError::NoPictures`] if there is neither a picture nor such an error.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_larger_picture_is_scaled_down_plane_by_plane() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        // Left half red, right half blue, twice as wide as high.
        RgbImage::from_fn(128, 64, |x, _| Rgb(if x < 64 { [200, 10, 0] } else { [0, 10, 100] })).save(&path).unwrap();
        let planes = load_picture(&path, ImageShape::CIFAR).unwrap();
        let at = |channel: usize, x: usize, y: usize| planes[channel * 1024 + y * 32 + x];
        assert_eq!([at(0, 3, 9), at(1, 3, 9), at(2, 3, 9)], [200, 10, 0]);
        assert_eq!([at(0, 28, 9), at(1, 28, 9), at(2, 28, 9)], [0, 10, 100]);
    }

    #[test]
    fn a_photograph_is_turned_as_its_metadata_say() {
        // Left half red, right half blue, taken with a rotated camera: to be rotated clockwise by 90°.
        let taken = RgbImage::from_fn(64, 64, |x, _| Rgb(if x < 32 { [200, 10, 0] } else { [0, 10, 100] }));
        let mut jpeg = Vec::new();
        taken.write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        // A TIFF directory with one entry: tag 0x0112 (orientation), one 16-bit number, 6.
        let exif = *b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let marker = [0xff, 0xe1, 0, exif.len() as u8 + 2];
        let turned = [&jpeg[..2], &marker, &exif, &jpeg[2..]].concat();
        for (bytes, [first_red, last_red]) in [(&jpeg, [true, true]), (&turned, [true, false])] {
            let planes = decode_picture("p.jpg", bytes, PictureSize::Any, ImageShape::CIFAR).unwrap();
            let is_red = |x: usize, y: usize| planes[y * 32 + x] > 150;
            assert_eq!([is_red(3, 3), is_red(3, 28)], [first_red, last_red]);
        }
    }

    #[test]
    fn a_turned_photograph_has_the_height_and_width_asked_for() {
        // Two rows high and six pixels wide after rotation: the first column, from the bottom, becomes the first row.
        let shape = ImageShape::new(2, 6, 1).unwrap();
        let taken = GrayImage::from_fn(2, 6, |x, y| Luma([10 * (6 * x + 5 - y) as u8]));
        let mut jpeg = Vec::new();
        taken.write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        let exif = *b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let turned = [&jpeg[..2], &[0xff, 0xe1, 0, exif.len() as u8 + 2], &exif, &jpeg[2..]].concat();
        for sizes in [PictureSize::Any, PictureSize::Exact] {
            let plane = decode_picture("p.jpg", &turned, sizes, shape).unwrap();
            let found: Vec<_> = (0..12).map(|i| (i32::from(plane[i]) - 10 * i as i32).abs()).collect();
            assert!(found.iter().all(|&difference| difference < 9), "{plane:?}");
        }
        let wrong = decode_picture("p.jpg", &jpeg, PictureSize::Exact, shape).unwrap_err().to_string();
        assert!(wrong.contains("2×6, not 6×2"), "{wrong}");
    }

    #[test]
    fn color_becomes_luma_and_gray_becomes_equal_planes() {
        let mut png = Vec::new();
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([100 * x as u8, 100 * y as u8, 250]));
        picture.write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        let [color, gray] = [3, 1].map(|channels| ImageShape::new(2, 3, channels).unwrap());
        let luma = read_picture("p.png", &png[..], gray).unwrap();
        // (2126 R + 7152 G + 722 B) / 10000.
        assert_eq!(luma, [18, 39, 60, 89, 110, 132]);
        let planes = read_picture("p.png", &png[..], color).unwrap();
        assert_eq!(planes, [0, 100, 200, 0, 100, 200, 0, 0, 0, 100, 100, 100, 250, 250, 250, 250, 250, 250]);
        // Resizing a loaded image gives the same as loading the picture in that shape.
        assert_eq!(fitted(&planes, color, gray), luma);
        assert_eq!(fitted(&luma, gray, color), [&luma[..], &luma, &luma].concat());
        let larger = ImageShape::new(7, 5, 1).unwrap();
        assert_eq!(fitted(&planes, color, larger), read_picture("p.png", &png[..], larger).unwrap());
    }

    /// Decoders fill a picture that is cut off with gray.
    #[test]
    fn a_jpeg_that_is_cut_off_is_refused() {
        let picture = RgbImage::from_fn(200, 160, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
        let mut jpeg = Vec::new();
        picture.write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        decode_picture("whole.jpg", &jpeg, PictureSize::Any, ImageShape::CIFAR).unwrap();
        // Some cameras append data after the picture.
        decode_picture("whole.jpg", &[&jpeg[..], b"more"].concat(), PictureSize::Any, ImageShape::CIFAR).unwrap();
        // A thumbnail's end is not the picture's.
        let thumbnail = [0xff, 0xe1, 0, 8, 0xff, 0xd8, 1, 2, 0xff, 0xd9];
        let with_thumbnail = [&jpeg[..2], &thumbnail, &jpeg[2..]].concat();
        decode_picture("whole.jpg", &with_thumbnail, PictureSize::Any, ImageShape::CIFAR).unwrap();
        // Fill bytes may stand before a marker.
        let end = jpeg.len() - 2;
        let filled = [&jpeg[..end], &[0xff], &jpeg[end..]].concat();
        decode_picture("whole.jpg", &filled, PictureSize::Any, ImageShape::CIFAR).unwrap();
        for bytes in [&jpeg[..jpeg.len() - 2], &jpeg[..jpeg.len() / 3], &with_thumbnail[..with_thumbnail.len() / 2]] {
            let error = decode_picture("cut.jpg", bytes, PictureSize::Any, ImageShape::CIFAR).unwrap_err().to_string();
            assert!(error.contains("cut.jpg") && error.contains("ends before"), "{error}");
        }
    }

    #[test]
    fn formats_are_told_by_contents() {
        let picture = RgbImage::from_fn(5, 4, |x, y| Rgb([50 * x as u8, 60 * y as u8, 7]));
        let shape = ImageShape::new(4, 5, 3).unwrap();
        let written = |format| {
            let mut bytes = Vec::new();
            picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
            read_picture("misnamed.jpg", &bytes[..], shape).unwrap()
        };
        let png = written(image::ImageFormat::Png);
        assert_eq!(written(image::ImageFormat::Bmp), png);
        assert_eq!(written(image::ImageFormat::WebP), png);
        // GIF has a palette, which holds 20 colors exactly.
        assert_eq!(written(image::ImageFormat::Gif), png);
    }

    /// The decoder gives wrong colors without an error.
    #[test]
    fn a_jpeg_with_a_scan_for_each_component_is_refused() {
        let frame = [0xff, 0xc0, 0, 17, 8, 0, 8, 0, 8, 3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0];
        let scan = |component: u8| [0xff, 0xda, 0, 8, 1, component, 0, 0, 63, 0, 0x55];
        let bytes = [&[0xff, 0xd8][..], &frame, &scan(1), &scan(2), &scan(3), &[0xff, 0xd9]].concat();
        let refused = read_picture("scans.jpg", &bytes[..], ImageShape::CIFAR).unwrap_err();
        assert!(matches!(refused, DataError::SeparateScans { .. }) && refused.hint().is_some(), "{refused}");
        // Progressive ones have such scans, too, and are decoded well; so are gray ones.
        let progressive: Vec<u8> = bytes.iter().enumerate().map(|(i, &b)| if i == 3 { 0xc2 } else { b }).collect();
        let mut gray = bytes[..2 + 19].to_vec();
        gray[2 + 9] = 1;
        gray.extend(scan(1).into_iter().chain([0xff, 0xd9]));
        for other in [progressive, gray] {
            let refused = read_picture("other.jpg", &other[..], ImageShape::CIFAR).unwrap_err();
            assert!(matches!(refused, DataError::Undecodable { .. }), "{refused}");
        }
    }

    /// Transparent, turned, animated and others, as other programs write them.
    #[test]
    fn the_seeds_of_the_fuzz_targets_are_pictures() {
        for format in ["png", "jpeg", "bmp", "gif", "webp"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/picture_{format}"));
            let (pictures, errors) = pictures_below(&folder);
            assert!(pictures.len() > 2 && errors.is_empty(), "{format}");
            for path in pictures {
                let planes = load_picture(&path, ImageShape::CIFAR).unwrap();
                assert!(
                    planes.iter().any(|&byte| byte != planes[0]) || path.ends_with("i-16.png"),
                    "{}",
                    path.display()
                );
            }
        }
    }

    #[test]
    fn the_limit_of_pixels_is_named() {
        // A header alone, of 20,000 × 20,000 pixels.
        let mut bmp = [0; 54];
        bmp[..2].copy_from_slice(b"BM");
        (bmp[10], bmp[14], bmp[26], bmp[28]) = (54, 40, 1, 24);
        bmp[18..22].copy_from_slice(&20_000_u32.to_le_bytes());
        bmp[22..26].copy_from_slice(&20_000_u32.to_le_bytes());
        let refused = read_picture("large.bmp", &bmp[..], ImageShape::CIFAR).unwrap_err().to_string();
        assert!(refused.contains("20000×20000 pixels are too many") && refused.contains("134217728"), "{refused}");
    }

    #[test]
    fn what_is_no_picture_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no.jpg");
        fs::write(&path, b"no picture").unwrap();
        assert!(load_picture(&path, ImageShape::CIFAR).unwrap_err().to_string().contains("no.jpg"));
    }
}
