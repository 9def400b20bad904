//! Sources that are damaged, hostile, or not what they should be.

use super::*;
use crate::data::Split;
use byteorder::{BigEndian, ByteOrder};

fn message(error: &DataError) -> String {
    format!("{error} / {:?}", error.hint())
}

#[test]
fn links_and_paths_that_climb_out_are_skipped() {
    let mut archive = tar(&files(""));
    // Without the two zero blocks that end it.
    archive.truncate(archive.len() - 1024);
    let mut builder = tar::Builder::new(archive);
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Symlink);
    builder.append_link(&mut header, "train/cat/9.png", "/etc/passwd").unwrap();
    // The builder itself would refuse this name.
    let mut header = tar::Header::new_ustar();
    let climbing = b"../train/cat/8.png";
    header.as_old_mut().name[..climbing.len()].copy_from_slice(climbing);
    header.set_size(0);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    let place = Place::new();
    let archive = place.file(&builder.into_inner().unwrap());
    let summary = place.import(&archive).unwrap();
    assert_eq!((summary.train, summary.skipped), (6, 2));
}

#[test]
fn bad_images_are_named() {
    let large = RgbImage::new(33, 32);
    for (bytes, wanted) in [
        (encode(large, ImageFormat::Png), "33×32, not 32×32"),
        (b"no image".to_vec(), "not a readable picture"),
        (png(0)[..60].to_vec(), "not a readable picture"),
        (Vec::new(), "the file is empty"),
        (vec![0; (4 << 20) + 1], "4194305 bytes is too large"),
    ] {
        let mut files = files("");
        files.push(("train/cat/bad.png".into(), bytes));
        for archive in [false, true] {
            let place = Place::new();
            let src = match archive {
                true => place.file(&gzip(&tar(&files))),
                false => place.tree(&files),
            };
            let error = place.import(&src).unwrap_err();
            let told = message(&error);
            assert!(told.contains(wanted), "{told}");
            // A file is named as the system does it, an archive's entry as the archive does.
            let path = Path::new("train").join("cat").join("bad.png");
            assert!(told.contains("train/cat/bad.png") || told.contains(&*path.to_string_lossy()), "{told}");
            assert!(error.hint().is_some());
            assert!(!place.dst().exists(), "nothing is left behind");
        }
    }
}

#[test]
fn a_png_that_claims_a_huge_size_is_refused_by_its_header() {
    let mut bytes = png(0);
    bytes[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    // The header's own checksum, so that only the size is wrong.
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    BigEndian::write_u32(&mut bytes[29..33], crc.sum());
    let error = decode_picture("huge", &bytes, PictureSize::Exact, SHAPE).unwrap_err();
    let told = message(&error);
    assert!(told.contains("30000×30000"), "{told}");
}

#[test]
fn damaged_archives_are_told() {
    let tar = tar(&files(""));
    let mut flipped = gzip(&tar);
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    let whole = xz(&tar);
    for bytes in [tar[..3000].to_vec(), flipped, whole[..whole.len() / 2].to_vec()] {
        let place = Place::new();
        let error = place.import(&place.file(&bytes)).unwrap_err();
        assert!(matches!(error, DataError::Archive { .. }), "{error}");
        assert!(!place.dst().exists());
    }
}

#[test]
fn limits_hold() {
    let place = Place::new();
    let archive = place.file(&gzip(&tar(&files(""))));
    let with = |limits: Limits| import_within(&limits, &archive, &place.dst(), LabelSet::Fine, &|_| {});
    let error = with(Limits { archive_bytes: 2000, ..Limits::of(PictureSize::Exact, SHAPE) });
    assert!(matches!(error, Err(DataError::ArchiveTooLarge { limit: 2000, .. })));
    let error = with(Limits { images: 5, ..Limits::of(PictureSize::Exact, SHAPE) });
    assert!(matches!(error, Err(DataError::TooManyImages { split: Split::Train, images: 6, limit: 5, .. })));
    let error = with(Limits { file_bytes: 50, ..Limits::of(PictureSize::Exact, SHAPE) });
    assert!(matches!(error, Err(DataError::FileTooLarge { limit: 50, .. })));
}

#[test]
fn a_name_record_cannot_eat_the_memory() {
    let mut builder = tar::Builder::new(Vec::new());
    let name = vec![b'n'; 100 << 10];
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(name.len() as u64);
    header.set_cksum();
    builder.append(&header, name.as_slice()).unwrap();
    let place = Place::new();
    let archive = place.file(&builder.into_inner().unwrap());
    let error = place.import(&archive).unwrap_err();
    assert!(error.to_string().contains("name record"), "{error}");
}

#[test]
fn unknown_files_are_told_by_their_first_bytes() {
    let place = Place::new();
    let error = place.import(&place.file(b"Rar!rest")).unwrap_err();
    assert!(message(&error).contains("begins with 52 61 72 21"));
    let error = place.import(&place.file(b"")).unwrap_err();
    assert!(message(&error).contains("begins with nothing"));
    let error = place.import(&place.dst().join("absent")).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }));
    assert!(error.hint().is_some());
}

