//! Ids of producers that cannot be guessed. An id is a number that was allocated once, in its
//! lower 36 bits, and a keyed hash of the number (SipHash-2-4) in its upper 28 bits, which is never
//! 0. Without the key nobody can name the id of another producer, although the numbers are
//! consecutive, and an id that no node has issued is recognized without a list of those issued.
//!
//! Ids of nodes below `SEALED_IDS_LEVEL` are the numbers alone: their upper bits are 0.

use std::hash::Hasher;

use crate::feature_level::FeatureLevel;
use crate::ids::ProducerId;

/// The feature level from which on ids are checked.
pub(crate) const SEALED_IDS_LEVEL: FeatureLevel = FeatureLevel(2);

/// 68 billion ids: 1,000 each second for two years.
const NUMBER_BITS: u32 = 36;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;
/// Separates this use of the secret from others.
const PURPOSE: &[u8; 8] = b"producer";

/// The key of a cluster's producer ids. Known to its nodes alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdKey {
    low: u64,
    high: u64,
}

impl ProducerIdKey {
    /// The key that a secret of 128 bits gives.
    pub(crate) const fn new((high, low): (u64, u64)) -> Self {
        Self { low, high }
    }

    /// The id with this number; `None` if the numbers are used up.
    pub fn seal(self, number: ProducerId) -> Option<ProducerId> {
        let number = number.get();
        (number <= NUMBER_MASK).then(|| ProducerId(self.hash(number) << NUMBER_BITS | number))
    }

    /// Whether the id was sealed with this key.
    pub(crate) fn is_sealed(self, id: ProducerId) -> bool {
        self.seal(ProducerId(id.get() & NUMBER_MASK)) == Some(id)
    }

    #[expect(
        deprecated,
        reason = "SipHash-2-4 with a key; the test pins its output"
    )]
    fn hash(self, number: u64) -> u64 {
        let mut hasher = std::hash::SipHasher::new_with_keys(self.low, self.high);
        hasher.write(PURPOSE);
        hasher.write(&number.to_le_bytes());
        (hasher.finish() >> NUMBER_BITS).max(1)
    }
}

/// Whether an id is a number alone, as nodes below [`SEALED_IDS_LEVEL`] issued it.
pub(crate) const fn is_plain(id: ProducerId) -> bool {
    id.get() <= NUMBER_MASK
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KEY: ProducerIdKey = ProducerIdKey {
        low: 0x0706_0504_0302_0100,
        high: 0x0f0e_0d0c_0b0a_0908,
    };

    #[test]
    #[expect(deprecated, reason = "the hash that the ids are made with")]
    fn the_hash_is_that_of_the_paper() {
        let mut hasher = std::hash::SipHasher::new_with_keys(KEY.low, KEY.high);
        let message: Vec<u8> = (0..15).collect();
        hasher.write(&message);
        // Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), appendix A.
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn an_id_keeps_its_number_and_is_recognized() {
        for number in [1, 2, 64, 1 << 20, NUMBER_MASK] {
            let id = KEY.seal(ProducerId(number)).unwrap();
            assert_eq!(id.get() & NUMBER_MASK, number);
            assert!(KEY.is_sealed(id) && !is_plain(id));
            // A neighbour in either half, and the number alone.
            for other in [id.get() ^ 1, id.get() ^ 1 << NUMBER_BITS, number] {
                assert!(!KEY.is_sealed(ProducerId(other)), "{other:#x}");
            }
            let other_key = ProducerIdKey::new((7, 0));
            assert!(!other_key.is_sealed(id));
        }
        assert_eq!(KEY.seal(ProducerId(NUMBER_MASK + 1)), None);
    }

    #[test]
    fn ids_are_pinned_because_they_outlive_a_version() {
        let id = KEY.seal(ProducerId(1)).unwrap();
        assert_eq!(id.get(), 0x73cc_5350_0000_0001, "{:#x}", id.get());
    }

    #[test]
    fn ids_of_consecutive_numbers_differ_in_their_upper_bits() {
        let high = |number| KEY.seal(ProducerId(number)).unwrap().get() >> NUMBER_BITS;
        let distinct: BTreeSet<u64> = (1..=10_000).map(high).collect();
        // About 0.2 pairs are expected to be equal.
        assert!(distinct.len() > 9_990, "{}", distinct.len());
    }
}
