//! The counter-based generator that CPU and GPU share; its shader is `shared/threefry.wgsl`.

use crate::error::Result;
use crate::tensor::{DType, Device, Tensor};

/// Threefry-2x32 with 20 rounds (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011).
pub fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let [[a], [b]] = threefry_lanes(key, counter[0], counter[1]);
    [a, b]
}

/// [`threefry`] of the counters `[first, second]`, `[first + 1, second]` and so on, one a lane.
///
/// Every line works on all lanes, which compilers turn into vector instructions.
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

/// A stream of random numbers for the host: initial weights, the order of images.
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
        // The key's high word keeps host streams apart from the kernels', which add small numbers to it.
        RandomStream { key: [seed as u32, (seed >> 32) as u32 ^ 0x8000_0000], stream, block: 0, spare: None }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if let Some(word) = self.spare.take() {
            return word;
        }
        let [word, spare] = threefry(self.key, [self.block, self.stream]);
        self.block = self.block.wrapping_add(1);
        self.spare = Some(spare);
        word
    }

    /// A uniform number in [0, 1), with 24 random bits.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// A standard normal number (Box and Muller, 1958).
    pub fn next_normal(&mut self) -> f32 {
        let radius = (-2.0 * f64::from(1.0 - self.next_f32()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * f64::from(self.next_f32())).cos()) as f32
    }

    /// A uniform number below `bound`, without the bias of a plain remainder (Lemire, 2019).
    pub fn next_below(&mut self, bound: u32) -> u32 {
        let threshold = bound.wrapping_neg() % bound.max(1);
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Brings `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.next_below(i as u32 + 1) as usize);
        }
    }
}

/// Numbers of [`uniform`] that are drawn at most: they come over and over.
const MOST_DRAWN: usize = 1 << 20;

/// So many random numbers in [-1, 1), the same for the same stream.
///
/// For operands of trials: drawing as many as a large batch has would take longer than what they are drawn for.
pub(super) fn uniform(count: usize, stream: u32) -> Vec<f32> {
    let mut random = RandomStream::new(0xc1fa, stream);
    let mut values: Vec<f32> = (0..count.min(MOST_DRAWN)).map(|_| random.next_f32() * 2.0 - 1.0).collect();
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
    fn shuffle_is_a_permutation_that_depends_on_seed_and_stream() {
        let order = |seed, stream| {
            let mut items: Vec<u32> = (0..100).collect();
            RandomStream::new(seed, stream).shuffle(&mut items);
            items
        };
        let mut sorted = order(1, 0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), order(1, 1));
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
        let mut stream = RandomStream::new(7, 0);
        let n = 100_000;
        let (mut uniform, mut normal, mut square) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            uniform += f64::from(stream.next_f32());
            let z = f64::from(stream.next_normal());
            normal += z;
            square += z * z;
        }
        let n = f64::from(n);
        assert!((uniform / n - 0.5).abs() < 0.005);
        assert!((normal / n).abs() < 0.02);
        assert!((square / n - 1.0).abs() < 0.02);
    }
}
