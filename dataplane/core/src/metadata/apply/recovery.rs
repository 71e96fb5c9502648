//! Commands that recover groups which have lost their majority.

use std::collections::BTreeSet;

use super::Applied;
use crate::ids::{GroupId, NodeId, ProducerId};
use crate::limits::RECOVERY_IDS_SKIPPED_COUNT;
use crate::metadata::{
    MetaError, Metadata, MetadataRecovery, NodeState, Outcome, Partition, Recovery, SkippedGroups,
    TopicId,
};
use crate::recovery::RecoveryEpoch;

/// The nodes whose replica may survive: those that have one. As long as a survivor does not lead,
/// another one may be named in its place.
fn may_survive(partition: &Partition, node: NodeId) -> bool {
    let pending = partition.pending_recovery();
    let former = pending.map_or(&[][..], |recovery| &recovery.former);
    partition.is_on(node) || former.contains(&node)
}

impl Metadata {
    pub(super) fn recover_partition(
        &mut self,
        (group, node): (GroupId, NodeId),
        from: RecoveryEpoch,
        at_ms: i64,
    ) -> Applied {
        let partition = self.group_partition(group)?;
        if !partition.started {
            return Err(MetaError::NotStarted { group });
        }
        let current = partition.epoch();
        if current != from {
            let last = partition.recovery.as_ref();
            let is_repeated = last.is_some_and(|last| last.epoch.node() == node)
                && last.is_some_and(|last| last.at_ms == at_ms);
            let asked = from;
            return if is_repeated {
                Ok(Outcome::Done)
            } else {
                Err(MetaError::OtherRecovery {
                    group,
                    current,
                    asked,
                })
            };
        }
        if !may_survive(partition, node) {
            return Err(MetaError::NotReplica { group, node });
        }
        self.member(node)?;
        let generation = self.recoveries.generation.max(current.generation()) + 1;
        let epoch = RecoveryEpoch::new(generation, node).ok_or(MetaError::BadCount {
            field: "node".to_owned(),
            found: node.get(),
            max: u32::MAX.into(),
        })?;
        self.recoveries.generation = generation;
        self.edit(group, |partition| {
            let known = partition.pending_recovery().into_iter();
            let known = known.flat_map(|recovery| recovery.former.iter().copied());
            let former: BTreeSet<NodeId> = partition.hosts().chain(known).collect();
            partition.recovery = Some(Recovery {
                epoch,
                at_ms,
                former: former.into_iter().filter(|other| *other != node).collect(),
                is_done: false,
            });
            partition.replicas = vec![node];
            partition.target = None;
            partition.leaving.clear();
            partition.repair = None;
        })
    }

    pub(super) fn commit_recovery(&mut self, group: GroupId, asked: RecoveryEpoch) -> Applied {
        let current = self.group_partition(group)?.epoch();
        if current != asked || current.is_zero() {
            return Err(MetaError::OtherRecovery {
                group,
                current,
                asked,
            });
        }
        self.edit(group, |partition| {
            if let Some(recovery) = &mut partition.recovery {
                recovery.is_done = true;
                recovery.former.clear();
            }
        })
    }

