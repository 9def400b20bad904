//! What mends each error.

use super::{DataError, RECORD};
use crate::data::Split;
use crate::error::io_hint;
use std::path::Path;

/// Bytes of a CIFAR-100 record, which has a coarse and a fine label.
const CIFAR100_RECORD: u64 = RECORD + 1;

impl DataError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } => return Some(io_hint(source).to_owned()),
            Self::FolderAbsent { .. } => "check the path; the folder is the one with data_batch_1.bin in it",
            Self::NotAFolder { .. } => {
                "unpack the official binary archive with `tar xf` and name its folder, \
                 or import an archive of image files first"
            }
            Self::NoTrainBatches { folder } => return Some(no_batches_hint(folder)),
            Self::NoTestBatch { .. } | Self::EmptyFile { .. } => {
                "the folder is incomplete; unpack or import the set again"
            }
            Self::TornRecord { size, .. } if size % CIFAR100_RECORD == 0 => {
                "the size fits CIFAR-100 records (two label bytes), which are not supported; \
                 use the CIFAR-10 binary version"
            }
            Self::TornRecord { .. } => {
                "the file was cut short or is in another format; \
                 download or unpack the CIFAR-10 binary version again"
            }
            Self::LabelOutOfRange { .. } => {
                "the file is damaged or in another format; a set with more than ten classes \
                 needs a batches.meta.txt with one class name a line"
            }
            Self::BadClassFile { .. } | Self::ClassNames { .. } => {
                "write one distinct class name a line, in label order"
            }
            Self::TooManyImages { .. } => "split the set and use a part of it",
            Self::ImageBytes { .. } | Self::UnknownLabel { .. } | Self::ClassesDiffer | Self::EmptySplit { .. } => {
                return None;
            }
            Self::TooManyClasses { .. } => "merge or leave out classes",
            Self::DestinationTaken { .. } => "name another folder, or remove this one first",
            Self::NoImages { .. } => {
                "images are looked for as train/<class>/<file> and test/<class>/<file>, with \
                 .jpg, .jpeg or .png, at the top or below one folder; an archive of \
                 data_batch_*.bin files is only to be unpacked, not imported"
            }
            Self::TestOnlyClass { .. } => "give the class training images, or remove its folder",
            Self::TwoTrees { .. } => "leave one tree with train and test folders",
            Self::UnknownArchive { .. } => "unpack it and import the folder, or repack it with tar",
            Self::Archive { .. } => "download or copy the archive again",
            Self::ArchiveTooLarge { .. } => {
                "unpack it and import the folder, or repack the train and test folders alone"
            }
            Self::FileTooLarge { .. } | Self::WrongSize { .. } => "scale the images to 32×32 pixels before the import",
            Self::Undecodable { .. } => "replace or remove this file; only JPEG and PNG are read",
        };
        Some(hint.to_owned())
    }
}

fn no_batches_hint(folder: &Path) -> String {
    // The Python version of the set names its batches without an ending.
    if folder.join("data_batch_1").exists() {
        return "this is the Python version of the set; download the binary version".to_owned();
    }
    if folder.join(Split::Train.name()).is_dir() {
        return "this is a tree of image files; import it first".to_owned();
    }
    "name the folder that holds data_batch_1.bin, as in cifar-10-batches-bin".to_owned()
}
