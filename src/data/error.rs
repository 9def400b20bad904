//! Errors of data sets on disk, with hints.

mod hint;

use super::Split;
use super::cifar::RECORD_BYTES;
use crate::tensor::ImageShape;
use crate::words::counted;
use std::io;
use std::path::PathBuf;

/// The reason why a data set could not be read, written or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system reported an error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action that failed, as in "cannot `read` …".
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// The folder given as a data set does not exist.
    #[error("folder {} does not exist", path.display())]
    FolderAbsent {
        /// The path given.
        path: PathBuf,
    },

    /// The path given as a data set folder is something else.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The path given.
        path: PathBuf,
    },

    /// A folder holds no training batches.
    #[error("{} holds no data_batch_*.bin file", folder.display())]
    NoTrainBatches {
        /// The folder.
        folder: PathBuf,
    },

    /// A folder holds no test batch.
    #[error("{} holds no test_batch.bin", folder.display())]
    NoTestBatch {
        /// The folder.
        folder: PathBuf,
    },

    /// A set is not the published CIFAR-10 or CIFAR-100.
    #[error("{} is not an official set: {reason}", path.display())]
    NotOfficial {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },

    /// Coarse labels are requested of a set with one label for each image.
    #[error("{} has no coarse labels", path.display())]
    NoCoarseLabels {
        /// The folder or file.
        path: PathBuf,
    },

    /// A batch file has no bytes.
    #[error("{} is empty (0 records)", file.display())]
    EmptyFile {
        /// The batch file.
        file: PathBuf,
    },

    /// A batch file ends inside a record.
    #[error(
        "{} has {size} bytes: record {} at offset {} is cut short, with {remainder} of {} bytes",
        file.display(), size / RECORD, size - remainder, RECORD
    )]
    TornRecord {
        /// The batch file.
        file: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Bytes after the last whole record.
        remainder: u64,
    },

    /// A record's label byte names no class.
    #[error(
        "{}: record {record} at offset {} has label {label}, but labels go from 0 to {}",
        file.display(), record * RECORD, classes.saturating_sub(1)
    )]
    LabelOutOfRange {
        /// The batch file.
        file: PathBuf,
        /// Index of the record in that file, from 0.
        record: u64,
        /// The label found.
        label: u8,
        /// The number of classes the set has.
        classes: usize,
    },

    /// The list of class names of a folder cannot be used.
    #[error("{}: {reason}", file.display())]
    BadClassFile {
        /// The list's file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The files together hold more images than this program takes.
    #[error("{} would bring the {split} split to {images} images; at most {limit} are taken", path.display())]
    TooManyImages {
        /// The file or archive that passed the limit.
        path: PathBuf,
        /// The split that grew too large.
        split: Split,
        /// Images of the split so far.
        images: u64,
        /// The limit.
        limit: u64,
    },

    /// The numbers of image bytes and labels disagree.
    #[error("{bytes} image bytes are not {} of {shape}", counted(*labels as u64, "image"))]
    ImageBytes {
        /// Number of bytes.
        bytes: usize,
        /// Number of labels.
        labels: usize,
        /// The shape of an image.
        shape: ImageShape,
    },

    /// Images to combine have different shapes.
    #[error("images of {first} and of {second} are not one data set")]
    ShapesDiffer {
        /// One shape.
        first: ImageShape,
        /// The other one.
        second: ImageShape,
    },

    /// The layout to write holds images of one shape, and these have another.
    #[error("the format holds images of {}, not of {shape}", ImageShape::CIFAR)]
    UnsupportedShape {
        /// The images' shape.
        shape: ImageShape,
    },

    /// Images need more memory than is available.
    #[error(
        "{} of {shape} need {needed_mib} MiB of memory, and {available_mib} MiB are available",
        counted(*images, "image")
    )]
    Memory {
        /// The number of them.
        images: u64,
        /// Their shape.
        shape: ImageShape,
        /// Memory needed, in MiB.
        needed_mib: u64,
        /// Memory available, in MiB.
        available_mib: u64,
    },

    /// A label handed to a constructor names no class.
    #[error("image {record} has label {label}, but there {} {}",
        if *classes == 1 { "is" } else { "are" }, counted(*classes as u64, "class name"))]
    UnknownLabel {
        /// Index of the image.
        record: usize,
        /// Its label.
        label: u16,
        /// The number of classes named.
        classes: usize,
    },

    /// Class names are missing, repeated, or do not fit on one line each.
    #[error("the class names cannot be used: {reason}")]
    ClassNames {
        /// What is wrong with them.
        reason: String,
    },

    /// The two splits do not name the same classes in the same order.
    #[error("the training and test splits name different classes")]
    ClassesDiffer,

    /// A split without images, handed to the writer.
    #[error("the {split} split is empty; the format has no empty files")]
    EmptySplit {
        /// The split.
        split: Split,
    },

    /// More classes than the label byte of the layout can represent.
    #[error("{classes} classes do not fit the one-byte label of the format, which takes {limit}")]
    TooManyClasses {
        /// Classes found.
        classes: usize,
        /// The limit.
        limit: usize,
    },

    /// The place to write to is taken.
    #[error("{} already exists and is not an empty folder", path.display())]
    DestinationTaken {
        /// The destination.
        path: PathBuf,
    },

    /// A split has no images.
    #[error("{} holds no {split} images", path.display())]
    NoImages {
        /// The source.
        path: PathBuf,
        /// The split that is empty.
        split: Split,
    },

    /// A class of the test split has no training images.
    #[error("{}: class {class:?} has test images but no training images", path.display())]
    TestOnlyClass {
        /// The source.
        path: PathBuf,
        /// The class.
        class: String,
    },

    /// Image trees under two different top folders.
    #[error("{} holds two image trees, below {first:?} and below {second:?}", path.display())]
    TwoTrees {
        /// The source.
        path: PathBuf,
        /// The top folder met first; empty for the source itself.
        first: String,
        /// The other one.
        second: String,
    },

    /// A file to import is no tar archive in a compression that is known.
    #[error(
        "{} is neither a folder nor a tar, tar.gz, tar.xz or zip archive (it begins with {})",
        path.display(), hex(start)
    )]
    UnknownArchive {
        /// The file.
        path: PathBuf,
        /// Its first bytes, at most eight.
        start: Vec<u8>,
    },

    /// An archive is damaged or cut short.
    #[error("{}: damaged archive near unpacked offset {offset}: {source}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Bytes of the tar stream read so far.
        offset: u64,
        /// The decoder's message.
        source: io::Error,
    },

    /// An archive unpacks to more than is taken.
    #[error("{} unpacks to more than {limit} bytes", path.display())]
    ArchiveTooLarge {
        /// The archive.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },

    /// The file of an image is larger than is read.
    #[error("{file}: {size} bytes is too large for an image; at most {limit} are read")]
    FileTooLarge {
        /// The file, or the entry of the archive.
        file: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },

    /// An image file that does not decode.
    #[error("{file}: not a readable picture: {source}")]
    Undecodable {
        /// The file, or the entry of the archive.
        file: String,
        /// The decoder's message.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A folder is in none of the layouts of a data set.
    #[error("{} holds neither data_batch_*.bin files nor folders of images", path.display())]
    UnknownLayout {
        /// The folder.
        path: PathBuf,
    },

    /// There is only one folder of a class.
    #[error("{} holds one class only, {class:?}", path.display())]
    OneClass {
        /// The folder.
        path: PathBuf,
        /// The class.
        class: String,
    },

    /// There are more folders of classes than a network is made for.
    #[error("{} holds {classes} class folders; a network has at most {limit} classes", path.display())]
    TooManyClassFolders {
        /// The folder.
        path: PathBuf,
        /// Classes found.
        classes: usize,
        /// The limit.
        limit: usize,
    },

    /// A class folder holds no image.
    #[error("class folder {} holds no picture", path.display())]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },

    /// The name of a class folder cannot name a class.
    #[error("{} cannot name a class: the folder's name has blanks at an end, control characters or no valid text",
        path.display())]
    ClassFolderName {
        /// The class folder.
        path: PathBuf,
    },

    /// There are training images and no folder with test images.
    #[error("{} has a train folder but no test, val, valid or validation folder", path.display())]
    NoTestFolder {
        /// The folder.
        path: PathBuf,
    },

    /// No class has an image to spare for testing.
    #[error("{}: every class has one image only, so none can be kept for testing", path.display())]
    NothingToTest {
        /// The folder.
        path: PathBuf,
    },

    /// A folder holds no pictures.
    #[error("there is no picture in {}", path.display())]
    NoPictures {
        /// The folder.
        path: PathBuf,
    },

    /// Some of the given folders cannot be read or have no pictures.
    #[error("{} could not be read or had no pictures", counted(*count as u64, "folder"))]
    UnreadableFolders {
        /// The number of them.
        count: usize,
    },

    /// A JPEG is truncated.
    #[error("{file}: the file ends before its picture does")]
    CutOff {
        /// The file.
        file: String,
    },

    /// A picture's file has no bytes.
    #[error("{file}: the file is empty")]
    EmptyPicture {
        /// The file.
        file: String,
    },

    /// A sequential JPEG with a scan for each component.
    #[error("{file}: a JPEG with a separate scan for each color component, which is not decoded")]
    SeparateScans {
        /// The file.
        file: String,
    },

    /// A picture has more pixels than are decoded.
    #[error("{file}: {width}×{height} pixels are too many for a picture; at most {limit} are decoded")]
    PictureTooLarge {
        /// The file.
        file: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit in pixels.
        limit: u64,
    },

    /// A picture is too wide to be scaled to the height of the network's images.
    #[error(
        "{file}: a picture {width} pixels wide takes too much memory to scale; at most {limit} are possible at this height"
    )]
    PictureTooWide {
        /// The file.
        file: String,
        /// Width in pixels.
        width: u32,
        /// The limit in pixels.
        limit: u64,
    },

    /// Several pictures of a data set cannot be used.
    #[error("{count} pictures cannot be used: {}", listed(*count, first))]
    BadPictures {
        /// The number of them.
        count: usize,
        /// The errors of the first of them.
        first: Vec<DataError>,
    },

    /// There are pictures in folders of splits, and nothing tells their classes.
    #[error("{} holds pictures and no folders of classes: nothing tells what is in them", path.display())]
    NoClasses {
        /// The folder of the split.
        path: PathBuf,
    },

    /// A file of an official version of CIFAR cannot be used.
    #[error("{}: {message}", file.display())]
    OfficialFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// A table of labels cannot be used.
    #[error("{}: {message}", file.display())]
    LabelTable {
        /// The table.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },

    /// Some pictures of many could not be read.
    #[error("{count} of {of} pictures could not be read")]
    UnreadablePictures {
        /// The number of them.
        count: usize,
        /// The total number.
        of: usize,
    },

    /// An image of another size than is taken.
    #[error("{file}: the image is {width}×{height}, not {}×{}", wanted.width(), wanted.height())]
    WrongSize {
        /// The file, or the entry of the archive.
        file: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The shape that is taken.
        wanted: ImageShape,
    },
}

/// Bytes of a record: label and image.
const RECORD: u64 = RECORD_BYTES as u64;

impl DataError {
    /// For `map_err` on a call that did `action` to `path`.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// The first of several errors, separated by semicolons.
fn listed(count: usize, first: &[DataError]) -> String {
    let mut texts: Vec<String> = first.iter().map(ToString::to_string).collect();
    if count > texts.len() {
        texts.push(format!("and {} more", count - texts.len()));
    }
    texts.join("; ")
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    let bytes: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    bytes.join(" ")
}
