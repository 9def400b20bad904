//! Turns image files, in a folder or in an archive, into the binary layout.

mod archive;
mod collect;
mod place;
#[cfg(test)]
mod tests;
mod tree;

use super::cifar::{MAX_CLASSES, MAX_IMAGES, SHAPE, check_destination};
use super::class_folders::{Note, gather, is_other_tree};
use super::picture::MAX_FILE_BYTES;
use super::{DataError, Splits, write_folder};
use crate::tensor::ImageShape;
pub(super) use collect::{Collector, Content};
pub(super) use place::Place;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Which pictures are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureSize {
    /// Those of the size that is wanted, pixel for pixel; what says that it is to be turned (EXIF) is turned.
    Exact,
    /// Those of any size, scaled as [`load_picture`](super::load_picture) does.
    Any,
}

/// What an [`import`] is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportPhase {
    /// Reading and decoding images.
    Decode,
    /// Writing the batch files.
    Write,
}

/// How far an [`import`] or the reading of class folders has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// What it is at.
    pub phase: ImportPhase,
    /// Images done in this phase.
    pub done: u64,
    /// Images this phase has in all; unknown while an archive is read.
    pub total: Option<u64>,
}

/// What an [`import`] wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportSummary {
    /// Training images written.
    pub train: usize,
    /// Test images written.
    pub test: usize,
    /// The class names, in label order.
    pub classes: Vec<String>,
    /// Files left out because their name or place is not that of an image.
    /// Hidden files are not counted.
    pub skipped: u64,
    /// One of the files left out, as an example.
    pub first_skipped: Option<String>,
    /// How images were split, where the source does not say it.
    pub notes: Vec<String>,
}

/// Imports the images of `src` into the new folder `dst`, as images of 32×32 pixels in color, which the layout holds.
///
/// `src` is a folder, or a tar archive as it is or compressed with gzip or xz,
/// which its contents tell and not its name. It holds `train/<class>/<file>`
/// and `test/<class>/<file>`, possibly below one top folder; a folder may also be
/// laid out otherwise, as [`load`](super::load) takes it. Files that end in
/// `.jpg`, `.jpeg` or `.png` are decoded; `sizes` says which are taken. Hidden
/// files are ignored, other files are counted as skipped.
///
/// Labels follow the sorted class names, which for the names of CIFAR-10 is
/// the official order. Each split is sorted by class and file name and then
/// shuffled with a fixed seed: equal inputs give equal bytes, and every batch
/// file, and the first `n` images of it, hold a mix of all classes.
///
/// Archives need not be trusted: nothing is unpacked to the disk, and the size
/// of an image file, the number of images and the unpacked size are limited.
/// `progress` is called on the calling thread, about every 500 images, or every 64 of any size.
///
/// # Errors
///
/// A [`DataError`] that names the file or archive entry. After an error `dst`
/// is as it was before.
pub fn import(
    src: impl AsRef<Path>,
    dst: impl AsRef<Path>,
    sizes: PictureSize,
    progress: &dyn Fn(ImportProgress),
) -> Result<ImportSummary, DataError> {
    import_within(&Limits::of(sizes, SHAPE), src.as_ref(), dst.as_ref(), progress)
}

/// What is made of the images of a source, and bounds on what an untrusted one may cost.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Which pictures are taken.
    pub(super) sizes: PictureSize,
    /// The shape that they are brought to.
    pub(super) shape: ImageShape,
    /// Bytes of an image file.
    pub(super) file_bytes: u64,
    /// Images of a split.
    pub(super) images: u64,
    /// Classes.
    pub(super) classes: usize,
    /// Bytes an archive unpacks to.
    pub(super) archive_bytes: u64,
}

impl Limits {
    /// Those for what is to become images of this shape, in as many classes as the binary layout holds.
    pub(super) fn of(sizes: PictureSize, shape: ImageShape) -> Self {
        let file_bytes = match sizes {
            PictureSize::Exact => 4 << 20,
            PictureSize::Any => MAX_FILE_BYTES,
        };
        Self { sizes, shape, file_bytes, images: MAX_IMAGES, classes: MAX_CLASSES, archive_bytes: 16 << 30 }
    }
}

fn import_within(
    limits: &Limits,
    src: &Path,
    dst: &Path,
    progress: &dyn Fn(ImportProgress),
) -> Result<ImportSummary, DataError> {
    // Told now rather than after all the decoding.
    check_destination(dst)?;
    let mut collector = Collector::new(src, limits, progress);
    let found = fs::metadata(src).map_err(DataError::io("read", src))?;
    let mut notes = Vec::new();
    if found.is_dir() && is_other_tree(src)? {
        notes = gather(src, &mut collector)?;
    } else if found.is_dir() {
        tree::read(src, &mut collector)?;
    } else {
        archive::read(src, limits, &mut collector)?;
    }
    let (splits, skipped, first_skipped) = collector.finish()?;
    let total = (splits.train.len() + splits.test.len()) as u64;
    let report = |done| {
        progress(ImportProgress { phase: ImportPhase::Write, done, total: Some(total) });
    };
    report(0);
    write_folder(dst, &splits)?;
    report(total);
    let Splits { train, test, .. } = splits;
    Ok(ImportSummary {
        train: train.len(),
        test: test.len(),
        classes: train.class_names().to_vec(),
        skipped,
        first_skipped,
        notes: notes.iter().map(Note::to_string).collect(),
    })
}
