//! The cluster as a whole, and leadership transfers.

use lograft_core::metadata::{Command, Metadata};
use lograft_core::{GroupId, NodeId, PartitionId};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::{check_member, encode};
use crate::control::Control;
use crate::error::ApiError;
use crate::error_text::error_chain;
use crate::serving::meta_group::ProposeMeta;

pub(crate) async fn describe_cluster(
    control: &Control,
    request: &proto::DescribeClusterRequest,
) -> Result<proto::DescribeClusterReply, Status> {
    check_member(control)?;
    let mut reply = encode::cluster(control.cluster.describe_cluster().await);
    if request.omit_healthy_partitions {
        reply
            .partitions
            .retain(|p| p.health() != proto::PartitionHealth::Healthy);
    }
    Ok(reply)
}

pub(crate) async fn transfer_leadership(
    control: &Control,
    request: proto::TransferLeadershipRequest,
) -> Result<proto::TransferLeadershipReply, Status> {
    check_member(control)?;
    let to = NodeId(request.to_node);
    let group = group_of(&control.view.load(), &request)?;
    if group != GroupId::META {
        // Otherwise the balancing of preferred leaders would soon move it back.
        let command = Command::SetPreferredLeader { group, node: to };
        control
            .proposer
            .propose(command)
            .await
            .map_err(ApiError::from)?;
    }
    let transferred = control.transfers.transfer(group, to).await;
    let (leader, term) =
        transferred.map_err(|error| ApiError::new(error.reason(), error_chain(&error)))?;
    Ok(proto::TransferLeadershipReply {
        leader_node: leader.get(),
        leader_epoch: term.get(),
    })
}

fn group_of(
    metadata: &Metadata,
    request: &proto::TransferLeadershipRequest,
) -> Result<GroupId, ApiError> {
    let proto::TransferLeadershipRequest {
        topic,
        partition,
        group_id,
        to_node,
    } = request;
    if metadata.node(NodeId(*to_node)).is_none() {
        return Err(ApiError::unknown_node(NodeId(*to_node)));
    }
    if topic.is_empty() {
        return Ok(GroupId(*group_id));
    }
    let known = metadata
        .topic(topic)
        .ok_or_else(|| ApiError::unknown_topic(topic))?;
    let place = metadata.partition(topic, PartitionId(*partition));
    place
        .map(|place| place.partition.group)
        .ok_or_else(|| ApiError::unknown_partition(topic, *partition, known.partition_count()))
}
