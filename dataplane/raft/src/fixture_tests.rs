//! The encoding of memberships against the checked-in bytes of every feature level.

use std::collections::BTreeSet;

use lograft_core::{Membership, NodeId};

use crate::fixtures::Fixtures;
use crate::membership::{decode_membership, encode_membership};

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn memberships_keep_their_encoding() {
    let membership = |voters: &[u64], joint: Option<&[u64]>, learners: &[u64]| Membership {
        voters: nodes(voters),
        joint: joint.map(nodes),
        learners: nodes(learners),
    };
    let samples = [
        ("voters", membership(&[1, 2, 3], None, &[])),
        ("learners", membership(&[1, 2, 3], None, &[4, 500])),
        ("joint", membership(&[1, 2, 3], Some(&[2, 3, 4]), &[1, 6])),
        ("empty", membership(&[], None, &[])),
    ];
    let samples = samples.map(|(name, membership)| (name.to_owned(), membership));
    Fixtures::new(env!("CARGO_MANIFEST_DIR"), "membership").check(
        &samples,
        |membership| encode_membership(membership).to_vec(),
        |bytes| decode_membership(bytes).unwrap(),
    );
}
