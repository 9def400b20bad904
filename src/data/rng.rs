//! A small seeded generator whose output is part of the data formats.
//!
//! Both the synthetic set and the order of imported images are pinned by their
//! bytes, so neither may depend on the version of an outside crate.

/// SplitMix64 (Steele, Lea and Flood, 2014): 64 bits of state, period 2^64.
#[derive(Debug, Clone)]
pub(super) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;

    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator for one `(stream, index)` pair of a seed.
    ///
    /// Every step goes through the full mixer, so neighboring indices give
    /// unrelated sequences and images can be drawn in any order.
    pub(super) fn at(seed: u64, stream: u64, index: u64) -> Self {
        let mut state = seed;
        for part in [stream, index] {
            state = Self::new(state ^ Self::mix(part.wrapping_add(Self::INCREMENT))).next_u64();
        }
        Self { state }
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::INCREMENT);
        Self::mix(self.state)
    }

    /// A number in `0..bound` without modulo bias to speak of: the bias is
    /// below `bound / 2^64`. A `bound` of 0 gives 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`, for the small ranges the drawing code uses.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        debug_assert!(low <= high);
        low + self.below((high - low + 1) as u64) as i64
    }

    /// Fisher-Yates shuffle, in place.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }

    fn mix(mut bits: u64) -> u64 {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_sequence() {
        let mut rng = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn between_reaches_both_ends_and_nothing_else() {
        let mut rng = SplitMix64::new(7);
        let mut seen = [0usize; 7];
        for _ in 0..7000 {
            seen[(rng.between(-3, 3) + 3) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }

    #[test]
    fn shuffle_keeps_every_item_and_moves_most() {
        let mut items: Vec<u32> = (0..100).collect();
        SplitMix64::new(1).shuffle(&mut items);
        let in_place = items.iter().enumerate().filter(|(i, v)| *i as u32 == **v);
        assert!(in_place.count() < 10);
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..100));
    }

    #[test]
    fn streams_and_indices_give_distinct_sequences() {
        let mut firsts: Vec<u64> =
            (0..4).flat_map(|stream| (0..100).map(move |i| SplitMix64::at(5, stream, i).next_u64())).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 400);
    }
}