#[test]
fn splits_and_classes_must_fit_together() {
    let only = |wanted: &str| {
        let mut files = files("");
        files.retain(|(name, _)| name.starts_with(wanted));
        let place = Place::new();
        place.import(&place.tree(&files)).unwrap_err()
    };
    for (kept, missing) in [("train", Split::Test), ("test", Split::Train)] {
        assert!(matches!(only(kept), DataError::NoImages { split, .. } if split == missing));
    }

    let mut odd = files("");
    odd.push(("test/dog/0.png".into(), png(0)));
    let place = Place::new();
    let error = place.import(&place.tree(&odd)).unwrap_err();
    assert!(matches!(error, DataError::TestOnlyClass { class, .. } if class == "dog"));

    let mut two = files("a/");
    two.extend(files("b/"));
    let place = Place::new();
    let error = place.import(&place.tree(&two)).unwrap_err();
    assert!(matches!(error, DataError::TwoTrees { .. }));

    let mut many = files("");
    for class in 0..255 {
        many.push((format!("train/{class}/0.png"), png(0)));
    }
    let place = Place::new();
    let error = place.import(&place.file(&tar(&many))).unwrap_err();
    assert!(matches!(error, DataError::TooManyClasses { classes: 257, .. }));
}

/// It was found after all the decoding, and called a bad list of names.
#[test]
fn a_class_whose_name_cannot_be_kept_is_told_by_its_folder() {
    let odd: Files =
        files("").into_iter().map(|(path, bytes)| (path.replace("train/cat", "train/cat "), bytes)).collect();
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("odd.tar"), tar(&odd)).unwrap();
    let error =
        import(folder.path().join("odd.tar"), folder.path().join("out"), PictureSize::Exact, LabelSet::Fine, &|_| {})
            .unwrap_err();
    assert!(matches!(&error, DataError::ClassFolderName { path } if path.ends_with("train/cat ")), "{error}");
}

/// Only pictures of other sizes were turned.
#[test]
fn a_picture_that_need_not_be_scaled_is_turned_alike() {
    let jpeg = encode(ramp(77), ImageFormat::Jpeg);
    // A TIFF directory with one entry: tag 0x0112 (orientation), one 16-bit number, 3: by half a turn.
    let exif = *b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0";
    let turned = [&jpeg[..2], &[0xff, 0xe1, 0, exif.len() as u8 + 2], &exif, &jpeg[2..]].concat();
    let [straight, turned] =
        [&jpeg, &turned].map(|bytes| decode_picture("p.jpg", bytes, PictureSize::Exact, SHAPE).unwrap());
    assert!(straight[..1024].iter().rev().eq(&turned[..1024]));
}

#[test]
fn a_taken_destination_is_told_before_the_work() {
    let place = Place::new();
    fs::create_dir(place.dst()).unwrap();
    fs::write(place.dst().join("kept"), "kept").unwrap();
    let src = place.tree(&files(""));
    let error = import(&src, place.dst(), PictureSize::Exact, LabelSet::Fine, &|_| panic!("no work was to be done"))
        .unwrap_err();
    assert!(matches!(error, DataError::DestinationTaken { .. }));
}
