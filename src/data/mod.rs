//! Image sets: folders of images, the CIFAR binary layout, its import, and a built-in practice set.
//!
//! An image is [`IMAGE_BYTES`] bytes: the planes red, green, blue in this
//! order, each of [`IMAGE_SIDE`] rows of [`IMAGE_SIDE`] bytes from the top left.

mod cifar;
mod class_folders;
mod collect;
mod error;
mod import;
mod picture;
pub mod synthetic;
mod walk;

pub use cifar::{load_folder, write_folder};
pub use class_folders::{Loaded, Note, load};
pub use collect::{ImportPhase, ImportProgress};
pub use error::DataError;
pub use import::{ImportSummary, import};
pub use picture::{PictureSize, load_picture, pictures_below, read_picture};

use std::fmt;

/// Width and height of an image, in pixels.
pub const IMAGE_SIDE: usize = 32;

/// Bytes of an image: three planes of one byte a pixel.
pub const IMAGE_BYTES: usize = 3 * IMAGE_SIDE * IMAGE_SIDE;

/// The most classes that a network is made for.
pub(crate) const MOST_CLASSES: usize = 1000;

/// The class names of CIFAR-10, in label order.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// One of the two halves of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// The images a network is trained on.
    Train,
    /// The images it is measured on.
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

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Labelled images, all of 32×32 pixels.
///
/// Holds by construction: there are as many images as labels, every label
/// names a class, and the class names are distinct single-line texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Dataset {
    images: Vec<u8>,
    labels: Vec<u16>,
    class_names: Vec<String>,
}

impl Dataset {
    /// Checks and takes over the parts of a data set.
    ///
    /// `images` holds [`IMAGE_BYTES`] bytes for each of `labels`; label `k`
    /// means `class_names[k]`.
    ///
    /// # Errors
    ///
    /// [`DataError::ImageBytes`] when the two lengths disagree,
    /// [`DataError::UnknownLabel`] for a label without a name, and
    /// [`DataError::ClassNames`] for names that cannot be told apart or kept
    /// one on a line.
    pub fn new(images: Vec<u8>, labels: Vec<u16>, class_names: Vec<String>) -> Result<Self, DataError> {
        if labels.len().checked_mul(IMAGE_BYTES) != Some(images.len()) {
            return Err(DataError::ImageBytes { bytes: images.len(), labels: labels.len() });
        }
        check_class_names(&class_names).map_err(|reason| DataError::ClassNames { reason })?;
        let classes = class_names.len();
        if let Some(record) = labels.iter().position(|&l| usize::from(l) >= classes) {
            return Err(DataError::UnknownLabel { record, label: labels[record], classes });
        }
        Ok(Self::from_parts(images, labels, class_names))
    }

