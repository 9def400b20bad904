//! The counter-based generator that CPU and GPU share; its shader is `shared/threefry.wgsl`.

use std::convert::Infallible;

use crate::error::Result;
use crate::tensor::{DType, Device, Tensor};
use rand::distr::Distribution;
use rand::rand_core::utils::{fill_bytes_via_next_word, next_u64_via_u32};
use rand::{Rng, RngExt, TryRng};

/// Threefry-2x32 with 20 rounds (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011).
pub fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let [[a], [b]] = threefry_lanes(key, counter[0], counter[1]);
    [a, b]
}

/// [`threefry`] of the counters `[first, second]`, `[first + 1, second]` and so on, one a lane.
///
/// Every statement works on all lanes, so that compilers generate vector instructions.
#[inline(always)]
pub(super) fn threefry_lanes<const LANES: usize>(key: [u32; 2], first: u32, second: u32) -> [[u32; LANES]; 2] {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let schedule = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let mut a: [u32; LANES] = std::array::from_fn(|lane| first.wrapping_add(lane as u32).wrapping_add(key[0]));
    let mut b = [second.wrapping_add(key[1]); LANES];
    for group in 0..5 {
        for rotation in ROTATIONS[group % 2] {
            for (a, b) in a.iter_mut().zip(&mut b) {
                *a = a.wrapping_add(*b);
                *b = b.rotate_left(rotation) ^ *a;
            }
        }
        let s = group + 1;
        for (a, b) in a.iter_mut().zip(&mut b) {
            *a = a.wrapping_add(schedule[s % 3]);
            *b = b.wrapping_add(schedule[(s + 1) % 3]).wrapping_add(s as u32);
        }
    }
    [a, b]
}

/// Version of the host's random numbers for a seed: initial weights, the order of an epoch's images, and so on.
///
/// Incremented whenever a seed gives other numbers. Runs store it, so that a run cannot be resumed with a version that draws other
/// numbers.
pub const GENERATOR: u32 = 2;

/// A stream of random numbers for the host: initial weights, the order of images, synthetic images.
///
/// The random bits are this module's. `rand` converts them to numbers in a range and to permutations, and keeps that [the same in
/// all patch releases](https://rust-random.github.io/book/crate-reprod.html) of a minor one and on all platforms; Cargo does not
/// change the minor release by itself. After an upgrade, tests detect changes: each reproducible result (initial weights, the order
/// of an epoch, the synthetic images, the order of imported images) has a test of its checksum. Increment [`GENERATOR`] if new
/// results are accepted.
#[derive(Debug, Clone)]
pub struct RandomStream {
    key: [u32; 2],
    stream: u32,
    block: u32,
    spare: Option<u32>,
}

impl RandomStream {
    /// The stream numbered `stream` of a seed. Streams of one seed are independent of each other.
    pub fn new(seed: u64, stream: u32) -> Self {
        // The key's high word separates host streams from the kernels', which add small numbers to it.
        RandomStream { key: [seed as u32, (seed >> 32) as u32 ^ 0x8000_0000], stream, block: 0, spare: None }
    }

    /// The stream numbered `index` of those that belong to the stream `stream` of a seed, under a key that is drawn from it:
    /// for things of which there are many, such as images.
    pub fn indexed(seed: u64, stream: u32, index: u32) -> Self {
        let parent = RandomStream::new(seed, stream);
        RandomStream { key: threefry(parent.key, [index, stream]), stream: 0, ..parent }
    }
}

impl TryRng for RandomStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        if let Some(word) = self.spare.take() {
            return Ok(word);
        }
        let [word, spare] = threefry(self.key, [self.block, self.stream]);
        self.block = self.block.wrapping_add(1);
        self.spare = Some(spare);
        Ok(word)
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        next_u64_via_u32(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), Infallible> {
        fill_bytes_via_next_word(bytes, || self.try_next_u32())
    }
}

/// The standard normal distribution (Box and Muller, 1958), from two uniform numbers of 24 bits.
#[derive(Debug, Clone, Copy)]
pub struct StandardNormal;

