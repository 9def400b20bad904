//! Turns image files, in a folder or in an archive, into the binary layout.

mod archive;
mod collect;
mod decode;
mod place;
#[cfg(test)]
mod tests;
mod tree;

use super::cifar::{MAX_CLASSES, MAX_IMAGES, check_destination};
use super::{DataError, Splits, write_folder};
use collect::Collector;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// What an [`import`] is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportPhase {
    /// Reading and decoding images.
    Decode,
    /// Writing the batch files.
    Write,
}

/// How far an [`import`] has come.
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
}

/// Imports the images of `src` into the new folder `dst`.
///
/// `src` is a folder, or a tar archive as it is or compressed with gzip or xz,
/// which its contents tell and not its name. It holds `train/<class>/<file>`
/// and `test/<class>/<file>`, possibly below one top folder. Files that end in
/// `.jpg`, `.jpeg` or `.png` are decoded; they must be 32×32 pixels. Hidden
/// files are ignored, other files are counted as skipped.
///
/// Labels follow the sorted class names, which for the names of CIFAR-10 is
/// the official order. Each split is sorted by class and file name and then
/// shuffled with a fixed seed: equal inputs give equal bytes, and every batch
/// file, and the first `n` images of it, hold a mix of all classes.
///
/// Archives need not be trusted: nothing is unpacked to the disk, and the size
/// of an image file, the number of images and the unpacked size are limited.
/// `progress` is called on the calling thread, about every 500 images.
///
/// # Errors
///
/// A [`DataError`] that names the file or archive entry. After an error `dst`
/// is as it was before.
pub fn import(
    src: impl AsRef<Path>,
    dst: impl AsRef<Path>,
    progress: &dyn Fn(ImportProgress),
) -> Result<ImportSummary, DataError> {
    import_within(&Limits::default(), src.as_ref(), dst.as_ref(), progress)
}

/// Bounds on what an untrusted source may cost.
#[derive(Debug, Clone)]
struct Limits {
    /// Bytes of an image file.
    file_bytes: u64,
    /// Images of a split.
    images: u64,
    /// Bytes an archive unpacks to.
    archive_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 4 << 20, images: MAX_IMAGES, archive_bytes: 16 << 30 }
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
    if found.is_dir() {
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
    })
}
