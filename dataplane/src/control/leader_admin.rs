//! Transfers leaderships permanently: the metadata prefers the new leader from then on.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{GroupId, NodeId, PartitionId, Term};

use super::leader_transfer::LeaderTransfer;
use crate::error::ApiError;
use crate::serving::meta_group::{MetaHandle, MetaProposal};
use crate::state_machine::MetaView;

/// The group of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransferGroup {
    /// The group of a partition.
    Partition {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: PartitionId,
    },
    /// A group by its id.
    Group(GroupId),
}

/// Administers leaderships. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LeaderAdmin {
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
    pub(crate) transfers: LeaderTransfer,
}

impl LeaderAdmin {
    /// Makes `to` the preferred leader of a partition, and transfers the leadership to it. The meta
    /// group has no preferred leader. Returns the new leader and its term.
    pub(crate) async fn transfer(
        &self,
        (group, to): (TransferGroup, NodeId),
        by: &Arc<Principal>,
    ) -> Result<(NodeId, Term), ApiError> {
        let group = find_group(&self.view.load(), &group, to)?;
        if group != GroupId::META {
            // Otherwise the balancing of preferred leaders would soon move it back.
            let command = Command::SetPreferredLeader { group, node: to };
            self.proposer.propose(MetaProposal::of(by, command)).await?;
        }
        Ok(self.transfers.transfer(group, to).await?)
    }
}

fn find_group(metadata: &Metadata, group: &TransferGroup, to: NodeId) -> Result<GroupId, ApiError> {
    if metadata.node(to).is_none() {
        return Err(ApiError::unknown_node(to));
    }
    let (topic, partition) = match group {
        TransferGroup::Group(group) => return Ok(*group),
        TransferGroup::Partition { topic, partition } => (topic, *partition),
    };
    let known = metadata
        .topic(topic)
        .ok_or_else(|| ApiError::unknown_topic(topic))?;
    let place = metadata.partition(topic, partition);
    place
        .map(|place| place.partition.group)
        .ok_or_else(|| ApiError::unknown_partition(topic, partition.get(), known.partition_count()))
}

#[cfg(test)]
mod tests {
    use lograft_core::Reason;

    use super::*;
    use crate::control::test_metadata::{cluster, create};

    #[test]
    fn the_group_of_a_transfer_must_exist_and_so_must_the_node() {
        let mut metadata = cluster(2);
        create(&mut metadata, "t", &[&[1, 2]]);
        let found = |topic: &str, partition, to| {
            let group = TransferGroup::Partition {
                topic: topic.to_owned(),
                partition: PartitionId(partition),
            };
            find_group(&metadata, &group, NodeId(to)).map_err(|error| error.reason())
        };
        assert_eq!(found("t", 0, 2), Ok(GroupId(1)));
        assert_eq!(found("t", 0, 3), Err(Some(Reason::UnknownNode)));
        assert_eq!(found("u", 0, 2), Err(Some(Reason::UnknownTopic)));
        assert_eq!(found("t", 1, 2), Err(Some(Reason::UnknownPartition)));
        let meta = find_group(&metadata, &TransferGroup::Group(GroupId::META), NodeId(2));
        assert_eq!(meta.unwrap(), GroupId::META);
    }
}
