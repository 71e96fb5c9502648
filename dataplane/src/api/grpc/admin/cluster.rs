//! The cluster as a whole, and leaderships.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::{FeatureLevel, GroupId, NodeId, PartitionId};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::{discovered, encode};
use crate::api::caller::check_member;
use crate::control::Control;
use crate::control::leader_admin::TransferGroup;
use crate::control::level_admin::FinalizedLevel;

pub(crate) async fn describe_cluster(
    control: &Control,
    request: &proto::DescribeClusterRequest,
) -> Result<proto::DescribeClusterReply, Status> {
    check_member(control)?;
    let mut reply = encode::cluster(control.cluster.describe_cluster().await);
    discovered::add(&mut reply, &control.membership);
    if request.omit_healthy_partitions {
        reply
            .partitions
            .retain(|p| p.health() != proto::PartitionHealth::Healthy);
    }
    Ok(reply)
}

pub(crate) async fn finalize_level(
    control: &Control,
    request: &proto::FinalizeLevelRequest,
    by: &Arc<Principal>,
) -> Result<proto::FinalizeLevelReply, Status> {
    check_member(control)?;
    let finalized = control.levels.finalize(request.level.map(FeatureLevel), by);
    let FinalizedLevel { level, is_changed } = finalized.await?;
    Ok(proto::FinalizeLevelReply {
        finalized_level: level.get(),
        changed: is_changed,
    })
}

pub(crate) async fn transfer_leadership(
    control: &Control,
    request: proto::TransferLeadershipRequest,
    by: &Arc<Principal>,
) -> Result<proto::TransferLeadershipReply, Status> {
    check_member(control)?;
    let proto::TransferLeadershipRequest {
        topic,
        partition,
        group_id,
        to_node,
    } = request;
    let group = if topic.is_empty() {
        TransferGroup::Group(GroupId(group_id))
    } else {
        let partition = PartitionId(partition);
        TransferGroup::Partition { topic, partition }
    };
    let (leader, term) = control
        .leader_admin
        .transfer((group, NodeId(to_node)), by)
        .await?;
    Ok(proto::TransferLeadershipReply {
        leader_node: leader.get(),
        leader_epoch: term.get(),
    })
}