    pub(super) fn recover_metadata(
        &mut self,
        epoch: RecoveryEpoch,
        at_ms: i64,
        lost: &[NodeId],
    ) -> Applied {
        let known = self.recoveries.metadata.as_ref();
        if known.is_some_and(|known| known.epoch >= epoch) {
            return Ok(Outcome::Done);
        }
        self.member(epoch.node())?;
        let from = self.next.group;
        let skipped = RECOVERY_IDS_SKIPPED_COUNT;
        self.next.node = NodeId(self.next.node.get() + skipped);
        self.next.group = GroupId(from.get() + skipped);
        self.next.topic = TopicId(self.next.topic.0 + skipped);
        self.next.producer = ProducerId(self.next.producer.get() + skipped);
        self.recoveries.generation += skipped;
        // Its disk has replicas that may be needed, so nothing says that it is gone for good; but
        // it gets no new ones, and those that can be replaced are.
        let lost = lost.iter().filter(|node| **node != epoch.node());
        let lost: Vec<NodeId> = lost.copied().collect();
        for node in self.nodes.values_mut() {
            if lost.contains(&node.id) && node.state == NodeState::Active {
                node.state = NodeState::Draining;
            }
        }
        let earlier = self.recoveries.metadata.take();
        let (earlier_lost, mut skipped_groups) = earlier
            .map(|earlier| (earlier.lost, earlier.skipped_groups))
            .unwrap_or_default();
        let to = self.next.group;
        skipped_groups.push(SkippedGroups { from, to });
        self.recoveries.metadata = Some(MetadataRecovery {
            epoch,
            at_ms,
            lost: earlier_lost.into_iter().chain(lost).collect(),
            skipped_groups,
        });
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature_level::FeatureLevel;
    use crate::metadata::tests::{apply, cluster, create, registration, rejected};
    use crate::metadata::{Command, NextIds};

    fn epoch(generation: u64, node: u64) -> RecoveryEpoch {
        RecoveryEpoch::new(generation, NodeId(node)).unwrap()
    }

    fn recover(node: u64, from: RecoveryEpoch, at_ms: i64) -> Command {
        Command::RecoverPartition {
            group: GroupId(1),
            node: NodeId(node),
            from,
            at_ms,
        }
    }

    fn started() -> Metadata {
        let mut metadata = cluster(4);
        let level = FeatureLevel(2);
        apply(&mut metadata, &Command::FinalizeLevel { level });
        apply(&mut metadata, &create("a", &[&[1, 2, 3]]));
        let group = GroupId(1);
        apply(&mut metadata, &Command::StartPartition { group });
        metadata
    }

    fn partition(metadata: &Metadata) -> &Partition {
        metadata.group(GroupId(1)).unwrap().partition
    }

    #[test]
    fn the_survivor_is_the_only_replica_and_another_one_can_be_named_until_it_leads() {
        let mut metadata = started();
        let zero = RecoveryEpoch::ZERO;
        let stranger = rejected(&mut metadata, &recover(4, zero, 5));
        assert!(matches!(stranger, MetaError::NotReplica { .. }));
        apply(&mut metadata, &recover(3, zero, 5));
        assert_eq!(partition(&metadata).replicas, [NodeId(3)]);
        assert_eq!(partition(&metadata).epoch(), epoch(1, 3));
        let known = metadata.clone();
        apply(&mut metadata, &recover(3, zero, 5));
        assert_eq!(partition(&metadata), partition(&known), "repeated");
        let second = rejected(&mut metadata, &recover(1, zero, 6));
        assert!(matches!(second, MetaError::OtherRecovery { .. }));
        apply(&mut metadata, &recover(1, epoch(1, 3), 7));
        assert_eq!(partition(&metadata).epoch(), epoch(2, 1));
        let former = &partition(&metadata).recovery.as_ref().unwrap().former;
        assert_eq!(former, &[NodeId(2), NodeId(3)]);
        let group = GroupId(1);
        let commit = |epoch| Command::CommitRecovery { group, epoch };
        rejected(&mut metadata, &commit(epoch(1, 3))); // earlier
        apply(&mut metadata, &commit(epoch(2, 1)));
        assert_eq!(partition(&metadata).pending_recovery(), None);
        let gone = rejected(&mut metadata, &recover(3, epoch(2, 1), 8));
        assert!(
            matches!(gone, MetaError::NotReplica { .. }),
            "it was deleted"
        );
    }

    #[test]
    fn a_partition_is_not_moved_while_it_is_recovered_and_grows_back_to_its_factor_afterwards() {
        let mut metadata = started();
        apply(&mut metadata, &recover(3, RecoveryEpoch::ZERO, 5));
        let group = GroupId(1);
        let target = |nodes: &[u64]| Command::SetTarget {
            group,
            replicas: nodes.iter().copied().map(NodeId).collect(),
        };
        let error = rejected(&mut metadata, &target(&[3, 4]));
        assert!(matches!(error, MetaError::Recovering { .. }));
        let epoch = epoch(1, 3);
        apply(&mut metadata, &Command::CommitRecovery { group, epoch });
        rejected(&mut metadata, &target(&[3, 4, 1, 2])); // above
        apply(&mut metadata, &target(&[3, 4]));
        let replicas = vec![NodeId(3), NodeId(4)];
        apply(&mut metadata, &Command::CommitMove { group, replicas });
        rejected(&mut metadata, &target(&[3])); // never fewer
        apply(&mut metadata, &target(&[3, 4, 1]));
    }

    #[test]
    fn recovered_metadata_use_no_id_that_lost_ones_may_have_used() {
        let mut metadata = started();
        let before = metadata.next_ids();
        let lost = vec![NodeId(2), NodeId(3)];
        let epoch = epoch(1, 1);
        let command = Command::RecoverMetadata {
            epoch,
            at_ms: 9,
            lost,
        };
        apply(&mut metadata, &command);
        let NextIds {
            node,
            group,
            topic,
            producer,
        } = metadata.next_ids();
        let skipped = RECOVERY_IDS_SKIPPED_COUNT;
        assert_eq!(node.get(), before.node.get() + skipped);
        assert_eq!(group.get(), before.group.get() + skipped);
        assert_eq!(topic.0, before.topic.0 + skipped);
        assert_eq!(producer.get(), before.producer.get() + skipped);
        assert!(metadata.is_skipped(before.group) && !metadata.is_skipped(group));
        assert!(!metadata.is_skipped(GroupId(1)));
        assert!(metadata.is_left_behind(NodeId(2)) && !metadata.is_left_behind(NodeId(4)));
        assert_eq!(metadata.node(NodeId(3)).unwrap().state, NodeState::Draining);
        assert_eq!(metadata.recovery_epoch(GroupId::META), epoch);
        let known = metadata.next_ids();
        apply(&mut metadata, &command);
        assert_eq!(metadata.next_ids(), known, "repeated");
        let encoded = metadata.encode().unwrap();
        assert_eq!(Metadata::decode(&encoded).unwrap(), metadata);
        let joined = Command::RegisterNode(registration(9));
        assert_eq!(apply(&mut metadata, &joined), Outcome::Node(known.node));
    }
}
