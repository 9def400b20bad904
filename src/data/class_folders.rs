//! Reads data sets of any layout: the binary one, or one folder of images per class.

#[cfg(test)]
mod tests;

use super::cifar::holds_batches;
use super::collect::{Collector, Content, ImportProgress, Limits, Place};
use super::picture::{PictureSize, has_image_ending};
use super::walk::{Found, walk};
use super::{DataError, MOST_CLASSES, Split, Splits, check_class_names, load_folder};
use crate::tensor::ImageShape;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The names of a folder of test images; if there are several, the first is used.
const TEST_FOLDERS: [&str; 4] = ["test", "val", "valid", "validation"];

/// One image in this many is held out for testing if the set has no test images.
const HELD_OUT_OF: usize = 10;

/// A data set as read, with remarks.
#[derive(Debug)]
pub struct Loaded {
    /// The images.
    pub splits: Splits,
    /// Remarks.
    pub notes: Vec<Note>,
}

/// A remark on how a folder was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Images were kept for testing, which are not trained on.
    HeldOut {
        /// Number of them.
        test: usize,
        /// Number of all images.
        of: usize,
    },
    /// One of several folders of test images was used.
    TestFolder {
        /// The folder used.
        taken: String,
        /// The others.
        others: Vec<String>,
    },
    /// Files that are not images of a class were ignored.
    LeftOut {
        /// Number of them.
        files: u64,
        /// One of them.
        example: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::HeldOut { test, of } => write!(
                f,
                "split:  {test} of {of} images are kept for testing, about a tenth of each class, chosen by their names"
            ),
            Note::TestFolder { taken, others } => {
                write!(f, "split:  {taken} is tested on; {} is not used", others.join(", "))
            }
            Note::LeftOut { files: 1, example } => {
                write!(f, "left out one file that is no image of a class, {example}")
            }
            Note::LeftOut { files, example } => {
                write!(f, "left out {files} files that are no images of a class, such as {example}")
            }
        }
    }
}

/// Loads the data set in `folder`, in any layout, as images of this shape.
///
/// That is the binary layout of [`load_folder`]; or a tree of JPEG and PNG files of any size, either `<class>/<file>`, or
/// `train/<class>/<file>` and `test/<class>/<file>`, where `test` may also be called `val`, `valid` or `validation`. Labels follow
/// the sorted names of the class folders. Hidden files are ignored, other files are left out with a note.
///
/// If there are no test images, a tenth of each class is held out for testing, rounded, but at least one image of a class with two
/// or more. The choice depends only on the names of class and file, so that the same files give the same split on any computer and
/// in any order, and adding files moves few others.
///
/// `progress` is called on the calling thread, about every 64 images of a tree.
///
/// # Errors
///
/// A [`DataError`] that names the file or folder.
pub fn load(
    folder: impl AsRef<Path>,
    shape: ImageShape,
    progress: &dyn Fn(ImportProgress),
) -> Result<Loaded, DataError> {
    let folder = folder.as_ref();
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(DataError::NotAFolder { path: folder.into() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(DataError::FolderAbsent { path: folder.into() });
        }
        Err(error) => return Err(DataError::io("read", folder)(error)),
    }
    if holds_batches(folder)? {
        return Ok(Loaded { splits: load_folder(folder)?.fitted(shape)?, notes: Vec::new() });
    }
    let limits = Limits { classes: MOST_CLASSES, ..Limits::of(PictureSize::Any, shape) };
    let mut collector = Collector::new(folder, &limits, progress);
    let mut notes = gather(folder, &mut collector)?;
    let (splits, files, example) = collector.finish()?;
    notes.extend(example.map(|example| Note::LeftOut { files, example }));
    Ok(Loaded { splits, notes })
}

/// Whether `folder` is a tree of class folders other than one of `train` and `test` that may lie below a top folder.
pub(super) fn is_other_tree(folder: &Path) -> Result<bool, DataError> {
    Ok(match test_folders(folder)? {
        Some(test) => test.first().is_some_and(|name| name != Split::Test.name()),
        None => {
            let below = list(folder)?;
            below.iter().any(|entry| entry.is_folder)
                && below.iter().all(|entry| !entry.path.join(Split::Train.name()).is_dir())
                && !holds_folders(&folder.join(Split::Test.name()))?
        }
    })
}

