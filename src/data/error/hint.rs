//! Hints for each error.

use super::{DataError, RECORD};
use crate::data::Split;
use crate::error::{Cause, Error, io_hint};
use std::path::Path;

/// Bytes of a CIFAR-100 record, which has a coarse and a fine label.
const CIFAR100_RECORD: u64 = RECORD + 1;

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Error::Part(Box::new(error))
    }
}

impl Cause for DataError {
    fn hint(&self) -> Option<String> {
        DataError::hint(self)
    }
}

impl DataError {
    /// How to fix the error, if known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { source, .. } => return Some(io_hint(source).to_owned()),
            Self::FolderAbsent { .. } => {
                "check the path; the folder holds a folder of images for each class, or data_batch_1.bin"
            }
            Self::NotAFolder { .. } => "name a folder; archives are read by `load` and `import`",
            Self::NoTrainBatches { folder } => return Some(no_batches_hint(folder)),
            Self::NotOfficial { .. } => "download the set again to have its published files",
            Self::NoCoarseLabels { .. } => "CIFAR-100 has them, in its official versions: elsewhere use fine labels",
            Self::NoTestBatch { .. } | Self::EmptyFile { .. } => {
                "the folder is incomplete; unpack or import the set again"
            }
            Self::TornRecord { size, .. } if size % CIFAR100_RECORD == 0 => {
                "the size fits CIFAR-100's records, of two label bytes: its files are called train.bin and test.bin"
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
            Self::ImageBytes { .. }
            | Self::UnknownLabel { .. }
            | Self::ClassesDiffer
            | Self::EmptySplit { .. }
            | Self::ShapesDiffer { .. }
            | Self::UnsupportedShape { .. } => return None,
            Self::Memory { .. } => "choose a smaller image size, or use fewer images",
            Self::TooManyClasses { .. } => {
                "merge or leave out classes, or name the folder of image files itself: up to 1000 are taken there"
            }
            Self::UnknownLayout { .. } => {
                "put the images into a folder for each class, as in PATH/cat/1.jpg and PATH/dog/1.jpg, or into such folders \
                 in PATH/train and PATH/test; for CIFAR-10 name the folder that holds data_batch_1.bin"
            }
            Self::OneClass { .. } => "add a folder for each other class: there must be at least two",
            Self::TooManyClassFolders { .. } => "merge or leave out classes; is it the right folder?",
            Self::EmptyClass { .. } => {
                "put the class's images into this folder itself, not into folders below it; if it is no class, move it elsewhere"
            }
            Self::ClassFolderName { .. } => "rename the folder",
            Self::NoTestFolder { path } => {
                let train = path.join(Split::Train.name());
                return Some(format!(
                    "add PATH/test/CLASS/IMAGE, or name {}: a tenth of its images is then kept for testing",
                    train.display()
                ));
            }
            Self::NothingToTest { .. } => "add images: a class with two or more gives one for testing",
            Self::NoPictures { .. } => "check the path; JPEG, PNG, WebP, GIF and BMP are read",
            Self::DestinationTaken { .. } => "name another folder",
            Self::NoImages { .. } => {
                "pictures are looked for in a folder for each class, or in such folders in train and test, at the top or below \
                 one folder; their names need the ending of a picture"
            }
            Self::TestOnlyClass { .. } => "give the class training images, or move its folder elsewhere",
            Self::TwoTrees { .. } => "leave one tree with train and test folders",
            Self::UnknownArchive { .. } => "unpack it and import the folder, or repack it with tar",
            Self::Archive { .. } => "download or copy the archive again",
            Self::ArchiveTooLarge { .. } => {
                "unpack it and import the folder, or repack the train and test folders alone"
            }
            Self::FileTooLarge { .. } => "scale the picture down, or move the file elsewhere",
            Self::WrongSize { .. } => "let the import scale them, or scale the images to 32×32 pixels before",
            Self::UnreadableFolders { .. } => "they are named above: name folders that can be read and have pictures",
            Self::UnreadablePictures { .. } => {
                "they are named above: replace them, or move them elsewhere; JPEG, PNG, WebP, GIF and BMP are read"
            }
            Self::CutOff { .. } | Self::EmptyPicture { .. } => "copy or download it again, or move it out of the data",
            Self::SeparateScans { .. } => "save it once more as JPEG or PNG with any program for pictures",
            Self::PictureTooLarge { .. } | Self::PictureTooWide { .. } => "scale the picture down",
            Self::BadPictures { .. } => "replace them, or move them out of the data",
            Self::NoClasses { .. } => {
                "put the pictures into a folder for each class, as in train/cat/1.jpg, or add a table trainLabels.csv with the \
                 columns id and label"
            }
            Self::OfficialFile { .. } => {
                "download the set again; CIFAR-10 and CIFAR-100 are read, binary and for Python"
            }
            Self::LabelTable { .. } => "the table has a line `id,label`, and then a line for each picture",
            Self::Undecodable { .. } => {
                "replace this file, or move it out of the data; JPEG, PNG, WebP, GIF and BMP are read"
            }
        };
        Some(hint.to_owned())
    }
}

fn no_batches_hint(folder: &Path) -> String {
    // The batches of the Python version have no file extension.
    if folder.join("data_batch_1").exists() {
        return "this is the Python version of the set, of which files are missing: it has data_batch_1 to data_batch_5, \
                test_batch and batches.meta".to_owned();
    }
    if folder.join(Split::Train.name()).is_dir() {
        return "this is a tree of image files: name it as the data, which may be such trees, too".to_owned();
    }
    "name the folder that holds data_batch_1.bin, as in cifar-10-batches-bin".to_owned()
}
