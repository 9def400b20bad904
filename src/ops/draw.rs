//! Random shapes and settings for cases, beside those that are listed.

use rand::RngExt;

use crate::ops::Padding;
use crate::ops::random::RandomStream;

/// Number of the generator's stream.
const STREAM: u32 = 1;
/// Counts at which kernels take another way: full vectors, workgroups and tiles, and one more or less.
const EDGES: [usize; 16] = [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 31, 32, 33, 64];

/// Draws what cases are to be made of. Without rounds it draws nothing.
#[derive(Debug)]
pub struct Draw {
    random: RandomStream,
    rounds: usize,
}

impl Draw {
    /// One that draws nothing, so that cases are those that are listed.
    pub fn nothing() -> Self {
        Draw::new(0, 0)
    }

    /// So many rounds of each.
    pub fn new(seed: u64, rounds: usize) -> Self {
        Draw { random: RandomStream::new(seed, STREAM), rounds }
    }

    /// What `draw` draws, once a round.
    pub fn each<T>(&mut self, draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        self.times(1, draw)
    }

    /// What `draw` draws, several times a round: for operations with many ways through their kernels.
    pub fn times<T>(&mut self, times: usize, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..times * self.rounds).map(|_| draw(self)).collect()
    }

    /// A number from 1 to `most`, every other time one at which kernels may take another way.
    pub fn count(&mut self, most: usize) -> usize {
        let edges = EDGES.iter().filter(|edge| **edge <= most).count();
        match self.random.random_bool(0.5) {
            true => EDGES[self.random.random_range(0..edges)],
            false => self.random.random_range(1..=most),
        }
    }

    /// The same for vectors of elements: up to some workgroups.
    pub fn elements(&mut self) -> usize {
        self.count(9) * self.count(600)
    }

    /// Images `[number, height, width, channels]`.
    pub fn images(&mut self, most_side: usize, most_channels: usize) -> [usize; 4] {
        [self.count(4), self.count(most_side), self.count(most_side), self.count(most_channels)]
    }

    /// A padding of windows with this many pixels on a side.
    pub fn padding(&mut self, [kernel_h, kernel_w]: [usize; 2]) -> Padding {
        let mut below = |kernel: usize| self.random.random_range(0..kernel);
        match below(4) {
            0 => Padding::Valid,
            1 => Padding::Same,
            2 => Padding::Explicit(below(kernel_h.min(kernel_w))),
            _ => Padding::Sides {
                top: below(kernel_h),
                bottom: below(kernel_h),
                left: below(kernel_w),
                right: below(kernel_w),
            },
        }
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())]
    }
}
