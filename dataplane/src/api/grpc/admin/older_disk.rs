//! Accepting the older disk of a node.

use lograft_core::{GroupId, NodeId, PartitionId};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use crate::api::caller::check_member;
use crate::control::Control;
use crate::control::peer_calls::{AcceptedGroups, FencedReplica};
use crate::error::ApiError;

pub(crate) async fn accept_older_disk(
    control: &Control,
    request: proto::AcceptOlderDiskRequest,
) -> Result<proto::AcceptOlderDiskReply, Status> {
    check_member(control)?;
    let proto::AcceptOlderDiskRequest {
        node_id,
        topic,
        partition,
        group_id,
        dry_run,
    } = request;
    let groups = AcceptedGroups {
        group: named_group(control, (&topic, partition), group_id)?,
        is_dry_run: dry_run,
    };
    let accepted = control.older_disk.accept(NodeId(node_id), groups).await?;
    let groups = accepted.into_iter().map(|replica| encode(control, replica));
    Ok(proto::AcceptOlderDiskReply {
        groups: groups.collect(),
    })
}

/// The group that a request names, by its partition or else by its id; `None` for all.
pub(super) fn named_group(
    control: &Control,
    (topic, partition): (&str, u32),
    group_id: Option<u64>,
) -> Result<Option<GroupId>, ApiError> {
    if topic.is_empty() {
        return Ok(group_id.map(GroupId));
    }
    let metadata = control.view.load();
    let known = metadata
        .topic(topic)
        .ok_or_else(|| ApiError::unknown_topic(topic))?;
    let place = metadata.partition(topic, PartitionId(partition));
    place
        .map(|place| Some(place.partition.group))
        .ok_or_else(|| ApiError::unknown_partition(topic, partition, known.partition_count()))
}

fn encode(control: &Control, replica: FencedReplica) -> proto::FencedGroup {
    let FencedReplica { group, log_end } = replica;
    let metadata = control.view.load();
    let place = metadata.group(group);
    proto::FencedGroup {
        group_id: group.get(),
        topic: place
            .as_ref()
            .map(|place| place.topic.name.clone())
            .unwrap_or_default(),
        partition: place.map_or(0, |place| place.number.get()),
        log_end_offset: log_end.get(),
    }
}
