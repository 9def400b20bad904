//! Sorts the files of a source into splits and classes, and decodes them: for the import and for class folders.

mod place;

use super::cifar::{MAX_CLASSES, MAX_IMAGES};
use super::picture::{MAX_FILE_BYTES, PictureSize, decode_picture, read_within};
use super::{DataError, Dataset, Split, Splits, check_class_names, check_memory};
use crate::ops::random::RandomStream;
use crate::parallel::*;
use crate::tensor::ImageShape;
use place::{Met, sort_out};
use rand::seq::SliceRandom;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

pub(super) use place::{Place, split_of};

/// Files decoded together: photographs take longer than images of the target size, and progress is reported after each group.
const GROUP_FILES: usize = 512;
const GROUP_PHOTOGRAPHS: usize = 64;
/// Pictures that cannot be used and are named one by one.
const MOST_REFUSALS: usize = 10;
/// Maximum bytes of files from an archive that are held before decoding.
const GROUP_BYTES: usize = 32 << 20;

/// Seed of the order of imported images; another value gives another data set.
const SHUFFLE_SEED: u64 = 10;
/// Numbers of the generator's streams that order the splits: none of training's.
const TRAIN_STREAM: u32 = 1 << 19;
const TEST_STREAM: u32 = TRAIN_STREAM + 1;

/// Phase of an [`import`](super::import()).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportPhase {
    /// Reading and decoding images.
    Decode,
    /// Writing the batch files.
    Write,
}

/// Progress of an [`import`](super::import()) or of the reading of class folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// The phase.
    pub phase: ImportPhase,
    /// Images done in this phase.
    pub done: u64,
    /// Images this phase has in all; unknown while an archive is read.
    pub total: Option<u64>,
}

/// Bounds on what an untrusted source may cost.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// The accepted picture sizes.
    pub(super) sizes: PictureSize,
    /// The shape that they are resized to.
    pub(super) shape: ImageShape,
    /// Bytes of an image file.
    pub(super) file_bytes: u64,
    /// Images of a split.
    pub(super) images: u64,
    /// Classes.
    pub(super) classes: usize,
    /// Bytes an archive unpacks to.
    pub(super) archive_bytes: u64,
}

impl Limits {
    /// The limits for images of this shape, with the classes of the binary layout.
    pub(super) fn of(sizes: PictureSize, shape: ImageShape) -> Self {
        let file_bytes = match sizes {
            PictureSize::Exact => 4 << 20,
            PictureSize::Any => MAX_FILE_BYTES,
        };
        Self { sizes, shape, file_bytes, images: MAX_IMAGES, classes: MAX_CLASSES, archive_bytes: 16 << 30 }
    }
}

/// Source of a file's bytes.
pub(super) enum Content {
    /// Already read, from an archive.
    Bytes(Vec<u8>),
    /// Still in a file, to be read by the thread that decodes it.
    File(PathBuf),
}

/// An image file that is not yet decoded.
struct Pending {
    /// Its name in error messages.
    file: String,
    place: Place,
    content: Content,
}

/// The images of one split, in the order of reading.
#[derive(Default)]
struct Gathered {
    /// Class, file name and position in `images`.
    places: Vec<(String, String, usize)>,
    /// The planes of each.
    images: Vec<Vec<u8>>,
}

/// Collects the files of one source, in any order.
pub(super) struct Collector<'a> {
    source: &'a Path,
    limits: &'a Limits,
    progress: &'a dyn Fn(ImportProgress),
    /// Images the source has in all, once that is known.
    pub(super) total: Option<u64>,
    top: Option<String>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    train: Gathered,
    test: Gathered,
    skipped: u64,
    first_skipped: Option<String>,
    /// The errors of pictures that cannot be used, the first few of them.
    refused: Vec<DataError>,
    refused_count: usize,
}

impl<'a> Collector<'a> {
    pub(super) fn new(source: &'a Path, limits: &'a Limits, progress: &'a dyn Fn(ImportProgress)) -> Self {
        Self {
            source,
            limits,
            progress,
            total: None,
            top: None,
            pending: Vec::new(),
            pending_bytes: 0,
            train: Gathered::default(),
            test: Gathered::default(),
            skipped: 0,
            first_skipped: None,
            refused: Vec::new(),
            refused_count: 0,
        }
    }

    /// Says whether the file at `path`, relative to the source and with `/`
    /// between its parts, is an image to hand to [`Collector::push`].
    pub(super) fn meet(&mut self, path: &str) -> Result<Option<Place>, DataError> {
        match sort_out(path) {
            Met::Image { top, place } => {
                let first = self.top.get_or_insert_with(|| top.clone());
                if *first != top {
                    return Err(DataError::TwoTrees { path: self.source.into(), first: first.clone(), second: top });
                }
                if check_class_names(std::slice::from_ref(&place.class)).is_err() {
                    let folder = self.source.join(path);
                    return Err(DataError::ClassFolderName { path: folder.parent().unwrap_or(&folder).into() });
                }
                return Ok(Some(place));
            }
            Met::Other => self.skip(path),
            Met::Hidden => {}
        }
        Ok(None)
    }

    /// Counts a file that cannot be an image.
    pub(super) fn skip(&mut self, path: &str) {
        self.skipped += 1;
        self.first_skipped.get_or_insert_with(|| path.to_owned());
    }

