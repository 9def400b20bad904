mod refused;

use super::*;
use crate::data::picture::decode_picture;
use crate::data::{CIFAR10_CLASSES, load_folder};
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use std::cell::RefCell;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use tempfile::{TempDir, tempdir};

/// Files by their path in the tree.
type Files = Vec<(String, Vec<u8>)>;

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Red tells x, green tells y, blue is `blue`.
fn ramp(blue: u8) -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| Rgb([8 * x as u8, 8 * y as u8, blue]))
}

fn png(blue: u8) -> Vec<u8> {
    encode(ramp(blue), ImageFormat::Png)
}

/// Two classes of three training images and one test image.
fn files(top: &str) -> Files {
    let mut files = Files::new();
    for (c, class) in ["cat", "ant"].into_iter().enumerate() {
        for i in 0..3 {
            let blue = (10 * c + i) as u8;
            files.push((format!("{top}train/{class}/{i}.png"), png(blue)));
        }
        files.push((format!("{top}test/{class}/0.PNG"), png(100 + c as u8)));
    }
    files
}

/// A temporary folder with a source and a destination.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempdir().unwrap() }
    }

    fn dst(&self) -> PathBuf {
        self.folder.path().join("dst")
    }

    fn tree(&self, files: &Files) -> PathBuf {
        let src = self.folder.path().join("src");
        for (name, bytes) in files {
            let path = src.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        src
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        // No ending: the contents must tell.
        let path = self.folder.path().join("archive");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn import(&self, src: &Path) -> Result<ImportSummary, DataError> {
        import(src, self.dst(), PictureSize::Exact, LabelSet::Fine, &|_| {})
    }
}

fn tar(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The training images written, one after the other.
fn train_bytes(dst: &Path) -> Vec<u8> {
    load_folder(dst).unwrap().train.images().to_vec()
}

#[test]
fn no_plane_and_no_axis_is_swapped() {
    let place = Place::new();
    place.import(&place.tree(&files(""))).unwrap();
    let train = load_folder(place.dst()).unwrap().train;
    assert_eq!(train.len(), 6);
    for index in 0..train.len() {
        let image = train.image(index).unwrap();
        for y in 0..32 {
            for x in 0..32 {
                let at = y * 32 + x;
                assert_eq!(image[at], 8 * x as u8, "red at {x},{y}");
                assert_eq!(image[1024 + at], 8 * y as u8, "green at {x},{y}");
            }
        }
        let blue = &image[2048..];
        assert!(blue.iter().all(|&b| b == blue[0]));
        // The blue of "cat" is below ten, that of "ant" is not.
        let class = &train.class_names()[usize::from(train.labels()[index])];
        assert_eq!(class == "cat", blue[0] < 10);
    }
    assert_eq!(train.class_names(), ["ant", "cat"]);
}

#[test]
fn a_jpeg_has_its_planes_and_axes_in_place() {
    let jpeg = encode(ramp(77), ImageFormat::Jpeg);
    let planes = decode_picture("ramp.jpg", &jpeg, PictureSize::Exact, SHAPE).unwrap();
    for (x, y) in [(1, 1), (30, 1), (1, 30), (30, 30), (20, 7)] {
        let at = y * 32 + x;
        for (plane, wanted) in [(0, 8 * x), (1, 8 * y), (2, 77)] {
            let found = i32::from(planes[plane * 1024 + at]);
            assert!((found - wanted as i32).abs() < 24, "{x},{y}: {found}");
        }
    }
}

#[test]
fn gray_and_transparent_images_become_rgb() {
    let gray = GrayImage::from_fn(32, 32, |x, y| image::Luma([(x + 4 * y) as u8]));
    let planes = decode_picture("gray", &encode(gray, ImageFormat::Png), PictureSize::Exact, SHAPE).unwrap();
    for plane in planes.chunks_exact(1024) {
        assert_eq!(plane[33], 5);
        assert_eq!(plane, &planes[..1024]);
    }
    let mut clear = DynamicImage::ImageRgb8(ramp(9)).into_rgba8();
    clear.pixels_mut().for_each(|pixel| pixel.0[3] = 0);
    let planes = decode_picture("clear", &encode(clear, ImageFormat::Png), PictureSize::Exact, SHAPE).unwrap();
    assert_eq!((planes[31], planes[1024 + 32], planes[2048]), (248, 8, 9));
}

#[test]
fn every_kind_of_source_gives_the_same_bytes() {
    let place = Place::new();
    let summary = place.import(&place.tree(&files(""))).unwrap();
    assert_eq!((summary.train, summary.test, summary.skipped), (6, 2, 0));
    assert_eq!(summary.classes, ["ant", "cat"]);
    let wanted = train_bytes(&place.dst());
    let tar = tar(&files("some-set/"));
    // Two members each, as joined compressed files have them.
    let (front, back) = tar.split_at(1000);
    let archives = [gzip(&tar), xz(&tar), [gzip(front), gzip(back)].concat(), [xz(front), xz(back)].concat(), tar];
    for archive in archives {
        let place = Place::new();
        let found = place.import(&place.file(&archive)).unwrap();
        assert_eq!(found, summary);
        assert_eq!(train_bytes(&place.dst()), wanted);
    }
}

#[test]
fn the_order_of_the_source_does_not_matter_and_is_mixed() {
    let mut many = Files::new();
    for class in CIFAR10_CLASSES {
        many.push((format!("test/{class}/0.png"), png(0)));
        for i in 0..20 {
            many.push((format!("train/{class}/{i:02}.png"), png(i)));
        }
    }
    let one = Place::new();
    one.import(&one.file(&tar(&many))).unwrap();
    many.reverse();
    let other = Place::new();
    other.import(&other.file(&tar(&many))).unwrap();
    let a = load_folder(one.dst()).unwrap();
    let b = load_folder(other.dst()).unwrap();
    assert_eq!((&a.train, &a.test), (&b.train, &b.test));
    assert_eq!(a.train.class_names(), CIFAR10_CLASSES);
    for batch in a.train.labels().chunks(40) {
        let classes: std::collections::HashSet<_> = batch.iter().collect();
        assert!(classes.len() >= 8, "{batch:?}");
    }
}

/// Equal sources give equal sets: who changes this counts up [`GENERATOR`](crate::ops::random::GENERATOR).
#[test]
fn the_order_is_pinned() {
    let mut files = files("");
    for class in ["cat", "ant"] {
        files.extend((10..60).map(|i| (format!("train/{class}/{i}.png"), png(i))));
        files.extend((1..20).map(|i| (format!("test/{class}/{i}.png"), png(i))));
    }
    let place = Place::new();
    place.import(&place.tree(&files)).unwrap();
    let set = load_folder(place.dst()).unwrap();
    // Images of a class differ in their blue.
    let checksums = [&set.train, &set.test].map(|set| {
        let blues = set.images().iter().skip(2048).step_by(3072).copied();
        crc32fast::hash(&blues.zip(set.labels()).flat_map(|(blue, &label)| [blue, label as u8]).collect::<Vec<_>>())
    });
    assert_eq!(checksums, [0xcfbd_ad02, 0xd0be_5e4b], "{checksums:#x?}");
}

#[test]
fn long_names_are_read_in_both_ways() {
    let classes = ["c", "d"].map(|letter| letter.repeat(90));
    let top = "t".repeat(90);
    let mut builder = tar::Builder::new(Vec::new());
    for (split, class) in
        ["train", "test"].into_iter().flat_map(|split| classes.iter().map(move |class| (split, class)))
    {
        let name = format!("{top}/{split}/{class}/{}.png", "n".repeat(90));
        let bytes = png(1);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        if split == "train" {
            // GNU: a record of its own before the entry.
            builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
        } else {
            builder.append_pax_extensions([("path", name.as_bytes())]).unwrap();
            builder.append_data(&mut header, "short", bytes.as_slice()).unwrap();
        }
    }
    let place = Place::new();
    let archive = place.file(&builder.into_inner().unwrap());
    let summary = place.import(&archive).unwrap();
    assert_eq!(summary.classes, classes);
    assert_eq!((summary.train, summary.test), (2, 2));
}

#[test]
fn other_files_are_counted_and_hidden_ones_ignored() {
    let mut files = files("");
    for name in ["train/cat/._0.png", ".DS_Store", "train/.x/1.png"] {
        files.push((name.into(), b"no image".to_vec()));
    }
    for name in ["README.md", "train/cat/notes.txt"] {
        files.push((name.into(), b"no image".to_vec()));
    }
    let place = Place::new();
    let from_tree = place.import(&place.tree(&files)).unwrap();
    assert_eq!((from_tree.train, from_tree.skipped), (6, 2));
    assert_eq!(from_tree.first_skipped.as_deref(), Some("README.md"));
    let place = Place::new();
    let from_tar = place.import(&place.file(&tar(&files))).unwrap();
    assert_eq!(from_tar, from_tree);
}

#[test]
fn progress_ends_with_everything_done() {
    let place = Place::new();
    let seen = RefCell::new(Vec::new());
    import(place.tree(&files("")), place.dst(), PictureSize::Exact, LabelSet::Fine, &|p| {
        seen.borrow_mut().push((p.phase, p.done, p.total));
    })
    .unwrap();
    assert_eq!(
        seen.into_inner(),
        [(ImportPhase::Decode, 8, Some(8)), (ImportPhase::Write, 0, Some(8)), (ImportPhase::Write, 8, Some(8)),]
    );
}
