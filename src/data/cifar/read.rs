//! Reads a folder of CIFAR binary batches.

use super::{
    CLASS_FILE, IMAGE_BYTES, MAX_CLASSES, MAX_IMAGES, OFFICIAL_FOLDER, RECORD_BYTES, SHAPE, TEST_FILE, TRAIN_PREFIX,
    TRAIN_SUFFIX, lines_of_names,
};
use crate::data::{CIFAR10_CLASSES, DataError, Dataset, Split, Splits, check_class_names};
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A list of 256 long names stays far below this many bytes.
const MAX_CLASS_FILE_BYTES: u64 = 64 << 10;

/// Loads the set in `path`, or in its `cifar-10-batches-bin` subfolder: images of [`ImageShape::CIFAR`].
///
/// The training batches `data_batch_*.bin` are read in the order of their
/// numbers (2 before 10), and may hold any number of whole records. Without a
/// `batches.meta.txt` the classes are those of CIFAR-10.
///
/// # Errors
///
/// A [`DataError`] that names the file, and for a bad record its index and
/// byte offset: a folder or file that is absent, empty, torn, too large or
/// unreadable, a label without a class, or an unusable list of class names.
///
/// [`ImageShape::CIFAR`]: crate::tensor::ImageShape::CIFAR
pub fn load_folder(path: impl AsRef<Path>) -> Result<Splits, DataError> {
    let (folder, batches) = find_batches(path.as_ref())?;
    let test_file = folder.join(TEST_FILE);
    if !test_file.is_file() {
        return Err(DataError::NoTestBatch { folder });
    }
    let class_names = read_class_names(&folder)?;
    let train = read_split(Split::Train, &batches, class_names.clone())?;
    let test = read_split(Split::Test, &[test_file], class_names)?;
    Ok(Splits { train, test, source: folder.display().to_string() })
}

/// Whether a folder is in this layout or was intended to be: also if batches are missing or are the Python version's.
#[cfg(feature = "pictures")]
pub(in crate::data) fn holds_batches(path: &Path) -> Result<bool, DataError> {
    let meant = [TEST_FILE, OFFICIAL_FOLDER, "data_batch_1"].iter().any(|name| path.join(name).exists());
    Ok(meant || !train_batches(path)?.is_empty())
}

/// The folder that holds the batches, and its training batches in order.
fn find_batches(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), DataError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(DataError::NotAFolder { path: path.into() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(DataError::FolderAbsent { path: path.into() });
        }
        Err(error) => return Err(DataError::io("read", path)(error)),
    }
    let below = path.join(OFFICIAL_FOLDER);
    let mut folders = vec![path.to_path_buf()];
    if below.is_dir() {
        folders.push(below);
    }
    for folder in folders {
        let batches = train_batches(&folder)?;
        if !batches.is_empty() {
            return Ok((folder, batches));
        }
    }
    Err(DataError::NoTrainBatches { folder: path.into() })
}

fn train_batches(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut batches = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("list", folder))? {
        let entry = entry.map_err(DataError::io("list", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(TRAIN_PREFIX).and_then(|rest| rest.strip_suffix(TRAIN_SUFFIX));
        if let Some(number) = number
            && entry.path().is_file()
        {
            // Names without a number go last, among themselves by name.
            let rank = number.parse::<u64>().unwrap_or(u64::MAX);
            batches.push((rank, name, entry.path()));
        }
    }
    batches.sort();
    Ok(batches.into_iter().map(|(_, _, path)| path).collect())
}

fn read_class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let file = folder.join(CLASS_FILE);
    let size = match fs::metadata(&file) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(CIFAR10_CLASSES.map(str::to_owned).to_vec());
        }
        Err(error) => return Err(DataError::io("read", file)(error)),
    };
    if size > MAX_CLASS_FILE_BYTES {
        let reason = format!("{size} bytes is too large for class names");
        return Err(DataError::BadClassFile { file, reason });
    }
    class_names(&file, &fs::read(&file).map_err(DataError::io("read", &file))?)
}

/// The names in the bytes of `file`.
pub(in crate::data) fn class_names(file: &Path, bytes: &[u8]) -> Result<Vec<String>, DataError> {
    let bad = |reason: String| DataError::BadClassFile { file: file.into(), reason };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        bad(format!("not UTF-8 text at offset {offset}"))
    })?;
    let names = lines_of_names(text);
    if names.len() > MAX_CLASSES {
        return Err(DataError::TooManyClasses { classes: names.len(), limit: MAX_CLASSES });
    }
    check_class_names(&names).map_err(bad)?;
    Ok(names)
}

fn read_split(split: Split, files: &[PathBuf], class_names: Vec<String>) -> Result<Dataset, DataError> {
    // All sizes are checked before memory is allocated.
    let mut counts = Vec::with_capacity(files.len());
    let mut total = 0u64;
    for file in files {
        let count = count_records(file)?;
        total += count;
        if total > MAX_IMAGES {
            return Err(DataError::TooManyImages { path: file.clone(), split, images: total, limit: MAX_IMAGES });
        }
        counts.push(count);
    }
    let total = total as usize;
    let mut images = Vec::with_capacity(total * IMAGE_BYTES);
    let mut labels = Vec::with_capacity(total);
    for (file, count) in files.iter().zip(counts) {
        let opened = File::open(file).map_err(DataError::io("open", file))?;
        let mut reader = BufReader::with_capacity(1 << 20, opened);
        read_batch(&mut reader, file, count, class_names.len(), &mut images, &mut labels)?;
    }
    Ok(Dataset::from_parts(SHAPE, images, labels, class_names))
}

/// The number of records of a batch, from its size alone.
fn count_records(file: &Path) -> Result<u64, DataError> {
    let found = fs::metadata(file).map_err(DataError::io("read", file))?;
    let (size, record) = (found.len(), RECORD_BYTES as u64);
    if size == 0 {
        return Err(DataError::EmptyFile { file: file.into() });
    }
    match size % record {
        0 => Ok(size / record),
        remainder => Err(DataError::TornRecord { file: file.into(), size, remainder }),
    }
}

/// Reads `count` records of `file`.
pub(in crate::data) fn read_batch(
    reader: &mut dyn Read,
    file: &Path,
    count: u64,
    classes: usize,
    images: &mut Vec<u8>,
    labels: &mut Vec<u16>,
) -> Result<(), DataError> {
    let mut bytes = [0u8; RECORD_BYTES];
    for record in 0..count {
        reader.read_exact(&mut bytes).map_err(DataError::io("read", file))?;
        let label = bytes[0];
        if usize::from(label) >= classes {
            return Err(DataError::LabelOutOfRange { file: file.into(), record, label, classes });
        }
        labels.push(u16::from(label));
        images.extend_from_slice(&bytes[1..]);
    }
    Ok(())
}
