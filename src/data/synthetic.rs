//! The built-in synthetic set: ten shapes on cluttered backgrounds, drawn by the program, to test training without a download.
//!
//! The outline determines the class. Position, size, rotation and polarity are random, and color indicates the class in at most
//! half of the images, so a linear classifier on the pixels does poorly while a small convolutional network does well.
//!
//! Every image is a function of `(seed, split, index)` in integer arithmetic: the bytes are the same on every platform, and the
//! first `n` images do not depend on the number requested. A test compares their checksum; see [`RandomStream`].

mod draw;
mod shape;

use super::{DataError, Dataset, Splits, check_memory};
use crate::ops::random::RandomStream;
use crate::parallel::*;
use crate::tensor::ImageShape;
use shape::Shape;

/// Training images of the default set.
pub const TRAIN: usize = 10_000;

/// Test images of the default set.
pub const TEST: usize = 2_000;

/// Seed of the default set.
pub const SEED: u64 = 0;

/// Numbers of the generator's streams that training images and test images are drawn from; training does not use them.
const TRAIN_STREAM: u32 = 1 << 18;
const TEST_STREAM: u32 = TRAIN_STREAM + 1;

/// The class names, in label order.
pub fn class_names() -> Vec<String> {
    Shape::ALL.iter().map(|s| s.name().to_owned()).collect()
}

/// Draws `train` and `test` images of this shape, of the set that `seed` names.
///
/// Image `i` of either split has label `i % 10`, so any prefix is balanced to
/// within one image. The two splits never share random numbers. In another size
/// everything is drawn in proportion to the shorter side; gray images are the luma of the
/// colored ones.
///
/// # Errors
///
/// [`DataError::Memory`] if the images do not fit into memory.
pub fn generate(shape: ImageShape, train: usize, test: usize, seed: u64) -> Result<Splits, DataError> {
    check_memory((train as u64).saturating_add(test as u64), shape)?;
    Ok(Splits {
        train: split(shape, train, seed, TRAIN_STREAM),
        test: split(shape, test, seed, TEST_STREAM),
        source: format!("synthetic shapes (seed {seed})"),
    })
}

fn split(shape: ImageShape, count: usize, seed: u64, stream: u32) -> Dataset {
    let label = |index: usize| index % Shape::ALL.len();
    let mut images = vec![0u8; count * shape.bytes()];
    images.par_chunks_exact_mut(shape.bytes()).enumerate().for_each(|(index, image)| {
        let mut rng = RandomStream::indexed(seed, stream, index as u32);
        draw::draw(Shape::ALL[label(index)], &mut rng, shape, image);
    });
    let labels = (0..count).map(|index| label(index) as u16).collect();
    Dataset::from_parts(shape, images, labels, class_names())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The set of 32×32 pixels in color.
    fn generate(train: usize, test: usize, seed: u64) -> Splits {
        super::generate(ImageShape::CIFAR, train, test, seed).unwrap()
    }

    /// Published results on the set depend on these values. Change them only deliberately, and increment
    /// [`GENERATOR`](crate::ops::random::GENERATOR) with them.
    #[test]
    fn the_bytes_are_pinned() {
        let set = generate(200, 50, SEED);
        let checksums = [&set.train, &set.test].map(|set| crc32fast::hash(set.images()));
        assert_eq!(checksums, [0x9376_05b3, 0x1498_4068], "{checksums:#x?}");
    }

    #[test]
    fn a_smaller_set_is_the_start_of_a_larger_one() {
        let (small, large) = (generate(20, 10, 5), generate(60, 30, 5));
        assert_eq!(small.train, large.train.truncated(20));
        assert_eq!(small.test, large.test.truncated(10));
    }

    #[test]
    fn seeds_and_splits_share_no_image() {
        let (a, b) = (generate(50, 50, 1), generate(50, 50, 2));
        let sets = [&a.train, &a.test, &b.train, &b.test];
        let images: std::collections::HashSet<&[u8]> =
            sets.iter().flat_map(|set| set.images().chunks_exact(ImageShape::CIFAR.bytes())).collect();
        assert_eq!(images.len(), 200);
    }

    #[test]
    fn classes_are_balanced_and_parts_are_sound() {
        let set = generate(1000, 95, 3);
        for class in 0..10 {
            let count = |labels: &[u16]| labels.iter().filter(|&&l| l == class).count();
            assert_eq!(count(set.train.labels()), 100);
            assert!((9..=10).contains(&count(set.test.labels())));
        }
        let Dataset { shape, images, labels, class_names } = set.train.clone();
        assert_eq!(Dataset::new(shape, images, labels, class_names).unwrap(), set.train);
    }

    #[test]
    fn no_images_are_no_trouble() {
        let set = generate(0, 0, 0);
        assert!(set.train.is_empty() && set.test.is_empty());
        assert_eq!(set.train.num_classes(), 10);
    }

    #[test]
    fn gray_images_are_the_luma_of_colored_ones() {
        for (height, width) in [(32, 32), (48, 40), (1, 1), (5, 64)] {
            let [color, gray] = [3, 1].map(|channels| ImageShape::new(height, width, channels).unwrap());
            let [colored, grayed] = [color, gray].map(|shape| super::generate(shape, 20, 10, 1).unwrap());
            assert_eq!(colored.fitted(gray).unwrap(), grayed);
        }
    }

    #[test]
    fn larger_images_show_the_same_in_proportion() {
        let statistics = |size: usize| {
            let (mean, deviation) =
                super::generate(ImageShape::new(size, size, 3).unwrap(), 500, 0, 1).unwrap().train.color_statistics();
            [mean, deviation].concat()
        };
        let (small, large) = (statistics(32), statistics(96));
        assert!(small.iter().zip(&large).all(|(a, b)| (a - b).abs() < 0.02), "{small:?}, {large:?}");
    }

    #[test]
    fn more_images_than_fit_into_memory_are_refused() {
        let largest = ImageShape::new(4096, 4096, 3).unwrap();
        assert!(matches!(super::generate(largest, 1 << 40, 1, 0), Err(DataError::Memory { .. })));
    }
}