    /// The error for `count` images, if they do not fit into memory.
    pub(in crate::data) fn check_memory(&self, images: usize) -> Result<(), DataError> {
        check_memory(images as u64, self.limits.shape)
    }

    /// The error for a file of `size` bytes, if that is too large.
    pub(super) fn check_size(&self, file: &str, size: u64) -> Result<(), DataError> {
        let limit = self.limits.file_bytes;
        if size <= limit {
            return Ok(());
        }
        Err(DataError::FileTooLarge { file: file.to_owned(), size, limit })
    }

    /// Takes an image, which errors will call `file`.
    pub(super) fn push(&mut self, file: String, place: Place, content: Content) -> Result<(), DataError> {
        if let Content::Bytes(bytes) = &content {
            self.pending_bytes += bytes.len();
        }
        self.pending.push(Pending { file, place, content });
        let group = match self.limits.sizes {
            PictureSize::Exact => GROUP_FILES,
            PictureSize::Any => GROUP_PHOTOGRAPHS,
        };
        if self.pending.len() >= group || self.pending_bytes >= GROUP_BYTES {
            self.decode_pending()?;
        }
        Ok(())
    }

    fn decode_pending(&mut self) -> Result<(), DataError> {
        let limits = self.limits;
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let decoded: Vec<_> = pending.par_iter().map(|image| load(image, limits)).collect();
        // In order, so that the same one of several errors is always reported.
        for (image, pixels) in pending.into_iter().zip(decoded) {
            let split = image.place.split;
            let into = match split {
                Split::Train => &mut self.train,
                Split::Test => &mut self.test,
            };
            let index = into.places.len();
            if index as u64 >= self.limits.images {
                return Err(DataError::TooManyImages {
                    path: self.source.into(),
                    split,
                    images: index as u64 + 1,
                    limit: self.limits.images,
                });
            }
            match pixels {
                Ok(pixels) => into.images.push(pixels),
                // The disk's errors end the reading; those of a picture are listed with the others.
                Err(error @ DataError::Io { .. }) => return Err(error),
                Err(error) => {
                    self.refused_count += 1;
                    if self.refused.len() < MOST_REFUSALS {
                        self.refused.push(error);
                    }
                    continue;
                }
            }
            into.places.push((image.place.class, image.place.name, index));
        }
        (self.progress)(ImportProgress {
            phase: ImportPhase::Decode,
            done: (self.train.places.len() + self.test.places.len()) as u64,
            total: self.total,
        });
        Ok(())
    }

    /// The finished set, the number of files skipped, and one of these.
    pub(super) fn finish(mut self) -> Result<(Splits, u64, Option<String>), DataError> {
        self.decode_pending()?;
        match self.refused_count {
            0 => {}
            1 => return Err(self.refused.remove(0)),
            count => return Err(DataError::BadPictures { count, first: self.refused }),
        }
        for (split, gathered) in [(Split::Train, &self.train), (Split::Test, &self.test)] {
            if gathered.places.is_empty() {
                return Err(DataError::NoImages { path: self.source.into(), split });
            }
        }
        let classes = self.train.classes();
        if let Some(&class) = self.test.classes().difference(&classes).next() {
            return Err(DataError::TestOnlyClass { path: self.source.into(), class: class.to_owned() });
        }
        if classes.len() > self.limits.classes {
            return Err(DataError::TooManyClasses { classes: classes.len(), limit: self.limits.classes });
        }
        if let (Some(only), 1) = (classes.first(), classes.len()) {
            return Err(DataError::OneClass { path: self.source.into(), class: (*only).to_owned() });
        }
        let classes: Vec<String> = classes.into_iter().map(str::to_owned).collect();
        let splits = Splits {
            train: self.train.ordered(self.limits.shape, TRAIN_STREAM, &classes)?,
            test: self.test.ordered(self.limits.shape, TEST_STREAM, &classes)?,
            source: self.source.display().to_string(),
        };
        Ok((splits, self.skipped, self.first_skipped))
    }
}

impl Gathered {
    fn classes(&self) -> BTreeSet<&str> {
        self.places.iter().map(|place| place.0.as_str()).collect()
    }

    /// Sorted by class and file name, then shuffled; `stream` keeps the splits
    /// from sharing one permutation.
    fn ordered(mut self, shape: ImageShape, stream: u32, classes: &[String]) -> Result<Dataset, DataError> {
        let mut order: Vec<_> = self.places.iter().collect();
        order.sort();
        order.shuffle(&mut RandomStream::new(SHUFFLE_SEED, stream));
        let mut images = Vec::with_capacity(order.len() * shape.bytes());
        let mut labels = Vec::with_capacity(order.len());
        for (class, _, index) in order {
            // Taken out, so that the images are not in memory twice.
            images.append(&mut std::mem::take(&mut self.images[*index]));
            // The caller's list is sorted and holds every class met.
            labels.push(classes.partition_point(|name| name < class) as u16);
        }
        Dataset::new(shape, images, labels, classes.to_vec())
    }
}

fn load(image: &Pending, limits: &Limits) -> Result<Vec<u8>, DataError> {
    let decode = |bytes: &[u8]| decode_picture(&image.file, bytes, limits.sizes, limits.shape);
    match &image.content {
        Content::Bytes(bytes) => decode(bytes),
        Content::File(path) => {
            let file = File::open(path).map_err(DataError::io("open", path))?;
            decode(&read_within(&image.file, file, limits.file_bytes)?)
        }
    }
}