    /// Takes over parts that are known to satisfy what [`Dataset::new`] checks.
    fn from_parts(images: Vec<u8>, labels: Vec<u16>, class_names: Vec<String>) -> Self {
        debug_assert_eq!(images.len(), labels.len() * IMAGE_BYTES);
        Self { images, labels, class_names }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The [`IMAGE_BYTES`] bytes of image `index`, or `None` past the end.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.images.chunks_exact(IMAGE_BYTES).nth(index)
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

    /// Takes the last `count` images out into a data set of their own, or all but one where there are fewer.
    #[must_use]
    pub fn split_off(&mut self, count: usize) -> Self {
        let at = self.len().saturating_sub(count).max(1).min(self.len());
        let labels = self.labels.split_off(at);
        Self::from_parts(self.images.split_off(at * IMAGE_BYTES), labels, self.class_names.clone())
    }

    /// The images of this data set and then those of another.
    ///
    /// # Errors
    ///
    /// [`DataError::ClassNames`] if they have other classes.
    pub fn joined(mut self, other: Self) -> Result<Self, DataError> {
        if self.class_names != other.class_names {
            let (mine, theirs) = (self.class_names.join(", "), other.class_names.join(", "));
            return Err(DataError::ClassNames { reason: format!("{mine} are not {theirs}") });
        }
        self.images.extend(other.images);
        self.labels.extend(other.labels);
        Ok(self)
    }

    /// The mean and standard deviation of each color over all pixels, as shares of the full range; a deviation is never zero.
    pub fn color_statistics(&self) -> ([f64; 3], [f64; 3]) {
        let mut sums = [(0_u64, 0_u64); 3];
        for image in self.images.chunks_exact(IMAGE_BYTES) {
            for (plane, (sum, squares)) in image.chunks_exact(IMAGE_SIDE * IMAGE_SIDE).zip(&mut sums) {
                *sum += plane.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                *squares += plane.iter().map(|&byte| u64::from(byte) * u64::from(byte)).sum::<u64>();
            }
        }
        let count = (self.len() * IMAGE_SIDE * IMAGE_SIDE).max(1) as f64;
        let mean = sums.map(|(sum, _)| sum as f64 / count);
        let variance = |(sum, squares): (u64, u64)| squares as f64 / count - (sum as f64 / count).powi(2);
        (mean.map(|mean| mean / 255.0), sums.map(|sums| variance(sums).sqrt().max(1.0) / 255.0))
    }

    /// Keeps the first `count` images, or all of them where there are fewer.
    #[must_use]
    pub fn truncated(mut self, count: usize) -> Self {
        self.labels.truncate(count);
        self.images.truncate(self.labels.len() * IMAGE_BYTES);
        self
    }
}

/// Tells the sizes only: the pixels would fill many screens.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("len", &self.len())
            .field("class_names", &self.class_names)
            .finish_non_exhaustive()
    }
}

/// A training set and the test set that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// The images to train on.
    pub train: Dataset,
    /// The images to measure on.
    pub test: Dataset,
    /// Where the images come from, for reports: a folder or a description.
    pub source: String,
}

/// Says what is wrong with a list of class names, if anything is.
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

    fn three() -> Dataset {
        let images = (0..3).flat_map(|i| vec![i; IMAGE_BYTES]).collect();
        Dataset::new(images, vec![1, 0, 1], names(&["a", "b"])).unwrap()
    }

    #[test]
    fn gives_back_what_it_took() {
        let set = three();
        assert_eq!((set.len(), set.num_classes()), (3, 2));
        assert_eq!(set.image(2), Some(&[2u8; IMAGE_BYTES][..]));
        assert_eq!(set.image(3), None);
        assert_eq!(set.labels(), [1, 0, 1]);
    }

    #[test]
    fn truncation_keeps_the_first() {
        let set = three().truncated(2);
        assert_eq!(set.labels(), [1, 0]);
        assert_eq!(set.images().len(), 2 * IMAGE_BYTES);
        assert_eq!(set.clone().truncated(99), set);
        assert!(set.truncated(0).is_empty());
    }

    #[test]
    fn refuses_a_length_that_does_not_fit() {
        let error = Dataset::new(vec![0; IMAGE_BYTES + 1], vec![0], names(&["a"])).unwrap_err();
        assert!(matches!(error, DataError::ImageBytes { labels: 1, .. }));
    }

    #[test]
    fn refuses_a_label_without_a_name() {
        let error = Dataset::new(vec![0; 2 * IMAGE_BYTES], vec![0, 1], names(&["a"])).unwrap_err();
        assert_eq!(error.to_string(), "image 1 has label 1, but there is 1 class name");
    }

    #[test]
    fn refuses_names_that_would_not_survive_the_file() {
        for bad in [&["a", "a"][..], &[""], &["a "], &["a\nb"], &[]] {
            let result = Dataset::new(vec![], vec![], names(bad));
            assert!(matches!(result, Err(DataError::ClassNames { .. })), "{bad:?}");
        }
    }

    #[test]
    fn image_bytes_are_those_of_the_format() {
        assert_eq!(IMAGE_BYTES, 3072);
        assert!(CIFAR10_CLASSES.is_sorted());
    }
}
