//! The official versions in folders, archives and single files; `tests/fixtures/cifar.py` makes those for Python.

use std::fs;
use std::io::Write;

use super::*;
use crate::data::{Loaded, Note, PictureSize, import, load, load_folder};
use tempfile::{TempDir, tempdir};

type Files = Vec<(&'static str, Vec<u8>)>;

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../../tests/fixtures/cifar/", $name)).to_vec())
    };
}

fn python_10() -> Files {
    vec![
        fixture!("data_batch_1"),
        fixture!("data_batch_2"),
        fixture!("test_batch"),
        fixture!("batches.meta"),
        ("readme.html", b"<html>".to_vec()),
    ]
}

fn python_100() -> Files {
    vec![fixture!("train"), fixture!("test"), fixture!("meta")]
}

/// Records of these label bytes and images.
fn records(images: &[(&[u8], u8)]) -> Vec<u8> {
    let planes = |i: u8| (0..3).flat_map(move |c| vec![3 * i + c; 1024]);
    images.iter().flat_map(|(labels, i)| labels.iter().copied().chain(planes(*i)).collect::<Vec<_>>()).collect()
}

fn binary_10() -> Files {
    let names = format!("\u{feff}{}\n\n", CIFAR10_CLASSES.join("\n"));
    vec![
        ("data_batch_1.bin", records(&[(&[0], 0), (&[1], 1), (&[2], 2)])),
        ("data_batch_2.bin", records(&[(&[3], 3), (&[4], 4)])),
        ("test_batch.bin", records(&[(&[7], 7), (&[8], 8)])),
        ("batches.meta.txt", names.into_bytes()),
    ]
}

fn binary_100() -> Files {
    let names = |kind: &str, count: u8| (0..count).map(|class| format!("{kind} {class}\n")).collect::<String>();
    let (fine, coarse) = (names("fine", 100), names("coarse", 20));
    vec![
        ("train.bin", records(&[(&[1, 1], 1), (&[10, 50], 50), (&[17, 77], 77)])),
        ("test.bin", records(&[(&[12, 12], 12), (&[0, 20], 20)])),
        ("fine_label_names.txt", fine.into_bytes()),
        ("coarse_label_names.txt", coarse.into_bytes()),
    ]
}

