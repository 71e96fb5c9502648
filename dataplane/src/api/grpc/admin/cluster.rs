//! The cluster as a whole, and leaderships.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::{FeatureLevel, GroupId, NodeId, PartitionId};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::{discovered, encode, rebalance};
use crate::access::Visibility;
use crate::api::caller::check_member;
use crate::api::page::{Page, PartitionKey, partition_key};
use crate::control::Control;
use crate::control::leader_admin::TransferGroup;
use crate::control::level_admin::FinalizedLevel;

/// Describes the cluster, its topics as far as the caller may see them.
pub(crate) async fn describe_cluster(
    control: &Control,
    request: &proto::DescribeClusterRequest,
    visible: &Visibility<'_>,
) -> Result<proto::DescribeClusterReply, Status> {
    check_member(control)?;
    let after = partition_key(&request.after_partition)?;
    let includes = |topic: &str| visible.includes_topic(topic);
    let mut reply = encode::cluster(control.cluster.describe_cluster(&includes).await);
    discovered::add(&mut reply, &control.membership);
    let metadata = control.view.load();
    reply.set_rebalance_state(rebalance::state(metadata.rebalancing()));
    reply.moves_in_progress = rebalance::moves_in_progress(&metadata);
    let partitions = std::mem::take(&mut reply.partitions).into_iter();
    let page = Page::of(
        partitions.filter(|partition| {
            is_after(partition, after.as_ref())
                && !(request.omit_healthy_partitions
                    && partition.health() == proto::PartitionHealth::Healthy)
                && includes(&partition.topic)
        }),
        request.max_partition_count,
    );
    reply.next_partition = page.next(|last| format!("{}/{}", last.topic, last.partition));
    reply.partitions = page.items;
    Ok(reply)
}

fn is_after(partition: &proto::PartitionDescription, after: Option<&PartitionKey>) -> bool {
    after.is_none_or(|(topic, number)| {
        (&*partition.topic, partition.partition) > (&**topic, number.get())
    })
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
