//! The cluster as a whole, and who leads what.

use lograft_core::limits::RAFT_TRANSFER_TIMEOUT;
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{GroupId, NodeId, PartitionId, Reason, Term};
use lograft_proto::admin::v1 as proto;
use lograft_proto::raft::v1::MoveLeaderRequest;
use lograft_raft::RaftError;
use tonic::{Code, Status};

use super::check_member;
use crate::api::grpc::node_service::move_leader;
use crate::api::grpc::status::ApiError;
use crate::control::Control;
use crate::error_text::error_chain;
use crate::serving::meta_group::ProposeMeta;

pub(crate) async fn describe_cluster(
    control: &Control,
    request: &proto::DescribeClusterRequest,
) -> Result<proto::DescribeClusterReply, Status> {
    check_member(control)?;
    let mut reply = control.describe_cluster().await;
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
    let group = group_of(&control.view().load(), &request)?;
    if group != GroupId::META {
        // Else the balance of preferred leaders would soon undo it.
        let command = Command::SetPreferredLeader { group, node: to };
        control.propose(command).await.map_err(ApiError::from)?;
    }
    let (leader, term) = hand_over(control, group, to).await?;
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
        return Err(ApiError::new(
            Reason::UnknownNode,
            format!("there is no node {to_node}"),
        ));
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

/// Hands over a leadership, wherever it is; who leads then.
pub(super) async fn hand_over(
    control: &Control,
    group: GroupId,
    to: NodeId,
) -> Result<(NodeId, Term), ApiError> {
    let no_leader = || ApiError::new(Reason::NoLeader, format!("nobody leads group {group}"));
    let (leader, term) = control.leader_of(group).ok_or_else(no_leader)?;
    if leader == to {
        return Ok((leader, term));
    }
    if control.member().is_some_and(|me| me.node == leader) {
        return move_leader(control, group, to)
            .await
            .map_err(|error| refused(&error));
    }
    let route = control.route(leader, group).ok_or_else(no_leader)?;
    let request = MoveLeaderRequest {
        route: Some(route.to_proto()),
        to_node: to.get(),
    };
    let timeout = RAFT_TRANSFER_TIMEOUT * 2;
    let moved = control
        .parts()
        .peers
        .move_leader(leader, request, timeout)
        .await;
    let reply = moved.map_err(|status| {
        let reason = match status.code() {
            Code::FailedPrecondition => Reason::InvalidArgument,
            Code::DeadlineExceeded => Reason::Timeout,
            _ => Reason::NoLeader,
        };
        ApiError::new(reason, format!("node {leader}: {}", status.message()))
    })?;
    Ok((NodeId(reply.leader_node), Term(reply.term)))
}

fn refused(error: &RaftError) -> ApiError {
    let reason = match error {
        RaftError::NotVoter { .. } => Reason::InvalidArgument,
        RaftError::Timeout { .. } => Reason::Timeout,
        _ => Reason::NoLeader,
    };
    ApiError::new(reason, error_chain(error))
}
