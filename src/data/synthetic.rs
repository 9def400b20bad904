//! The built-in practice set: ten shapes on cluttered grounds, drawn by the
//! program, so that training can be tried without any download.
//!
//! The class is carried by the outline. Place, size, turn and polarity are
//! random, and color tells the class in half of the images at most, so a
//! linear classifier on the pixels does poorly while a small convolutional
//! network does well.
//!
//! Every image is a function of `(seed, split, index)` in integer arithmetic:
//! the bytes are the same on every platform, and the first `n` images do not
//! depend on how many are asked for. Their checksum is pinned by a test; why
//! that is enough is said at [`RandomStream`].

mod draw;
mod shape;

use super::{Dataset, IMAGE_BYTES, Splits};
use crate::ops::random::RandomStream;
use rayon::prelude::*;
use shape::Shape;

/// Training images of the default set.
pub const TRAIN: usize = 10_000;

/// Test images of the default set.
pub const TEST: usize = 2_000;

/// Seed of the default set.
pub const SEED: u64 = 0;

/// Numbers of the generator's streams that training images and test images are drawn from: none of training's.
const TRAIN_STREAM: u32 = 1 << 18;
const TEST_STREAM: u32 = TRAIN_STREAM + 1;

/// The class names, in label order.
pub fn class_names() -> Vec<String> {
    Shape::ALL.iter().map(|s| s.name().to_owned()).collect()
}

/// Draws `train` and `test` images of the set that `seed` names.
///
/// Image `i` of either split has label `i % 10`, so any prefix is balanced to
/// within one image. The two splits never share random numbers. An image takes
/// [`IMAGE_BYTES`] of memory.
pub fn generate(train: usize, test: usize, seed: u64) -> Splits {
    Splits {
        train: split(train, seed, TRAIN_STREAM),
        test: split(test, seed, TEST_STREAM),
        source: format!("synthetic shapes (seed {seed})"),
    }
}

fn split(count: usize, seed: u64, stream: u32) -> Dataset {
    let label = |index: usize| index % Shape::ALL.len();
    let mut images = vec![0u8; count * IMAGE_BYTES];
    let (chunks, _) = images.as_chunks_mut::<IMAGE_BYTES>();
    chunks.par_iter_mut().enumerate().for_each(|(index, image)| {
        let mut rng = RandomStream::indexed(seed, stream, index as u32);
        draw::draw(Shape::ALL[label(index)], &mut rng, image);
    });
    let labels = (0..count).map(|index| label(index) as u16).collect();
    Dataset::from_parts(images, labels, class_names())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures measured on the set mean something only as long as it stays
    /// the same: change these on purpose or not at all, and count up
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
            sets.iter().flat_map(|set| set.images().chunks_exact(IMAGE_BYTES)).collect();
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
        let Dataset { images, labels, class_names } = set.train.clone();
        assert_eq!(Dataset::new(images, labels, class_names).unwrap(), set.train);
    }

    #[test]
    fn no_images_are_no_trouble() {
        let set = generate(0, 0, 0);
        assert!(set.train.is_empty() && set.test.is_empty());
        assert_eq!(set.train.num_classes(), 10);
    }
}
