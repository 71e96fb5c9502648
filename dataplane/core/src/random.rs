//! Random choices from a seed, so that a simulation repeats. Not for secrets.

/// SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator with this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// True or false.
    pub const fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Keeps `count` elements, chosen at random.
    pub fn choose<T>(&mut self, items: &mut Vec<T>, count: usize) {
        let len = items.len();
        for at in 0..count.min(len) {
            let offset = self.below(len - at);
            items.swap(at, at + offset);
        }
        items.truncate(count);
    }
}
