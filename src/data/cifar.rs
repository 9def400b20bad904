//! CIFAR-10's binary layout, which is also written, and the other official versions of CIFAR (`official`).
//!
//! In that layout a folder holds `data_batch_*.bin` and `test_batch.bin`, each a sequence of
//! 3073-byte records: a label byte, then the planes red, green and blue of
//! 1024 bytes, each from the top left row by row. `batches.meta.txt` names the
//! classes, one a line.

#[cfg(feature = "pictures")]
mod official;
#[cfg(feature = "pictures")]
mod pickle;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::load_folder;
pub use write::write_folder;

#[cfg(feature = "download")]
pub(super) use official::{ExpectedFile, expected_files};
#[cfg(feature = "pictures")]
pub(super) use official::{MOST_FILE_BYTES, OfficialFiles, in_folder, is_complete, is_file_name, single_batch};
#[cfg(feature = "pictures")]
pub(super) use read::holds_batches;
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
pub(super) use read::{class_names, read_batch};
pub(super) use write::MAX_CLASSES;
#[cfg(feature = "pictures")]
pub(super) use write::check_destination;
#[cfg(feature = "download")]
pub(super) use write::{PartialFolder, write_file};

use crate::tensor::ImageShape;

/// The shape of every image: 32×32 pixels in color.
pub(super) const SHAPE: ImageShape = ImageShape::CIFAR;
/// Bytes of an image: three planes of one byte a pixel.
const IMAGE_BYTES: usize = 3 * 32 * 32;
/// Bytes of a record: label and image.
pub(super) const RECORD_BYTES: usize = 1 + IMAGE_BYTES;
const TRAIN_PREFIX: &str = "data_batch_";
const TRAIN_SUFFIX: &str = ".bin";
const TEST_FILE: &str = "test_batch.bin";
const CLASS_FILE: &str = "batches.meta.txt";

/// The folder the official archive unpacks to.
const OFFICIAL_FOLDER: &str = "cifar-10-batches-bin";

/// Images of a split at most: 3 GiB, so that a wrong file cannot eat the memory.
pub(super) const MAX_IMAGES: u64 = 1 << 20;

/// The names in a text with one a line.
fn lines_of_names(text: &str) -> Vec<String> {
    // Some editors begin a file with a byte-order mark. The official file ends in a blank line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.trim_end().lines().map(|line| line.trim().to_owned()).collect()
}
