//! What a data set holds: images of each class, statistics of pixels, and images that occur more than once.

use super::{Dataset, Splits};
use crate::tensor::ImageShape;
use serde::Serialize;
use std::collections::HashMap;

/// A description of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataInfo {
    /// Source of the images.
    pub source: String,
    /// Height, width and channels of the images.
    pub shape: ImageShape,
    /// Images of each class.
    pub classes: Vec<ClassCount>,
    /// Mean of each channel over the pixels of the training images, as fractions of the full range.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel.
    pub standard_deviation: Vec<f64>,
    /// Images that occur more than once.
    pub duplicates: Duplicates,
}

/// The images of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
}

/// Numbers of images whose pixels are all those of another image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Training images that are copies of an earlier training image.
    pub within_train: usize,
    /// Test images that are copies of an earlier test image.
    pub within_test: usize,
    /// Test images that are copies of a training image: results on them say little.
    pub test_in_train: usize,
    /// Those of them whose class is another than that of the first such training image.
    pub test_in_train_of_other_class: usize,
}

impl DataInfo {
    /// Describes a data set.
    pub fn of(splits: &Splits) -> Self {
        let Splits { train, test, source } = splits;
        let (mean, standard_deviation) = train.color_statistics();
        let (in_train, in_test) = (train.class_counts(), test.class_counts());
        let classes = train.class_names().iter().zip(in_train.into_iter().zip(in_test));
        let classes = classes.map(|(name, (train, test))| ClassCount { name: name.clone(), train, test });
        DataInfo {
            source: source.clone(),
            shape: train.shape(),
            classes: classes.collect(),
            mean,
            standard_deviation,
            duplicates: Duplicates::of(train, test),
        }
    }
}

impl Duplicates {
    /// Compares all images of two sets of the same shape.
    pub fn of(train: &Dataset, test: &Dataset) -> Self {
        let (in_train, in_test) = (first_labels(train), first_labels(test));
        let images = test.images().chunks_exact(test.shape().bytes()).zip(test.labels());
        let copies: Vec<_> = images.filter_map(|(image, label)| Some((in_train.get(image)?, label))).collect();
        Duplicates {
            within_train: train.len() - in_train.len(),
            within_test: test.len() - in_test.len(),
            test_in_train: copies.len(),
            test_in_train_of_other_class: copies.iter().filter(|(first, label)| first != label).count(),
        }
    }
}

/// The distinct images of a set, each with the label of the first of its copies.
fn first_labels(set: &Dataset) -> HashMap<&[u8], u16> {
    let mut first = HashMap::new();
    for (image, &label) in set.images().chunks_exact(set.shape().bytes()).zip(set.labels()) {
        first.entry(image).or_insert(label);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(images: &[(u8, u16)]) -> Dataset {
        let shape = ImageShape::new(1, 2, 1).unwrap();
        let (pixels, labels) = images.iter().map(|&(value, label)| ([value, 0], label)).unzip::<_, _, Vec<_>, Vec<_>>();
        Dataset::new(shape, pixels.concat(), labels, vec!["a".into(), "b".into()]).unwrap()
    }

    #[test]
    fn copies_are_counted_within_and_between_the_splits() {
        let train = set(&[(1, 0), (2, 0), (1, 1), (3, 1), (1, 0)]);
        let test = set(&[(1, 1), (4, 0), (4, 1), (3, 1), (2, 1)]);
        let info = DataInfo::of(&Splits { train, test, source: "here".into() });
        let expected =
            Duplicates { within_train: 2, within_test: 1, test_in_train: 3, test_in_train_of_other_class: 2 };
        assert_eq!(info.duplicates, expected);
        let counted: Vec<_> = info.classes.iter().map(|class| (class.name.as_str(), class.train, class.test)).collect();
        assert_eq!(counted, [("a", 3, 1), ("b", 2, 4)]);
        assert_eq!((info.mean.len(), info.standard_deviation.len()), (1, 1));
    }
}
