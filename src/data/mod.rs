//! Image data sets: folders of images, the CIFAR binary layout, its import, and a built-in synthetic set.
//!
//! An image is a plane of bytes for each channel, gray or red, green and blue in this order, each row by row from the top
//! left: [`ImageShape::bytes`] bytes in all.

#[cfg(feature = "pictures")]
mod archive;
mod cifar;
#[cfg(feature = "pictures")]
mod class_folders;
#[cfg(feature = "pictures")]
mod collect;
#[cfg(feature = "download")]
mod download;
mod error;
#[cfg(feature = "pictures")]
mod import;
mod info;
#[cfg(feature = "pictures")]
mod picture;
mod planes;
#[cfg(feature = "download")]
mod published;
pub mod synthetic;
#[cfg(feature = "pictures")]
mod tree;
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
mod untrusted;
#[cfg(feature = "pictures")]
mod walk;

pub use cifar::{load_folder, write_folder};
#[cfg(feature = "pictures")]
pub use class_folders::{Loaded, Note, load, load_files};
#[cfg(feature = "pictures")]
pub use collect::{ImportPhase, ImportProgress};
#[cfg(feature = "download")]
pub use download::{
    DownloadError, DownloadEvent, DownloadSummary, OfficialSet, RetryPolicy, Source as DownloadSource, download,
};
pub use error::DataError;
#[cfg(feature = "pictures")]
pub use import::{ImportSummary, import};
pub use info::{ClassCount, DataInfo, Duplicates};
#[cfg(feature = "report")]
pub(crate) use picture::to_picture;
#[cfg(feature = "pictures")]
pub use picture::{PictureSize, load_picture, pictures_below, read_picture};
#[cfg(feature = "download")]
pub use published::{FileState, FileSum, file_sums};
#[cfg(all(feature = "formats", feature = "pictures", any(test, fuzzing)))]
pub(crate) use untrusted::READERS;

#[cfg(feature = "pictures")]
use crate::parallel::*;
use crate::tensor::ImageShape;
use crate::tensor::cpu::available_memory_bytes;
use std::fmt;

/// Maximum number of classes of a network.
pub(crate) const MOST_CLASSES: usize = 1000;

/// The class names of CIFAR-10, in label order.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// One of the two splits of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// The images a network is trained on.
    Train,
    /// The images it is tested on.
    Test,
}

impl Split {
    /// The name of the split's folder in a tree of images.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "test",
        }
    }
}

/// The names of a folder of training images, in lower case.
#[cfg(feature = "pictures")]
const TRAIN_FOLDERS: [&str; 2] = ["train", "training"];
/// The names of a folder of test images, in lower case; if there are several, the first is used.
#[cfg(feature = "pictures")]
const TEST_FOLDERS: [&str; 6] = ["test", "testing", "val", "valid", "validation", "eval"];

#[cfg(feature = "pictures")]
impl Split {
    /// The split that a folder of this name holds, and the rank among such names.
    fn of_folder(name: &str) -> Option<(Self, usize)> {
        let name = name.to_lowercase();
        let rank = |names: &[&str]| names.iter().position(|known| name == *known);
        rank(&TRAIN_FOLDERS).map(|rank| (Split::Train, rank)).or(rank(&TEST_FOLDERS).map(|rank| (Split::Test, rank)))
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which labels of a set with two for each image are used, as in CIFAR-100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelSet {
    /// Those of the classes; the only ones of most sets.
    #[default]
    Fine,
    /// Those of the superclasses.
    Coarse,
}

/// Labeled images, all of one shape.
///
/// Holds by construction: there are as many images as labels, every label
/// names a class, and the class names are distinct single-line texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Dataset {
    shape: ImageShape,
    images: Vec<u8>,
    labels: Vec<u16>,
    class_names: Vec<String>,
}

impl Dataset {
    /// Creates a data set from its parts, which are checked.
    ///
    /// `images` holds the planes of an image of this shape for each of `labels`; label `k`
    /// means `class_names[k]`.
    ///
    /// # Errors
    ///
    /// [`DataError::ImageBytes`] when the two lengths disagree, [`DataError::UnknownLabel`] for a label without a name, and
    /// [`DataError::ClassNames`] for names that are not unique or do not fit on one line each.
    pub fn new(
        shape: ImageShape,
        images: Vec<u8>,
        labels: Vec<u16>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        if labels.len().checked_mul(shape.bytes()) != Some(images.len()) {
            return Err(DataError::ImageBytes { bytes: images.len(), labels: labels.len(), shape });
        }
        check_class_names(&class_names).map_err(|reason| DataError::ClassNames { reason })?;
        let classes = class_names.len();
        if let Some(record) = labels.iter().position(|&l| usize::from(l) >= classes) {
            return Err(DataError::UnknownLabel { record, label: labels[record], classes });
        }
        Ok(Self::from_parts(shape, images, labels, class_names))
    }

