//! The coordinators of consumer groups.

use std::sync::Arc;

use super::{Applied, count_u32};
use crate::ids::{GroupId, NodeId};
use crate::limits::{COORDINATOR_REPLICAS_MAX_COUNT, COORDINATORS_COUNT};
use crate::metadata::{COORDINATORS_NAME, Command, MetaError, Metadata, Outcome, Topic, TopicId};
use crate::retention::RetentionPolicy;
use crate::topic::TopicError;
use crate::topic_config::TopicSettings;

impl Metadata {
    pub(super) fn create_coordinators(&mut self, assignment: &[Vec<NodeId>]) -> Applied {
        // Two nodes may find at the same time that there are none. The number of coordinators
        // decides which one a group has: it is never changed.
        if let Some(coordinators) = &self.coordinators {
            return Ok(Outcome::Topic(coordinators.id));
        }
        if assignment.len() != COORDINATORS_COUNT as usize {
            return Err(MetaError::BadCount {
                field: "assignment".to_owned(),
                found: assignment.len() as u64,
                max: COORDINATORS_COUNT.into(),
            });
        }
        let replication_factor = count_u32(assignment.first().map_or(0, Vec::len));
        self.validate_assignment((assignment, &[]), replication_factor)?;
        let id = self.next.topic;
        self.next.topic = TopicId(id.0 + 1);
        let mut coordinators = Topic {
            name: COORDINATORS_NAME.to_owned(),
            id,
            replication_factor,
            follows_default: false,
            retention: RetentionPolicy::default(),
            settings: TopicSettings::default(),
            partitions: Vec::new(),
        };
        self.grow(&mut coordinators, assignment);
        self.coordinators = Some(Arc::new(coordinators));
        Ok(Outcome::Topic(id))
    }

