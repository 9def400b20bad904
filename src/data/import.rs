//! Converts image files, in a folder or in an archive, to the binary layout.

pub(super) mod archive;
#[cfg(test)]
mod tests;
mod tree;

use super::archive::Opened;
use super::cifar::{SHAPE, check_destination};
use super::class_folders::{Note, gather, is_other_tree, official_folder, only_fine};
use super::collect::{Collector, ImportPhase, ImportProgress, Limits};
use super::{DataError, LabelSet, PictureSize, Splits, write_folder};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Result of an [`import`].
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
    /// Remark on the split, if the source has none.
    pub notes: Vec<String>,
}

/// Imports the images of `src` into the new folder `dst`, as images of 32×32 pixels in color, which the layout holds.
///
/// `src` is a folder, or an archive (tar as it is or compressed with gzip or xz, or zip), detected from its contents, not its
/// name. It holds an official version of CIFAR, or `train/<class>/<file>` and `test/<class>/<file>`, possibly below one top
/// folder; a folder may also be laid out otherwise, as [`load`](super::load) takes it. Files with the ending of a picture are
/// decoded; `sizes` says which are taken, and `labels` which labels of CIFAR-100. Hidden files are ignored, other files are
/// counted as skipped.
///
/// Labels follow the sorted class names, which for the names of CIFAR-10 is
/// the official order. Each split is sorted by class and file name and then
/// shuffled with a fixed seed: equal inputs give equal bytes, and every batch
/// file, and the first `n` images of it, hold a mix of all classes.
///
/// Untrusted archives are safe: nothing is unpacked to the disk, and the size of an image file, the number of images and the
/// unpacked size are limited. `progress` is called on the calling thread, about every 500 images, or every 64 of any size.
///
/// # Errors
///
/// A [`DataError`] that names the file or archive entry. After an error `dst`
/// is as it was before.
pub fn import(
    src: impl AsRef<Path>,
    dst: impl AsRef<Path>,
    sizes: PictureSize,
    labels: LabelSet,
    progress: &dyn Fn(ImportProgress),
) -> Result<ImportSummary, DataError> {
    import_within(&Limits::of(sizes, SHAPE), src.as_ref(), dst.as_ref(), labels, progress)
}

fn import_within(
    limits: &Limits,
    src: &Path,
    dst: &Path,
    labels: LabelSet,
    progress: &dyn Fn(ImportProgress),
) -> Result<ImportSummary, DataError> {
    // Fail now and not after decoding everything.
    check_destination(dst)?;
    let mut collector = Collector::new(src, limits, progress);
    let found = fs::metadata(src).map_err(DataError::io("read", src))?;
    let mut notes = Vec::new();
    let mut archive = if found.is_dir() { None } else { Some(Opened::file(src)?) };
    let official = match &mut archive {
        None => official_folder(src, labels)?,
        Some(archive) => archive::official(archive, limits, labels)?,
    };
    if let Some(splits) = official {
        return write(dst, splits, (0, None), &notes, progress);
    }
    only_fine(src, labels)?;
    match &mut archive {
        Some(archive) => notes = archive::read(archive, limits, &mut collector)?,
        None if is_other_tree(src)? => notes = gather(src, &mut collector)?,
        None => tree::read(src, &mut collector)?,
    }
    let (splits, skipped, first_skipped) = collector.finish()?;
    write(dst, splits, (skipped, first_skipped), &notes, progress)
}

/// Writes the layout.
fn write(
    dst: &Path,
    splits: Splits,
    (skipped, first_skipped): (u64, Option<String>),
    notes: &[Note],
    progress: &dyn Fn(ImportProgress),
) -> Result<ImportSummary, DataError> {
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
