//! The encoding of a membership in entries of kind `Membership` and in checkpoints.
//!
//! ```text
//! version u8 = 1 | flags u8 (bit 0: joint) | voters | joint, if flagged | learners
//! each set: count u16 LE, then that many node ids, u64 LE, ascending
//! ```

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes};
use lograft_core::{Membership, NodeId};

const VERSION: u8 = 1;
const FLAG_JOINT: u8 = 1;

/// The failure to decode a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipCodecError {
    /// The bytes end too early.
    #[error("membership is truncated")]
    Short,
    /// Bytes follow the membership.
    #[error("{0} bytes follow the membership")]
    Long(usize),
    /// The version is not supported, for example one of a newer release.
    #[error("membership version must be 1, got {0}")]
    Version(u8),
    /// A flag is not supported.
    #[error("membership flags must be 0 or 1, got {0:#x}")]
    Flags(u8),
    /// The node ids of a set are not in ascending order.
    #[error("node ids of the membership must ascend")]
    Order,
}

/// Encodes a membership.
pub fn encode_membership(membership: &Membership) -> Bytes {
    let Membership {
        voters,
        joint,
        learners,
    } = membership;
    let ids = voters.len() + joint.as_ref().map_or(0, BTreeSet::len) + learners.len();
    let mut out = Vec::with_capacity(8 + ids * 8);
    out.put_u8(VERSION);
    out.put_u8(if joint.is_some() { FLAG_JOINT } else { 0 });
    put_set(&mut out, voters);
    if let Some(joint) = joint {
        put_set(&mut out, joint);
    }
    put_set(&mut out, learners);
    out.into()
}

/// Decodes a membership. Fails unless `bytes` is exactly one encoded membership.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, MembershipCodecError> {
    let mut rest = bytes;
    let version = rest.try_get_u8().map_err(|_| MembershipCodecError::Short)?;
    if version != VERSION {
        return Err(MembershipCodecError::Version(version));
    }
    let flags = rest.try_get_u8().map_err(|_| MembershipCodecError::Short)?;
    if flags & !FLAG_JOINT != 0 {
        return Err(MembershipCodecError::Flags(flags));
    }
    let voters = get_set(&mut rest)?;
    let joint = if flags & FLAG_JOINT == 0 {
        None
    } else {
        Some(get_set(&mut rest)?)
    };
    let learners = get_set(&mut rest)?;
    if !rest.is_empty() {
        return Err(MembershipCodecError::Long(rest.len()));
    }
    Ok(Membership {
        voters,
        joint,
        learners,
    })
}

fn put_set(out: &mut Vec<u8>, set: &BTreeSet<NodeId>) {
    // Sets are bounded by the replication factor and the cluster's nodes, far below u16::MAX.
    let count = u16::try_from(set.len()).unwrap_or(u16::MAX);
    out.put_u16_le(count);
    for id in set.iter().take(usize::from(count)) {
        out.put_u64_le(id.get());
    }
}

fn get_set(rest: &mut &[u8]) -> Result<BTreeSet<NodeId>, MembershipCodecError> {
    let count = rest
        .try_get_u16_le()
        .map_err(|_| MembershipCodecError::Short)?;
    let mut set = BTreeSet::new();
    for _ in 0..count {
        let id = NodeId(
            rest.try_get_u64_le()
                .map_err(|_| MembershipCodecError::Short)?,
        );
        if set.last().is_some_and(|last| *last >= id) {
            return Err(MembershipCodecError::Order);
        }
        set.insert(id);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set() -> impl Strategy<Value = BTreeSet<NodeId>> {
        proptest::collection::btree_set(any::<u64>().prop_map(NodeId), 0..9)
    }

    proptest! {
        #[test]
        fn an_encoded_membership_decodes(
            voters in set(), joint in proptest::option::of(set()), learners in set(),
        ) {
            let membership = Membership { voters, joint, learners };
            let bytes = encode_membership(&membership);
            prop_assert_eq!(decode_membership(&bytes), Ok(membership));
            for cut in 0..bytes.len() {
                prop_assert!(decode_membership(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_rejected_or_canonical(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(membership) = decode_membership(&bytes) {
                prop_assert_eq!(encode_membership(&membership), bytes);
            }
        }
    }

    #[test]
    fn the_bytes_are_those_documented() {
        let membership = Membership {
            voters: [NodeId(1), NodeId(2)].into(),
            joint: Some([NodeId(2)].into()),
            learners: BTreeSet::new(),
        };
        let expected = [
            1, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0,
            0, 0, 0,
        ];
        assert_eq!(encode_membership(&membership).as_ref(), expected);
        assert_eq!(
            decode_membership(&[2, 0]),
            Err(MembershipCodecError::Version(2))
        );
        assert_eq!(
            decode_membership(&[1, 4]),
            Err(MembershipCodecError::Flags(4))
        );
    }
}
