//! Whether a partition has room for new records: on its leader's disk and on those of a majority.

use std::collections::BTreeSet;

use lograft_core::{DiskMark, NodeId, Reason, majority_of};

use crate::error::ApiError;

/// The disks of the replicas of a partition.
#[derive(Debug)]
pub(super) struct ReplicaDisks<'a> {
    /// The leader.
    pub(super) leader: NodeId,
    /// The voters; the leader is one of them.
    pub(super) voters: &'a BTreeSet<NodeId>,
}

impl ReplicaDisks<'_> {
    /// Refuses new records if the disk of the leader, or of so many voters that no majority is
    /// left, is low.
    // A single low follower does not count: it takes what it has room for, then lags, and the
    // others go on. If a majority were low, the partition would fill their disks up to the second
    // mark, and then a trim could not commit either.
    pub(super) fn check(&self, mark_of: impl Fn(NodeId) -> DiskMark) -> Result<(), ApiError> {
        let is_low = |node: &NodeId| mark_of(*node) >= DiskMark::Low;
        let low: Vec<NodeId> = self.voters.iter().copied().filter(is_low).collect();
        let is_leader_low = mark_of(self.leader) >= DiskMark::Low;
        let roomy_count = self.voters.len() - low.len();
        if !is_leader_low && (low.is_empty() || roomy_count >= majority_of(self.voters.len())) {
            return Ok(());
        }
        let nodes = if is_leader_low && low.is_empty() {
            vec![self.leader]
        } else {
            low
        };
        let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let (noun, verb) = if nodes.len() == 1 {
            ("disk of node", "is")
        } else {
            ("disks of nodes", "are")
        };
        let text = format!(
            "the {noun} {} {verb} nearly full: the partition accepts reads only",
            names.join(", ")
        );
        Err(ApiError::new(Reason::DiskFull, text).with("nodes", names.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(voters: &[u64], low: &[u64]) -> Option<String> {
        let voters = voters.iter().copied().map(NodeId).collect();
        let disks = ReplicaDisks {
            leader: NodeId(1),
            voters: &voters,
        };
        let mark_of = |node: NodeId| {
            if low.contains(&node.get()) {
                DiskMark::Low
            } else {
                DiskMark::Unknown
            }
        };
        let refused = disks.check(mark_of).err()?;
        assert_eq!(refused.reason(), Some(Reason::DiskFull));
        let nodes = refused.details().find(|(key, _)| *key == "nodes");
        nodes.map(|(_, nodes)| nodes.to_owned())
    }

    #[test]
    fn records_are_refused_when_the_leader_or_a_majority_is_low() {
        assert_eq!(refused(&[1, 2, 3], &[]), None);
        assert_eq!(refused(&[1, 2, 3], &[2]), None, "as one dead node");
        assert_eq!(refused(&[1, 2, 3], &[1]).unwrap(), "1");
        assert_eq!(refused(&[1, 2, 3], &[2, 3]).unwrap(), "2,3");
        assert_eq!(refused(&[1, 2, 3, 4, 5], &[2, 3]), None);
        assert_eq!(refused(&[1, 2, 3, 4, 5], &[3, 4, 5]).unwrap(), "3,4,5");
        assert_eq!(refused(&[1, 2], &[2]).unwrap(), "2", "two replicas");
        assert_eq!(refused(&[1], &[1]).unwrap(), "1", "a single replica");
        assert_eq!(refused(&[1], &[9]), None, "not a voter");
    }
}
