//! Recovering groups that lost their majority.

use std::sync::Arc;

use lograft_core::NodeId;
use lograft_core::acl::Principal;
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::older_disk::named_group;
use crate::api::caller::check_member;
use crate::control::Control;
use crate::control::node_report::ReplicaReport;
use crate::control::peer_calls::MetaRecovery;
use crate::control::recovery_admin::{Decision, LostGroup, RecoverRequest};

pub(crate) async fn recover_groups(
    control: &Control,
    request: proto::RecoverGroupsRequest,
    by: &Arc<Principal>,
) -> Result<proto::RecoverGroupsReply, Status> {
    check_member(control)?;
    let proto::RecoverGroupsRequest {
        topic,
        partition,
        group_id,
        node_id,
        dry_run,
    } = request;
    let request = RecoverRequest {
        group: named_group(control, (&topic, partition), group_id)?,
        survivor: (node_id > 0).then_some(NodeId(node_id)),
        is_dry_run: dry_run,
    };
    let (groups, more) = control.recoveries.recover(request, by).await?;
    let groups = groups.into_iter().map(|lost| encode(control, lost));
    Ok(proto::RecoverGroupsReply {
        groups: groups.collect(),
        more,
    })
}

pub(crate) async fn recover_metadata(
    control: &Control,
    request: &proto::RecoverMetadataRequest,
) -> Result<proto::RecoverMetadataReply, Status> {
    check_member(control)?;
    let node = (request.node_id > 0).then_some(NodeId(request.node_id));
    let recovering = control.meta_recoveries.recover(node, request.dry_run);
    let MetaRecovery {
        node,
        epoch,
        last,
        following,
        lost,
    } = recovering.await?;
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(NodeId::get).collect();
    Ok(proto::RecoverMetadataReply {
        node_id: node.get(),
        recovery_epoch: epoch.get(),
        last_index: last.map_or(0, |last| last.index.get()),
        following_node_ids: ids(following),
        lost_node_ids: ids(lost),
    })
}

fn encode(control: &Control, lost: LostGroup) -> proto::RecoveredGroup {
    let LostGroup {
        group,
        replicas,
        decision,
        epoch,
        is_done,
    } = lost;
    let metadata = control.view.load();
    let place = metadata.group(group);
    let topic = place.filter(|place| !place.topic.is_coordinators());
    let (node, refused) = match decision {
        Decision::Survivor(node) | Decision::InProgress(node) => (node.get(), String::new()),
        Decision::Refused(refusal) => (0, refusal.to_string()),
    };
    proto::RecoveredGroup {
        group_id: group.get(),
        topic: topic.map_or_else(String::new, |place| place.topic.name.clone()),
        partition: place.map_or(0, |place| place.number.get()),
        replicas: replicas.into_iter().map(replica).collect(),
        node_id: node,
        recovery_epoch: epoch.get(),
        done: is_done,
        refused,
    }
}

fn replica((node, report): (NodeId, Option<ReplicaReport>)) -> proto::RecoverableReplica {
    let is_reachable = report.is_some();
    let report = report.unwrap_or_default();
    proto::RecoverableReplica {
        node_id: node.get(),
        reachable: is_reachable,
        corrupt: report.corrupt,
        last_term: report.last_term.get(),
        last_index: report.last_index.get(),
        high_watermark: report.high_watermark.get(),
        log_end_offset: report.log_end.get(),
    }
}
