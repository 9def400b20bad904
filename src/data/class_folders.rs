//! Reads data sets of any layout: the binary one, or one folder of images per class.

#[cfg(test)]
mod tests;

use super::archive::Opened;
use super::cifar::{holds_batches, in_folder, single_batch};
use super::collect::{Collector, Content, ImportProgress, Limits, Place};
use super::import::archive;
use super::picture::{PictureSize, has_image_ending};
use super::tree::{Disk, Tree};
use super::{DataError, LabelSet, MOST_CLASSES, Split, Splits, check_class_names, load_folder};
use crate::tensor::ImageShape;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

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
    /// The last images were kept for testing.
    LastHeldOut {
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
            Note::LastHeldOut { test, of } => write!(f, "split:  the last {test} of {of} images are kept for testing"),
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
/// That is an official version of CIFAR-10 or CIFAR-100, binary or for Python; the layout of [`load_folder`]; a file of one batch
/// of it, of which the last tenth is kept for testing; an archive (tar, tar.gz, tar.xz, zip) of an official version or of
/// `train/<class>/<file>` and `test/<class>/<file>`; or a tree of pictures of any size, either `<class>/<file>`, or
/// `train/<class>/<file>` and `test/<class>/<file>`, where the folders may also be called `training`, and `testing`, `val`,
/// `valid`, `validation` or `eval`, in any case; or `train/<file>` with a table `trainLabels.csv` of names and classes, as in
/// competitions of Kaggle. Labels follow the sorted names of the classes. Hidden files and the folders of runs are ignored, other
/// files are left out with a note.
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
    labels: LabelSet,
    progress: &dyn Fn(ImportProgress),
) -> Result<Loaded, DataError> {
    let folder = folder.as_ref();
    let limits = Limits { classes: MOST_CLASSES, ..Limits::of(PictureSize::Any, shape) };
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return load_file(folder, &limits, labels, progress),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(DataError::FolderAbsent { path: folder.into() });
        }
        Err(error) => return Err(DataError::io("read", folder)(error)),
    }
    if let Some(splits) = official_folder(folder, labels)? {
        return Ok(Loaded { splits: splits.fitted(shape)?, notes: Vec::new() });
    }
    only_fine(folder, labels)?;
    let mut collector = Collector::new(folder, &limits, progress);
    let mut notes = gather(folder, &mut collector)?;
    let (splits, files, example) = collector.finish()?;
    notes.extend(example.map(|example| Note::LeftOut { files, example }));
    Ok(Loaded { splits, notes })
}

/// Fails if coarse labels are requested of a set that has none.
pub(super) fn only_fine(path: &Path, labels: LabelSet) -> Result<(), DataError> {
    match labels {
        LabelSet::Fine => Ok(()),
        LabelSet::Coarse => Err(DataError::NoCoarseLabels { path: path.into() }),
    }
}

/// The official version of CIFAR in a folder; `None` if it holds something else.
pub(super) fn official_folder(folder: &Path, labels: LabelSet) -> Result<Option<Splits>, DataError> {
    let binary = match holds_batches(folder)? {
        true => match load_folder(folder) {
            Err(DataError::NoTrainBatches { folder }) => Err(DataError::NoTrainBatches { folder }),
            other => {
                only_fine(folder, labels)?;
                return other.map(Some);
            }
        },
        false => Ok(()),
    };
    match in_folder(folder)? {
        Some(files) => files.load(labels).map(Some),
        None => binary.map(|()| None),
    }
}

/// Loads a data set in a file: an archive, or a batch of CIFAR-10's binary version.
fn load_file(
    path: &Path,
    limits: &Limits,
    labels: LabelSet,
    progress: &dyn Fn(ImportProgress),
) -> Result<Loaded, DataError> {
    if path.extension().is_some_and(|ending| ending == "bin") {
        only_fine(path, labels)?;
        let splits = single_batch(path)?;
        let note = Note::LastHeldOut { test: splits.test.len(), of: splits.train.len() + splits.test.len() };
        return Ok(Loaded { splits: splits.fitted(limits.shape)?, notes: vec![note] });
    }
    load_archive(Opened::file(path)?, limits, labels, progress)
}

/// Loads a data set from files in memory, with their names below the set's folder, as [`load`] does from an archive of them.
///
/// # Errors
/// As for [`load`].
pub fn load_files(
    name: &str,
    files: &[(String, Vec<u8>)],
    shape: ImageShape,
    progress: &dyn Fn(ImportProgress),
) -> Result<Loaded, DataError> {
    let limits = Limits { classes: MOST_CLASSES, ..Limits::of(PictureSize::Any, shape) };
    let path = Path::new(name);
    // Of one file, it is the contents that count.
    let opened = match files {
        [(_, bytes)] => Opened::bytes(path, bytes),
        _ => Opened::files(path, files),
    };
    load_archive(opened, &limits, LabelSet::Fine, progress)
}