/// Each version with its official folder.
fn versions() -> [(&'static str, Files); 4] {
    [
        ("cifar-10-batches-bin", binary_10()),
        ("cifar-10-batches-py", python_10()),
        ("cifar-100-binary", binary_100()),
        ("cifar-100-python", python_100()),
    ]
}

fn tar(folder: &str, files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(folder: &str, files: &Files) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(format!("{folder}/{name}"), zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The archive in every form that is read.
fn archives(folder: &str, files: &Files) -> Vec<Vec<u8>> {
    let plain = tar(folder, files);
    let compressed = gzip(&plain);
    // Two members, and the zeros of a tape's block after them.
    let members = [gzip(&plain[..1000]), gzip(&plain[1000..]), vec![0; 700]].concat();
    // The oldest variant has no mark in its headers.
    let mut oldest = plain.clone();
    let mut at = 0;
    for (_, bytes) in files {
        oldest[at + 257..at + 265].fill(0);
        let header = &mut oldest[at..at + 512];
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        at += 512 + bytes.len().next_multiple_of(512);
    }
    vec![plain, compressed, members, oldest, zip(folder, files)]
}

fn written(files: &Files) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn loaded(path: &Path) -> Splits {
    let Loaded { splits, notes } = load(path, SHAPE, LabelSet::Fine, &|_| {}).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    splits
}

#[test]
fn all_versions_are_read_where_they_stand() {
    for (name, files) in versions() {
        let (train, test): (&[u16], &[u16]) = match name.contains("100") {
            true => (&[1, 50, 77], &[12, 20]),
            false => (&[0, 1, 2, 3, 4], &[7, 8]),
        };
        let check = |splits: Splits| {
            assert_eq!((splits.train.labels(), splits.test.labels()), (train, test), "{name}");
            let first = ["airplane", "fine 0"][usize::from(name.contains("100"))];
            assert_eq!(
                (splits.train.class_names()[0].as_str(), splits.train.num_classes()),
                (first, if train.len() == 3 { 100 } else { 10 })
            );
            for set in [&splits.train, &splits.test] {
                for (index, &label) in set.labels().iter().enumerate() {
                    let value = 3 * label as u8 % 240;
                    let planes: Vec<u8> = (0..3).flat_map(|c| vec![value + c; 1024]).collect();
                    assert_eq!(set.image(index).unwrap(), planes, "{name}: image {index}");
                }
            }
        };
        // The folder itself, the folder above it, and archives.
        check(loaded(written(&files).path()));
        let above = tempdir().unwrap();
        fs::rename(written(&files).keep(), above.path().join(name)).unwrap();
        check(loaded(above.path()));
        for (form, archive) in archives(name, &files).into_iter().enumerate() {
            let place = tempdir().unwrap();
            let path = place.path().join("set");
            fs::write(&path, archive).unwrap();
            check(loaded(&path));
            let summary = import(&path, place.path().join("dst"), PictureSize::Exact, LabelSet::Fine, &|_| {}).unwrap();
            assert_eq!((summary.train, summary.test), (train.len(), test.len()), "{name}, form {form}");
            check(load_folder(place.path().join("dst")).unwrap());
        }
    }
}

#[test]
fn coarse_labels_are_those_of_the_superclasses() {
    for (name, files) in versions() {
        let folder = written(&files);
        let archive = folder.path().join("set.tar");
        fs::write(&archive, tar(name, &files)).unwrap();
        for path in [folder.path(), &archive] {
            let coarse = load(path, SHAPE, LabelSet::Coarse, &|_| {});
            if name.contains("100") {
                let Splits { train, test, .. } = coarse.unwrap().splits;
                // Label i mod 20, as `cifar.py` says.
                assert_eq!((train.labels(), test.labels()), (&[1, 10, 17][..], &[12, 0][..]), "{name}");
                assert_eq!((train.num_classes(), train.class_names()[19].as_str()), (20, "coarse 19"));
                assert_eq!(train.images(), loaded(path).train.images());
            } else {
                let refused = coarse.unwrap_err();
                assert!(refused.to_string().contains("has no coarse labels") && refused.hint().is_some(), "{refused}");
            }
        }
    }
}

#[test]
fn a_single_batch_keeps_its_last_images_for_testing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("data_batch_1.bin");
    let labels: Vec<[u8; 1]> = (0..20).map(|i| [i % 10]).collect();
    let images: Vec<_> = labels.iter().zip(0..).map(|(label, i)| (&label[..], i)).collect();
    fs::write(&path, records(&images)).unwrap();
    let Loaded { splits, notes } = load(&path, SHAPE, LabelSet::Fine, &|_| {}).unwrap();
    assert_eq!((splits.train.len(), splits.test.labels()), (18, &[8, 9][..]));
    assert_eq!(notes, [Note::LastHeldOut { test: 2, of: 20 }]);
    fs::write(&path, [1; 3074]).unwrap();
    let refused = load(&path, SHAPE, LabelSet::Fine, &|_| {}).unwrap_err();
    assert!(refused.to_string().contains("data_batch_1.bin: 3074 bytes") && refused.hint().is_some(), "{refused}");
}

#[test]
fn damaged_files_are_named() {
    let broken = |change: fn(&mut Files), message: &str| {
        let mut files = python_10();
        change(&mut files);
        let refused = load(written(&files).path(), SHAPE, LabelSet::Fine, &|_| {}).unwrap_err();
        assert!(refused.to_string().contains(message) && refused.hint().is_some(), "{refused}");
    };
    broken(|files| files[0].1.truncate(5000), "data_batch_1: it is cut off");
    broken(|files| files[2].1 = b"\x80\x02}q\x00.".to_vec(), "test_batch: it has no array `data`");
    broken(|files| files[3].1 = b"\x80\x02]q\x00.".to_vec(), "batches.meta: it has no list label_names");
    broken(
        |files| files[0].1 = b"\x80\x02cposix\nsystem\n(X\x02\x00\x00\x00lstR.".to_vec(),
        "data_batch_1: it would call posix.system",
    );
}