    /// The number of replicas after a move to `replicas`. Of a coordinator any up to a bound, since
    /// it follows the number of nodes; of another partition that of now, or one nearer to that of
    /// its topic. Programs before level 2 know no other number than that of now.
    pub(super) fn final_size(
        &self,
        group: GroupId,
        now: u32,
        replicas: &[NodeId],
    ) -> Result<u32, MetaError> {
        let place = self.group(group).ok_or(MetaError::UnknownGroup { group })?;
        let replication_factor = count_u32(replicas.len());
        if !place.topic.is_coordinators() {
            let factor = place.topic.replication_factor;
            let is_nearer = (now.min(factor)..=now.max(factor)).contains(&replication_factor)
                && self.finalized_level >= Command::FREE_TARGET_LEVEL;
            return Ok(if is_nearer { replication_factor } else { now });
        }
        if (1..=COORDINATOR_REPLICAS_MAX_COUNT).contains(&replication_factor) {
            return Ok(replication_factor);
        }
        let max = COORDINATOR_REPLICAS_MAX_COUNT;
        Err(TopicError::ReplicationFactor {
            replication_factor,
            max,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::plan_drain;
    use crate::feature_level::FeatureLevel;
    use crate::ids::PartitionId;
    use crate::metadata::tests::{apply, cluster, create, registration};
    use crate::offset::LogIndex;
    use crate::reason::Reason;
    use crate::replication_factor::plan_factors;

    fn coordinators(replicas: &[u64]) -> Command {
        let replicas: Vec<NodeId> = replicas.iter().copied().map(NodeId).collect();
        Command::CreateCoordinators {
            assignment: vec![replicas; COORDINATORS_COUNT as usize],
        }
    }

    fn finalized(nodes: u8) -> Metadata {
        let mut metadata = cluster(nodes);
        let level = FeatureLevel(2);
        apply(&mut metadata, &Command::FinalizeLevel { level });
        metadata
    }

    fn groups(metadata: &Metadata) -> Vec<GroupId> {
        let coordinators = metadata.coordinators().unwrap();
        coordinators.partitions.iter().map(|p| p.group).collect()
    }

    fn start(metadata: &mut Metadata) {
        for group in groups(metadata) {
            apply(metadata, &Command::StartPartition { group });
        }
    }

    /// Ends the moves in progress.
    fn finish_moves(metadata: &mut Metadata) {
        for group in groups(metadata) {
            let target = metadata.group(group).unwrap().partition.target.clone();
            if let Some(replicas) = target {
                apply(metadata, &Command::CommitMove { group, replicas });
            }
        }
    }

    fn sizes(metadata: &Metadata) -> Vec<usize> {
        let coordinators = metadata.coordinators().unwrap();
        let replicas = coordinators.partitions.iter().map(|p| p.replicas.len());
        replicas.collect()
    }

    #[test]
    fn coordinators_are_created_once_and_are_no_topic() {
        let mut metadata = cluster(3);
        let early = metadata.apply(&coordinators(&[1]), LogIndex(50));
        assert_eq!(early.unwrap_err().reason(), Reason::FeatureNotFinalized);
        let mut metadata = finalized(3);
        assert_eq!(metadata.coordinator_of("g"), None);
        let first = apply(&mut metadata, &coordinators(&[1, 2, 3]));
        let before = groups(&metadata);
        assert_eq!(apply(&mut metadata, &coordinators(&[2])), first);
        assert_eq!(groups(&metadata), before);

        let few = Command::CreateCoordinators {
            assignment: vec![vec![NodeId(1)]],
        };
        let refused = finalized(1).apply(&few, LogIndex(90)).unwrap_err();
        assert_eq!(refused.field(), Some("assignment"), "{refused}");

        assert!(metadata.topic(COORDINATORS_NAME).is_none());
        assert!(
            metadata
                .partition(COORDINATORS_NAME, PartitionId(0))
                .is_none()
        );
        assert_eq!(metadata.topics().count(), 0);
        assert_eq!(metadata.topics_after("").count(), 0);
        assert_eq!(metadata.partitions().count(), before.len());
        let refused = metadata.apply(&create(COORDINATORS_NAME, &[&[1]]), LogIndex(91));
        assert_eq!(refused.unwrap_err().reason(), Reason::InvalidTopicName);

        let (number, group) = metadata.coordinator_of("orders").unwrap();
        assert_eq!(before[number.get() as usize], group);
        let place = metadata.group(group).unwrap();
        assert!(place.topic.is_coordinators());
        let decoded = Metadata::decode(&metadata.encode().unwrap()).unwrap();
        assert_eq!(decoded, metadata);
    }

    #[test]
    fn their_replicas_follow_the_number_of_nodes() {
        let mut metadata = finalized(1);
        apply(&mut metadata, &coordinators(&[1]));
        assert_eq!(
            plan_factors(&metadata, 3, |_| true),
            [],
            "there is one node"
        );
        apply(&mut metadata, &Command::RegisterNode(registration(2)));
        apply(&mut metadata, &Command::RegisterNode(registration(3)));
        assert_eq!(
            plan_factors(&metadata, 3, |_| true),
            [],
            "they have not started"
        );
        start(&mut metadata);
        let plan = plan_factors(&metadata, 3, |_| true);
        assert_eq!(plan.len(), COORDINATORS_COUNT as usize);
        for command in &plan {
            apply(&mut metadata, command);
        }
        assert_eq!(
            plan_factors(&metadata, 3, |_| true),
            [],
            "they are being moved"
        );
        finish_moves(&mut metadata);
        assert_eq!(sizes(&metadata), [3; COORDINATORS_COUNT as usize]);
        apply(&mut metadata, &Command::RegisterNode(registration(4)));
        assert_eq!(plan_factors(&metadata, 3, |_| true), [], "three are enough");

        for node in [4, 3] {
            let node = NodeId(node);
            apply(&mut metadata, &Command::DrainNode { node });
            for command in plan_drain(&metadata, node) {
                apply(&mut metadata, &command);
            }
            finish_moves(&mut metadata);
            apply(&mut metadata, &Command::RemoveNode { node });
        }
        assert_eq!(sizes(&metadata), [2; COORDINATORS_COUNT as usize]);
    }

    #[test]
    fn a_coordinator_keeps_a_replica_and_gets_at_most_three() {
        let mut metadata = finalized(4);
        apply(&mut metadata, &coordinators(&[1, 2, 3]));
        start(&mut metadata);
        let group = groups(&metadata)[0];
        for replicas in [&[][..], &[1, 2, 3, 4]] {
            let replicas = replicas.iter().copied().map(NodeId).collect();
            let command = Command::SetTarget { group, replicas };
            let refused = metadata.apply(&command, LogIndex(900)).unwrap_err();
            assert_eq!(refused.reason(), Reason::InvalidReplicationFactor);
        }
        let replicas = vec![NodeId(4)];
        apply(&mut metadata, &Command::SetTarget { group, replicas });
    }
}