    /// Creates a data set from parts that are known to pass the checks of [`Dataset::new`].
    fn from_parts(shape: ImageShape, images: Vec<u8>, labels: Vec<u16>, class_names: Vec<String>) -> Self {
        debug_assert_eq!(images.len(), labels.len() * shape.bytes());
        Self { shape, images, labels, class_names }
    }

    /// Height, width and channels of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The planes of image `index`, or `None` past the end.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.images.chunks_exact(self.shape.bytes()).nth(index)
    }

    /// All images, one after the other.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// The label of each image.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The name of each class, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The number of classes, with or without images.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// The number of images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.num_classes()];
        self.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
        counts
    }

    /// Moves the last `count` images to a new data set, or all but one if there are fewer.
    #[must_use]
    pub fn split_off(&mut self, count: usize) -> Self {
        let at = self.len().saturating_sub(count).max(1).min(self.len());
        let labels = self.labels.split_off(at);
        let images = self.images.split_off(at * self.shape.bytes());
        Self::from_parts(self.shape, images, labels, self.class_names.clone())
    }

    /// The images of this data set and then those of another.
    ///
    /// # Errors
    ///
    /// [`DataError::ClassNames`] if they have other classes, [`DataError::ShapesDiffer`] if images of another shape.
    pub fn joined(mut self, other: Self) -> Result<Self, DataError> {
        if self.shape != other.shape {
            return Err(DataError::ShapesDiffer { first: self.shape, second: other.shape });
        }
        if self.class_names != other.class_names {
            let (mine, theirs) = (self.class_names.join(", "), other.class_names.join(", "));
            return Err(DataError::ClassNames { reason: format!("{mine} are not {theirs}") });
        }
        self.images.extend(other.images);
        self.labels.extend(other.labels);
        Ok(self)
    }

    /// The mean and standard deviation of each channel over all pixels, as fractions of the full range; a standard deviation is
    /// never zero.
    pub fn color_statistics(&self) -> (Vec<f64>, Vec<f64>) {
        let mut sums = vec![(0_u64, 0_u64); self.shape.channels()];
        for image in self.images.chunks_exact(self.shape.bytes()) {
            for (plane, (sum, squares)) in image.chunks_exact(self.shape.pixels()).zip(&mut sums) {
                *sum += plane.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                *squares += plane.iter().map(|&byte| u64::from(byte) * u64::from(byte)).sum::<u64>();
            }
        }
        let count = (self.len() * self.shape.pixels()).max(1) as f64;
        let variance = |(sum, squares): (u64, u64)| squares as f64 / count - (sum as f64 / count).powi(2);
        let statistics = sums.into_iter().map(|sums| {
            let deviation = variance(sums).sqrt().max(1.0);
            (sums.0 as f64 / count / 255.0, deviation / 255.0)
        });
        statistics.unzip()
    }

    /// The same images in another shape: scaled, and converted between color and gray, as by [`load_picture`].
    ///
    /// # Errors
    ///
    /// [`DataError::Memory`] if they do not fit into memory in that shape.
    #[cfg(feature = "pictures")]
    pub fn fitted(self, shape: ImageShape) -> Result<Self, DataError> {
        if self.shape == shape {
            return Ok(self);
        }
        check_memory(self.len() as u64, shape)?;
        let mut images = vec![0; self.len() * shape.bytes()];
        let pairs = images.par_chunks_exact_mut(shape.bytes()).zip(self.images.par_chunks_exact(self.shape.bytes()));
        pairs.for_each(|(to, from)| to.copy_from_slice(&picture::fitted(from, self.shape, shape)));
        Ok(Self::from_parts(shape, images, self.labels, self.class_names))
    }

    /// Keeps the first `count` images, or all of them if there are fewer.
    #[must_use]
    pub fn truncated(mut self, count: usize) -> Self {
        self.labels.truncate(count);
        self.images.truncate(self.labels.len() * self.shape.bytes());
        self
    }
}

/// Prints the sizes only, not the pixels.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("len", &self.len())
            .field("shape", &self.shape)
            .field("class_names", &self.class_names)
            .finish_non_exhaustive()
    }
}

/// A training set and the test set that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// The images to train on.
    pub train: Dataset,
    /// The images to test on.
    pub test: Dataset,
    /// Source of the images, for reports: a folder or a description.
    pub source: String,
}

#[cfg(feature = "pictures")]
impl Splits {
    /// Both with their images in another shape, as [`Dataset::fitted`] makes it.
    ///
    /// # Errors
    ///
    /// As [`Dataset::fitted`].
    pub fn fitted(self, shape: ImageShape) -> Result<Self, DataError> {
        Ok(Splits { train: self.train.fitted(shape)?, test: self.test.fitted(shape)?, source: self.source })
    }
}

/// Fails if two copies of `count` images of this shape do not fit into memory; users of the images keep a copy.
pub(crate) fn check_memory(images: u64, shape: ImageShape) -> Result<(), DataError> {
    let (needed, available) = (2 * u128::from(images) * shape.bytes() as u128, available_memory_bytes());
    if needed > u128::from(available) {
        let mib = |bytes: u128| u64::try_from(bytes >> 20).unwrap_or(u64::MAX);
        let (needed_mib, available_mib) = (mib(needed), mib(available.into()));
        return Err(DataError::Memory { images, shape, needed_mib, available_mib });
    }
    Ok(())
}