/// Hands all images of a tree of class folders to `collector`.
pub(super) fn gather(folder: &Path, collector: &mut Collector<'_>) -> Result<Vec<Note>, DataError> {
    let mut notes = Vec::new();
    let images = match test_folders(folder)? {
        Some(test) => {
            let Some((taken, others)) = test.split_first() else {
                return Err(DataError::NoTestFolder { path: folder.into() });
            };
            if !others.is_empty() {
                notes.push(Note::TestFolder { taken: taken.clone(), others: others.to_vec() });
            }
            let mut images = list_classes(&folder.join(Split::Train.name()), Split::Train, collector)?;
            images.extend(list_classes(&folder.join(taken), Split::Test, collector)?);
            images
        }
        None => {
            let mut images = list_classes(folder, Split::Train, collector)?;
            let test = hold_out(&mut images);
            if test == 0 {
                return Err(DataError::NothingToTest { path: folder.into() });
            }
            notes.push(Note::HeldOut { test, of: images.len() });
            images
        }
    };
    collector.check_memory(images.len())?;
    collector.total = Some(images.len() as u64);
    for (place, path) in images {
        collector.push(path.display().to_string(), place, Content::File(path))?;
    }
    Ok(notes)
}

/// The folders of test images, if `folder` has one of training images.
///
/// A class may be called "train", too: its folder holds images, that of the training images holds folders.
fn test_folders(folder: &Path) -> Result<Option<Vec<String>>, DataError> {
    let train = folder.join(Split::Train.name());
    if !holds_folders(&train)? {
        return Ok(None);
    }
    Ok(Some(TEST_FOLDERS.map(str::to_owned).into_iter().filter(|name| folder.join(name).is_dir()).collect()))
}

/// Whether this is a folder of folders, as that of a split is, and that of a class is not.
fn holds_folders(folder: &Path) -> Result<bool, DataError> {
    Ok(folder.is_dir() && list(folder)?.iter().any(|entry| entry.is_folder))
}

/// The images of the class folders in `folder`, sorted by class and name.
fn list_classes(
    folder: &Path,
    split: Split,
    collector: &mut Collector<'_>,
) -> Result<Vec<(Place, PathBuf)>, DataError> {
    let (classes, others): (Vec<_>, Vec<_>) = list(folder)?.into_iter().partition(|entry| entry.is_folder);
    for other in others {
        collector.skip(&other.path.display().to_string());
    }
    match &classes[..] {
        [] => return Err(DataError::UnknownLayout { path: folder.into() }),
        // The test images need not include every class.
        [only] if split == Split::Train => {
            return Err(DataError::OneClass { path: folder.into(), class: only.name.clone() });
        }
        _ if classes.len() > MOST_CLASSES => {
            return Err(DataError::TooManyClassFolders {
                path: folder.into(),
                classes: classes.len(),
                limit: MOST_CLASSES,
            });
        }
        _ => {}
    }
    let mut images = Vec::new();
    for class in classes {
        // A name that is not valid text could be confused with another folder's name.
        let sound = class.path.file_name().is_some_and(|name| name.to_str().is_some())
            && check_class_names(std::slice::from_ref(&class.name)).is_ok();
        if !sound {
            return Err(DataError::ClassFolderName { path: class.path });
        }
        let before = images.len();
        for entry in list(&class.path)? {
            // Reading from other kinds of files, such as a pipe, could block forever.
            if has_image_ending(&entry.name) && entry.is_file {
                images.push((Place { split, class: class.name.clone(), name: entry.name }, entry.path));
            } else {
                collector.skip(&entry.path.display().to_string());
            }
        }
        if images.len() == before {
            return Err(DataError::EmptyClass { path: class.path });
        }
    }
    Ok(images)
}

/// The contents of `folder` itself, sorted by name.
fn list(folder: &Path) -> Result<Vec<Found>, DataError> {
    let mut found = walk(folder, Some(1)).collect::<Result<Vec<_>, _>>()?;
    found.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    Ok(found)
}

/// Holds out about a tenth of each class for testing, and returns the counts.
///
/// `images` are sorted by class.
fn hold_out(images: &mut [(Place, PathBuf)]) -> usize {
    let mut held_out = 0;
    for class in images.chunk_by_mut(|(a, _), (b, _)| a.class == b.class) {
        let count = match class.len() {
            1 => 0,
            images => ((images + HELD_OUT_OF / 2) / HELD_OUT_OF).max(1),
        };
        let mut order: Vec<_> = (0..class.len()).collect();
        order.sort_by_cached_key(|&index| {
            let Place { class, name, .. } = &class[index].0;
            (name_hash(class, name), name.clone())
        });
        for &index in &order[..count] {
            class[index].0.split = Split::Test;
        }
        held_out += count;
    }
    held_out
}

/// A pseudorandom number that depends only on the names: the choice of test images must never change.
///
/// It is therefore a fixed hash and not from the random generator: SplitMix64's mixer (Steele, Lea and Flood, 2014) over the bytes
/// of the names.
fn name_hash(class: &str, name: &str) -> u64 {
    // No name holds the separator.
    let bytes = class.bytes().chain([b'/']).chain(name.bytes());
    bytes.fold(0_u64, |hash, byte| {
        let bits = (hash ^ u64::from(byte)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}