fn load_archive(
    mut opened: Opened<'_>,
    limits: &Limits,
    labels: LabelSet,
    progress: &dyn Fn(ImportProgress),
) -> Result<Loaded, DataError> {
    let path = &opened.path().to_path_buf();
    if let Some(splits) = archive::official(&mut opened, limits, labels)? {
        return Ok(Loaded { splits: splits.fitted(limits.shape)?, notes: Vec::new() });
    }
    only_fine(path, labels)?;
    let mut collector = Collector::new(path, limits, progress);
    let mut notes = archive::read(&mut opened, limits, &mut collector)?;
    let (splits, files, example) = collector.finish()?;
    notes.extend(example.map(|example| Note::LeftOut { files, example }));
    Ok(Loaded { splits, notes })
}

/// Whether `folder` is a tree of class folders other than one of `train` and `test` that may lie below a top folder.
pub(super) fn is_other_tree(folder: &Path) -> Result<bool, DataError> {
    let splits = SplitFolders::of(&Disk, folder)?;
    if let Some(train) = &splits.train {
        let is_plain = |path: &Path, split: Split| path.file_name().is_some_and(|name| name == split.name());
        let is_usual =
            is_plain(train, Split::Train) && splits.test.first().is_none_or(|test| is_plain(test, Split::Test));
        return Ok(splits.table.is_some() || !is_usual);
    }
    let below = Disk.list(folder)?;
    Ok(below.iter().any(|entry| entry.is_folder)
        && below.iter().all(|entry| !entry.path.join(Split::Train.name()).is_dir())
        && !holds_folders(&Disk, &folder.join(Split::Test.name()))?)
}

/// Hands all images of a tree of class folders to `collector`.
pub(super) fn gather(folder: &Path, collector: &mut Collector<'_>) -> Result<Vec<Note>, DataError> {
    let mut notes = Vec::new();
    let images = placed(&Disk, folder, collector, &mut notes)?;
    collector.check_memory(images.len())?;
    collector.total = Some(images.len() as u64);
    for (place, path) in images {
        collector.push(path.display().to_string(), place, Content::File(path))?;
    }
    Ok(notes)
}

/// The images of a tree of class folders with their places in the set; what is none is counted by `collector`.
pub(super) fn placed(
    tree: &dyn Tree,
    folder: &Path,
    collector: &mut Collector<'_>,
    notes: &mut Vec<Note>,
) -> Result<Vec<(Place, PathBuf)>, DataError> {
    let SplitFolders { train, test, table } = SplitFolders::of(tree, folder)?;
    let images = match (train, table) {
        (Some(pictures), Some(table)) => {
            let mut images = labeled(tree, &pictures, &table, collector)?;
            notes.push(held_out(folder, &mut images)?);
            images
        }
        (Some(train), None) => {
            let Some((taken, others)) = test.split_first() else {
                return Err(DataError::NoTestFolder { path: folder.into() });
            };
            if !others.is_empty() {
                let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                notes.push(Note::TestFolder { taken: name(taken), others: others.iter().map(name).collect() });
            }
            let mut images = list_classes(tree, &train, Split::Train, collector)?;
            images.extend(list_classes(tree, taken, Split::Test, collector)?);
            images
        }
        (None, _) => {
            let mut images = list_classes(tree, folder, Split::Train, collector)?;
            notes.push(held_out(folder, &mut images)?);
            images
        }
    };
    Ok(images)
}

/// The folders of splits in a folder of a data set.
struct SplitFolders {
    /// The folder of training images: of folders of classes, or with a table of labels, of pictures.
    train: Option<PathBuf>,
    /// The folders of test images, the preferred one first.
    test: Vec<PathBuf>,
    /// The table of the training images' labels.
    table: Option<PathBuf>,
}