/// Checks a list of class names.
pub(crate) fn check_class_names(names: &[String]) -> Result<(), String> {
    if names.is_empty() {
        return Err("there are none".into());
    }
    if names.len() > usize::from(u16::MAX) + 1 {
        return Err(format!("there are {}, more than labels", names.len()));
    }
    let mut seen = std::collections::HashSet::new();
    for (label, name) in names.iter().enumerate() {
        if name.is_empty() || name.trim() != name || name.contains(char::is_control) {
            return Err(format!("name {label} ({name:?}) is empty, has blanks at an end, or holds control characters"));
        }
        if !seen.insert(name) {
            return Err(format!("{name:?} names two classes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    /// Two rows of three gray pixels.
    fn small() -> ImageShape {
        ImageShape::new(2, 3, 1).unwrap()
    }

    fn three() -> Dataset {
        let images = (0..3).flat_map(|i| vec![i; small().bytes()]).collect();
        Dataset::new(small(), images, vec![1, 0, 1], names(&["a", "b"])).unwrap()
    }

    #[test]
    fn gives_back_what_it_took() {
        let set = three();
        assert_eq!((set.len(), set.num_classes()), (3, 2));
        assert_eq!(set.image(2), Some(&vec![2u8; small().bytes()][..]));
        assert_eq!(set.image(3), None);
        assert_eq!(set.labels(), [1, 0, 1]);
    }

    #[test]
    fn truncation_keeps_the_first() {
        let set = three().truncated(2);
        assert_eq!(set.labels(), [1, 0]);
        assert_eq!(set.images().len(), 2 * small().bytes());
        assert_eq!(set.clone().truncated(99), set);
        assert!(set.truncated(0).is_empty());
    }

    #[test]
    fn refuses_a_length_that_does_not_fit() {
        let error = Dataset::new(small(), vec![0; small().bytes() + 1], vec![0], names(&["a"])).unwrap_err();
        assert!(matches!(error, DataError::ImageBytes { labels: 1, .. }));
        assert_eq!(error.to_string(), "7 image bytes are not 1 image of 2×3×1");
    }

    #[test]
    fn refuses_a_label_without_a_name() {
        let error = Dataset::new(small(), vec![0; 2 * small().bytes()], vec![0, 1], names(&["a"])).unwrap_err();
        assert_eq!(error.to_string(), "image 1 has label 1, but there is 1 class name");
    }

    #[test]
    fn refuses_names_that_would_not_survive_the_file() {
        for bad in [&["a", "a"][..], &[""], &["a "], &["a\nb"], &[]] {
            let result = Dataset::new(small(), vec![], vec![], names(bad));
            assert!(matches!(result, Err(DataError::ClassNames { .. })), "{bad:?}");
        }
    }

    #[test]
    fn statistics_are_those_of_each_channel() {
        let shape = ImageShape::new(1, 2, 3).unwrap();
        let images = vec![0, 255, 51, 51, 102, 0, 0, 255, 51, 51, 0, 102];
        let (mean, deviation) = Dataset::new(shape, images, vec![0, 0], names(&["a"])).unwrap().color_statistics();
        let close = |found: &[f64], expected: &[f64]| {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9)
        };
        assert!(close(&mean, &[0.5, 0.2, 0.2]), "{mean:?}");
        assert!(close(&deviation, &[0.5, 1.0 / 255.0, 0.2]), "{deviation:?}");
        let (mean, deviation) = three().color_statistics();
        assert!(close(&mean, &[1.0 / 255.0]) && deviation.len() == 1, "{mean:?} {deviation:?}");
    }

    #[test]
    fn images_in_another_shape_keep_their_order_and_labels() {
        let shape = ImageShape::new(5, 4, 3).unwrap();
        let set = three().fitted(shape).unwrap();
        assert_eq!((set.shape(), set.labels()), (shape, &[1, 0, 1][..]));
        assert!((0..3).all(|index| set.image(index) == Some(&vec![index as u8; 60][..])));
        assert_eq!(three().fitted(small()).unwrap(), three());
        assert!(matches!(set.joined(three()), Err(DataError::ShapesDiffer { .. })));
        let all = three().joined(three()).unwrap();
        assert_eq!((all.len(), all.clone().split_off(2).image(0)), (6, three().image(1)));
    }

    #[test]
    fn what_does_not_fit_into_memory_is_refused() {
        check_memory(10, small()).unwrap();
        let error = check_memory(u64::MAX, ImageShape::CIFAR).unwrap_err();
        assert!(error.to_string().contains("images of 32×32×3 need") && error.hint().is_some(), "{error}");
    }

    #[test]
    fn class_names_of_cifar_10_are_sorted() {
        assert!(CIFAR10_CLASSES.is_sorted());
    }
}