impl Distribution<f32> for StandardNormal {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f32 {
        let radius = (-2.0 * f64::from(1.0 - rng.random::<f32>()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * f64::from(rng.random::<f32>())).cos()) as f32
    }
}

/// Number of distinct values of [`uniform`]; they repeat.
const MOST_DRAWN: usize = 1 << 20;

/// `count` random numbers in [-1, 1), the same for the same stream.
///
/// For operands of timing trials, where drawing all values of a large batch would take longer than the trial.
pub(super) fn uniform(count: usize, stream: u32) -> Vec<f32> {
    let mut random = RandomStream::new(0xc1fa, stream);
    let mut values: Vec<f32> = (0..count.min(MOST_DRAWN)).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
    while values.len() < count {
        values.extend_from_within(..MOST_DRAWN.min(count - values.len()));
    }
    values
}

/// A tensor of [`uniform`] numbers, as its type holds them. On a rehearsal nothing is drawn.
///
/// # Errors
/// If the device cannot hold it.
pub(super) fn uniform_tensor(device: &Device, dtype: DType, shape: &[usize], stream: u32) -> Result<Tensor> {
    let tensor = device.allocate(shape, dtype)?;
    if !matches!(device, Device::Gpu(gpu) if gpu.is_rehearsal()) {
        tensor.write(&uniform(tensor.len(), stream))?;
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 library.
    #[test]
    fn threefry_gives_the_published_answers() {
        assert_eq!(threefry([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        assert_eq!(threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]), [0xc492_3a9c, 0x483d_f7a0]);
    }

    #[test]
    fn a_stream_is_the_blocks_of_its_counter() {
        let (mut words, mut bytes) = (RandomStream::new(7, 3), [0; 7]);
        RandomStream::new(7, 3).fill_bytes(&mut bytes);
        let blocks = [0, 1, 2].map(|block| threefry([7, 0x8000_0000], [block, 3])).concat();
        assert_eq!([(); 3].map(|()| words.next_u32()), blocks[..3]);
        assert_eq!(words.next_u64(), u64::from(blocks[4]) << 32 | u64::from(blocks[3]));
        assert_eq!(bytes[..4], blocks[0].to_le_bytes());
        assert_eq!(bytes[4..], blocks[1].to_le_bytes()[..3]);
    }

    #[test]
    fn seeds_streams_and_indices_give_numbers_of_their_own() {
        let mut firsts: Vec<u64> = (0..4)
            .flat_map(|stream| {
                let seeds = (0..50).map(move |seed| RandomStream::new(seed, stream));
                seeds.chain((0..50).map(move |index| RandomStream::indexed(5, stream, index)))
            })
            .map(|mut random| random.next_u64())
            .collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 400);
    }

    #[test]
    fn uniform_numbers_have_24_bits() {
        let (mut numbers, mut words) = (RandomStream::new(1, 0), RandomStream::new(1, 0));
        for _ in 0..100 {
            assert_eq!(numbers.random::<f32>(), (words.next_u32() >> 8) as f32 / (1 << 24) as f32);
        }
    }

    #[test]
    fn many_operands_come_over_and_over() {
        let values = uniform(2 * MOST_DRAWN + 3, 1);
        assert_eq!(values.len(), 2 * MOST_DRAWN + 3);
        assert_eq!(values[..3], values[2 * MOST_DRAWN..]);
        assert_eq!(values[..5], uniform(5, 1));
    }

    #[test]
    fn uniform_and_normal_numbers_have_the_right_moments() {
        let mut random = RandomStream::new(7, 0);
        let n = 100_000;
        let (mut uniform, mut normal, mut square) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            uniform += f64::from(random.random::<f32>());
            let z = f64::from(random.sample(StandardNormal));
            normal += z;
            square += z * z;
        }
        let n = f64::from(n);
        assert!((uniform / n - 0.5).abs() < 0.005);
        assert!((normal / n).abs() < 0.02);
        assert!((square / n - 1.0).abs() < 0.02);
    }
}
