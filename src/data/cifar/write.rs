//! Writes a folder of CIFAR binary batches.

use super::{CLASS_FILE, IMAGE_BYTES, RECORD_BYTES, SHAPE, TEST_FILE, TRAIN_PREFIX, TRAIN_SUFFIX};
use crate::data::{DataError, Dataset, Split, Splits};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Number of classes that a label byte can represent.
pub(in crate::data) const MAX_CLASSES: usize = 256;

/// Training batches written, as in the official set.
const BATCHES: usize = 5;

/// Writes `splits` as the folder `path`, in the layout [`load_folder`] reads.
///
/// The training images go, in order, into `data_batch_1.bin` to
/// `data_batch_5.bin`, whose lengths differ by one record at most; fewer files
/// are written for fewer than five images.
///
/// Everything is written to a hidden folder beside `path` that gets its final
/// name last, so a failure or an interruption never leaves a partial set under
/// that name.
///
/// # Errors
///
/// [`DataError::DestinationTaken`] unless `path` is absent or an empty folder;
/// [`DataError::EmptySplit`], [`DataError::TooManyClasses`], [`DataError::ClassesDiffer`] or
/// [`DataError::UnsupportedShape`] for splits the layout cannot hold; and
/// [`DataError::Io`].
///
/// [`load_folder`]: super::load_folder
pub fn write_folder(path: impl AsRef<Path>, splits: &Splits) -> Result<(), DataError> {
    let path = path.as_ref();
    check_destination(path)?;
    check_splits(splits)?;
    let partial = PartialFolder::beside(path)?;
    let train = &splits.train;
    let mut first = 0;
    for batch in 0..BATCHES {
        let count = train.len() / BATCHES + usize::from(batch < train.len() % BATCHES);
        if count > 0 {
            let name = format!("{TRAIN_PREFIX}{}{TRAIN_SUFFIX}", batch + 1);
            write_batch(&partial.path.join(name), train, first, count)?;
        }
        first += count;
    }
    write_batch(&partial.path.join(TEST_FILE), &splits.test, 0, splits.test.len())?;
    let mut names = train.class_names().join("\n");
    names.push('\n');
    write_file(&partial.path.join(CLASS_FILE), |file| file.write_all(names.as_bytes()))?;
    partial.finish()
}

/// Fails if the destination is not empty.
pub(in crate::data) fn check_destination(path: &Path) -> Result<(), DataError> {
    let taken = || DataError::DestinationTaken { path: path.into() };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DataError::io("look at", path)(error)),
        Ok(found) if !found.is_dir() => Err(taken()),
        Ok(_) => match fs::read_dir(path).map_err(DataError::io("list", path))?.next() {
            None => Ok(()),
            Some(_) => Err(taken()),
        },
    }
}

fn check_splits(splits: &Splits) -> Result<(), DataError> {
    let classes = splits.train.num_classes();
    if classes > MAX_CLASSES {
        return Err(DataError::TooManyClasses { classes, limit: MAX_CLASSES });
    }
    if splits.train.class_names() != splits.test.class_names() {
        return Err(DataError::ClassesDiffer);
    }
    for (split, set) in [(Split::Train, &splits.train), (Split::Test, &splits.test)] {
        if set.is_empty() {
            // An empty batch file would look like a failed download.
            return Err(DataError::EmptySplit { split });
        }
        if set.shape() != SHAPE {
            return Err(DataError::UnsupportedShape { shape: set.shape() });
        }
    }
    Ok(())
}

fn write_batch(path: &Path, set: &Dataset, first: usize, count: usize) -> Result<(), DataError> {
    let records = set.labels().iter().zip(set.images().chunks_exact(IMAGE_BYTES)).skip(first).take(count);
    write_file(path, |file| {
        for (&label, image) in records {
            let mut record = [0u8; RECORD_BYTES];
            // Below MAX_CLASSES, as `check_splits` saw to.
            record[0] = label as u8;
            record[1..].copy_from_slice(image);
            file.write_all(&record)?;
        }
        Ok(())
    })
}

/// Creates a file and syncs it to the disk, so that after a crash the later rename never exists without the contents.
pub(in crate::data) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), DataError> {
    let write = || {
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        fill(&mut file)?;
        file.into_inner()?.sync_all()
    };
    write().map_err(DataError::io("write", path))
}

/// A folder under a temporary name, removed again unless it is finished.
pub(in crate::data) struct PartialFolder {
    pub(in crate::data) path: PathBuf,
    target: PathBuf,
}

impl PartialFolder {
    /// Creates it in the parent of `target`, so that a rename stays on one disk.
    pub(in crate::data) fn beside(target: &Path) -> Result<Self, DataError> {
        // Gives an existing folder such as `.` a name of its own.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
        }
        // A killed run may have left a folder behind, and in a container the
        // next run has the same process id.
        let mut attempt = 0u32;
        loop {
            let mut name = OsString::from(".");
            name.push(target.file_name().unwrap_or_default());
            name.push(format!(".partial-{}-{attempt}", std::process::id()));
            let path = target.with_file_name(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, target }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 1000 => {
                    attempt += 1;
                }
                Err(error) => return Err(DataError::io("create", path)(error)),
            }
        }
    }

    /// Gives it its name.
    pub(in crate::data) fn finish(self) -> Result<(), DataError> {
        // Not every system renames onto an empty folder. This removes nothing
        // else, and its failure shows in the rename.
        let _ = fs::remove_dir(&self.target);
        fs::rename(&self.path, &self.target).map_err(DataError::io("create", &self.target))
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        // After a finished rename there is nothing under this name. A failure
        // here must not hide the error that is on its way to the caller.
        let _ = fs::remove_dir_all(&self.path);
    }
}
