//! The readers of data sets and pictures, as functions of bytes.

use std::io::Cursor;
use std::path::Path;

use super::archive::Opened;
use super::cifar::{OfficialFiles, RECORD_BYTES, class_names, read_batch};
use super::class_folders::placed;
use super::collect::{Collector, Limits};
use super::import::archive;
use super::picture::{PictureSize, decode_within};
use super::tree::Listing;
use super::{LabelSet, MOST_CLASSES};
use crate::tensor::ImageShape;
use crate::untrusted::{MOST, Reader};

pub(crate) const READERS: &[Reader] = &[
    Reader { name: "cifar_binary", constant: 1 << 16, multiple: 8, read: cifar_binary },
    Reader { name: "cifar_pickle", constant: 1 << 16, multiple: 256, read: cifar_pickle },
    Reader { name: "class_names", constant: 1 << 16, multiple: 64, read: read_class_names },
    Reader { name: "label_table", constant: 1 << 20, multiple: 128, read: label_table },
    Reader { name: "archive_tar", constant: 32 << 20, multiple: 64, read: tar },
    Reader { name: "archive_gzip", constant: 32 << 20, multiple: 64, read: gzip },
    Reader { name: "archive_xz", constant: 32 << 20, multiple: 64, read: xz },
    Reader { name: "archive_zip", constant: 32 << 20, multiple: 64, read: zip },
    Reader { name: "picture_png", constant: 8 << 20, multiple: 16, read: |bytes| picture(b"\x89PNG\r\n\x1a\n", bytes) },
    Reader { name: "picture_jpeg", constant: 8 << 20, multiple: 16, read: |bytes| picture(b"\xff\xd8\xff", bytes) },
    Reader { name: "picture_bmp", constant: 8 << 20, multiple: 16, read: |bytes| picture(b"BM", bytes) },
    Reader { name: "picture_gif", constant: 8 << 20, multiple: 16, read: |bytes| picture(b"GIF89a", bytes) },
    Reader { name: "picture_webp", constant: 24 << 20, multiple: 16, read: |bytes| picture(b"RIFF", bytes) },
];

const NAME: &str = "file";

/// Files of these names in an official version's folder, all of these bytes.
fn official(names: &[&str], bytes: &[u8], labels: LabelSet) {
    let files = names.iter().map(|name| ((*name).to_owned(), bytes.to_vec())).collect();
    let _ = OfficialFiles { source: NAME.into(), files }.load(labels);
}

/// The first byte chooses the layout.
fn cifar_binary(bytes: &[u8]) {
    let Some((&layout, records)) = bytes.split_first() else { return };
    match layout {
        0 => official(&["data_batch_1.bin", "test_batch.bin"], records, LabelSet::Fine),
        1 => official(&["train.bin", "test.bin"], records, LabelSet::Fine),
        2 => official(&["train.bin", "test.bin"], records, LabelSet::Coarse),
        classes => {
            let count = (records.len() / RECORD_BYTES) as u64 + 1;
            let (mut images, mut labels) = (Vec::new(), Vec::new());
            let mut reader = Cursor::new(records);
            let _ = read_batch(&mut reader, Path::new(NAME), count, classes.into(), &mut images, &mut labels);
        }
    }
}

fn cifar_pickle(bytes: &[u8]) {
    official(&["data_batch_1", "test_batch"], bytes, LabelSet::Fine);
    official(&["train", "test", "meta"], bytes, LabelSet::Coarse);
}

fn read_class_names(bytes: &[u8]) {
    let _ = class_names(Path::new(NAME), bytes);
}

/// A table beside a few pictures.
fn label_table(bytes: &[u8]) {
    let mut listing = Listing::default();
    for name in ["train/1.png", "train/2.png", "train/cat.jpg", "train/notes.txt"] {
        listing.add(name);
    }
    if let Some(path) = listing.add("trainLabels.csv") {
        listing.add_table(path, bytes.to_vec());
    }
    let limits = limits();
    let mut collector = Collector::new(Path::new(NAME), &limits, &|_| {});
    let _ = placed(&listing, &listing.root(), &mut collector, &mut Vec::new());
}

/// Small pictures of an exact size, and small archives.
fn limits() -> Limits {
    Limits {
        file_bytes: MOST,
        images: 64,
        classes: MOST_CLASSES,
        archive_bytes: MOST,
        ..Limits::of(PictureSize::Exact, small())
    }
}

/// The shape that pictures are read in.
fn small() -> ImageShape {
    ImageShape::new(4, 5, 3).unwrap_or(ImageShape::CIFAR)
}

/// An official version, or a tree of pictures.
fn archive(bytes: &[u8]) {
    let limits = limits();
    let mut opened = Opened::bytes(Path::new(NAME), bytes);
    if matches!(archive::official(&mut opened, &limits, LabelSet::Fine), Ok(None)) {
        let mut collector = Collector::new(Path::new(NAME), &limits, &|_| {});
        if archive::read(&mut opened, &limits, &mut collector).is_ok() {
            let _ = collector.finish();
        }
    }
}

/// Bytes that begin in this way.
fn beginning(start: &[u8], bytes: &[u8]) -> Vec<u8> {
    [start, bytes.get(start.len()..).unwrap_or_default()].concat()
}

/// A tar file whose headers have the right checksums, which no mutation would keep.
fn tar(bytes: &[u8]) {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[CHECKSUM].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive(&bytes);
}

fn gzip(bytes: &[u8]) {
    archive(&beginning(&[0x1f, 0x8b], bytes));
}

fn xz(bytes: &[u8]) {
    archive(&beginning(b"\xfd7zXZ\0", bytes));
}

fn zip(bytes: &[u8]) {
    archive(&beginning(b"PK\x03\x04", bytes));
}

/// A picture of the format that begins in this way, of any size and of an exact one.
fn picture(start: &[u8], bytes: &[u8]) {
    let bytes = beginning(start, bytes);
    for sizes in [PictureSize::Any, PictureSize::Exact] {
        let _ = decode_within(NAME, &bytes, sizes, small(), MOST);
    }
}
