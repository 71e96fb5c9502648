//! Random choices from a seed, so that a simulation repeats.

/// SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014). Not for
/// secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Keeps `count` elements, chosen at random.
    pub(crate) fn choose<T>(&mut self, items: &mut Vec<T>, count: usize) {
        let len = items.len();
        for at in 0..count.min(len) {
            let left = (len - at) as u64;
            let offset = usize::try_from(self.next() % left).unwrap_or(0);
            items.swap(at, at + offset);
        }
        items.truncate(count);
    }
}