impl SplitFolders {
    /// A class may be called "train", too: its folder holds images, that of the training images holds folders.
    ///
    /// # Errors
    /// [`DataError::NoClasses`] if the folders of splits hold pictures of classes that nothing tells.
    fn of(tree: &dyn Tree, folder: &Path) -> Result<Self, DataError> {
        let entries = tree.list(folder)?;
        let named = |split: Split| {
            let ranked = entries.iter().filter(|entry| entry.is_folder).filter_map(|entry| {
                let (own, rank) = Split::of_folder(&entry.name)?;
                (own == split).then(|| (rank, entry.path.clone()))
            });
            let mut ranked: Vec<_> = ranked.collect();
            ranked.sort();
            ranked.into_iter().map(|(_, path)| path).collect::<Vec<_>>()
        };
        let (train, test) = (named(Split::Train), named(Split::Test));
        let table = entries.iter().find(|entry| entry.is_file && is_table(&entry.name)).map(|entry| entry.path.clone());
        for path in &train {
            if holds_folders(tree, path)? {
                return Ok(SplitFolders { train: Some(path.clone()), test, table: None });
            }
        }
        let are_splits = || entries.iter().filter(|entry| entry.is_folder).all(|entry| is_split_like(&entry.name));
        match train.into_iter().next() {
            Some(pictures) if table.is_some() => Ok(SplitFolders { train: Some(pictures), test: Vec::new(), table }),
            // Nobody calls all classes so.
            Some(pictures) if are_splits() => Err(DataError::NoClasses { path: pictures }),
            _ => Ok(SplitFolders { train: None, test: Vec::new(), table: None }),
        }
    }
}

/// Whether a folder's name is that of a split, perhaps with a number, as in `test1`.
fn is_split_like(name: &str) -> bool {
    Split::of_folder(name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_')).is_some()
}

/// Names of a table of labels beside the training images, as in competitions of Kaggle.
const LABEL_TABLES: [&str; 3] = ["trainLabels.csv", "train_labels.csv", "labels.csv"];

/// Whether a file of this name is a table of labels.
pub(super) fn is_table(name: &str) -> bool {
    LABEL_TABLES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The pictures in a folder, with classes from a table of names (with or without ending) and labels.
fn labeled(
    tree: &dyn Tree,
    folder: &Path,
    table: &Path,
    collector: &mut Collector<'_>,
) -> Result<Vec<(Place, PathBuf)>, DataError> {
    let bad = |message: String| DataError::LabelTable { file: table.into(), message };
    let bytes = tree.table(table).map_err(bad)?;
    let mut classes = HashMap::new();
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    for row in rows.records() {
        let row = row.map_err(|e| bad(e.to_string()))?;
        let (Some(id), Some(class)) = (row.get(0), row.get(1)) else {
            return Err(bad(format!("line {} has no label", row.position().map_or(0, csv::Position::line))));
        };
        check_class_names(&[class.to_owned()]).map_err(|message| bad(format!("class {message}")))?;
        classes.insert(id.to_owned(), class.to_owned());
    }
    let mut images = Vec::new();
    for entry in tree.list(folder)? {
        let stem = entry.name.rsplit_once('.').map_or(entry.name.as_str(), |(stem, _)| stem);
        let class = classes.get(stem).or_else(|| classes.get(&entry.name));
        match class {
            Some(class) if entry.is_file && has_image_ending(&entry.name) => {
                let place = Place { split: Split::Train, class: class.clone(), name: entry.name };
                images.push((place, entry.path));
            }
            _ => collector.skip(&entry.path.display().to_string()),
        }
    }
    if images.is_empty() {
        return Err(bad(format!("none of its names is that of a picture in {}", folder.display())));
    }
    images.sort_by(|(a, _), (b, _)| (&a.class, &a.name).cmp(&(&b.class, &b.name)));
    Ok(images)
}

/// Holds out test images, and says so.
fn held_out(folder: &Path, images: &mut [(Place, PathBuf)]) -> Result<Note, DataError> {
    match hold_out(images) {
        0 => Err(DataError::NothingToTest { path: folder.into() }),
        test => Ok(Note::HeldOut { test, of: images.len() }),
    }
}

/// Whether this is a folder of folders, as that of a split is, and that of a class is not.
fn holds_folders(tree: &dyn Tree, folder: &Path) -> Result<bool, DataError> {
    Ok(tree.is_folder(folder) && tree.list(folder)?.iter().any(|entry| entry.is_folder))
}

/// The images of the class folders in `folder`, sorted by class and name.
fn list_classes(
    tree: &dyn Tree,
    folder: &Path,
    split: Split,
    collector: &mut Collector<'_>,
) -> Result<Vec<(Place, PathBuf)>, DataError> {
    let entries = tree.list(folder)?.into_iter().filter(|entry| !(entry.is_folder && tree.is_of_runs(&entry.path)));
    let (classes, others): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.is_folder);
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
        for entry in tree.list(&class.path)? {
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
