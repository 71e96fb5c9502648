//! The partition of a key. This is part of the public protocol: clients in other languages MUST
//! choose the same partitions, or records with the same key are not in order.
//!
//! `xxh64(key, seed 0) mod partitions`, both unsigned 64-bit, over the bytes of the key. An empty
//! key is a key; a record without a key may go to any partition. Adding partitions moves keys to
//! other partitions, so the order of a key's records holds within one partition count only.

use twox_hash::XxHash64;

use crate::ids::PartitionId;

/// The partition of `key` among `partitions`, of which 0 counts as 1.
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionId {
    let hash = XxHash64::oneshot(0, key);
    let partition = hash % u64::from(partitions.max(1));
    PartitionId(u32::try_from(partition).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_agrees_with_the_published_vectors() {
        for (input, hash) in [
            (b"".as_slice(), 0xef46_db37_51d8_e999_u64),
            (b"a", 0xd24e_c4f1_a98c_6e5b),
            (b"abc", 0x44bc_2cf5_ad77_0999),
            (
                b"Nobody inspects the spammish repetition",
                0xfbce_a83c_8a37_8bf1,
            ),
        ] {
            assert_eq!(XxHash64::oneshot(0, input), hash);
            let expected = u32::try_from(hash % 12).unwrap();
            assert_eq!(partition_for_key(input, 12), PartitionId(expected));
        }
    }

    #[test]
    fn spreads_keys_evenly_and_within_bounds() {
        let mut counts = [0_u32; 7];
        for n in 0..7000_u32 {
            let partition = partition_for_key(format!("user-{n}").as_bytes(), 7);
            counts[partition.get() as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
        assert_eq!(partition_for_key(b"any", 1), PartitionId(0));
        assert_eq!(partition_for_key(b"any", 0), PartitionId(0));
    }
}
