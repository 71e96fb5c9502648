//! A node is about to be stopped by whoever changes its pod.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use lograft_core::limits::{
    PREPARE_LOOK_INTERVAL, PREPARE_TRANSFER_MAX, PREPARE_TRANSFERS_AT_ONCE_MAX_COUNT,
    STOP_REST_MAX, STOP_REST_RENEW_MAX,
};
use lograft_core::metadata::Command;
use lograft_core::{GroupId, NodeId, NodeState, Reason};
use lograft_proto::admin::v1 as proto;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;
use tracing::{debug, info};

use super::check_member;
use super::cluster::hand_over;
use crate::api::grpc::status::ApiError;
use crate::control::Control;
use crate::control::stop_check::{StopCheck, check_stop};
use crate::serving::meta_group::ProposeMeta;

pub(crate) async fn prepare_stop(
    control: &Control,
    request: &proto::PrepareStopRequest,
) -> Result<proto::PrepareStopReply, Status> {
    check_member(control)?;
    let node = NodeId(request.node_id);
    let state = control.view().load().node(node).map(|node| node.state);
    match state {
        None => {
            let text = format!("there is no node {node}");
            return Err(ApiError::new(Reason::UnknownNode, text).into());
        }
        Some(NodeState::Removed) => return Ok(reply(node, StopCheck::default())),
        Some(NodeState::Active | NodeState::Draining) => {}
    }
    let mut check = look(control, node).await;
    if !check.waits_for.is_empty() {
        return Ok(reply(node, check));
    }
    let deadline = Instant::now() + PREPARE_TRANSFER_MAX;
    rest(control, node).await?;
    // A leader that is new needs a moment until it serves and has heard of its followers.
    while !check.is_ready() && Instant::now() < deadline {
        if check.waits_for.is_empty() {
            let handed = hand_over_all(control, &check.leads);
            if timeout_at(deadline, handed).await.is_err() {
                debug!(%node, "its leaderships were not all handed over in time");
            }
        } else {
            sleep(PREPARE_LOOK_INTERVAL).await;
        }
        check = look(control, node).await;
    }
    if check.is_ready() {
        info!(%node, "the node leads nothing and may be stopped");
    }
    Ok(reply(node, check))
}

async fn look(control: &Control, node: NodeId) -> StopCheck {
    let reports = control.gather().await;
    check_stop(&control.view().load(), &reports, node)
}

fn reply(node: NodeId, check: StopCheck) -> proto::PrepareStopReply {
    let (ready, keeps_majorities) = (check.is_ready(), check.waits_for.is_empty());
    // A word on what it leads only where that is all that is left.
    let leads = check
        .still_leads(node)
        .filter(|_| check.waits_for.is_empty());
    let StopCheck {
        mut waits_for,
        notes,
        leads: _,
    } = check;
    waits_for.extend(leads);
    proto::PrepareStopReply {
        ready,
        waits_for,
        notes,
        keeps_majorities,
    }
}

/// Sees to it that nothing is handed to the node by itself for a while.
async fn rest(control: &Control, node: NodeId) -> Result<(), ApiError> {
    let now_ms = control.parts().clock.now_ms();
    let metadata = control.view().load();
    let left = metadata
        .node(node)
        .and_then(|node| node.rests_for(now_ms))
        .unwrap_or(Duration::ZERO);
    if left > STOP_REST_RENEW_MAX {
        return Ok(());
    }
    let longest_ms = i64::try_from(STOP_REST_MAX.as_millis()).unwrap_or(i64::MAX);
    let until_ms = now_ms.saturating_add(longest_ms);
    let command = Command::RestNode { node, until_ms };
    control.propose(command).await.map_err(ApiError::from)?;
    Ok(())
}

/// The meta group goes last: as long as it stays, so does all that the others ask of it.
async fn hand_over_all(control: &Control, leads: &[(GroupId, NodeId)]) {
    let is_meta = |lead: &&(GroupId, NodeId)| lead.0 == GroupId::META;
    let partitions = leads.iter().filter(|lead| !is_meta(lead));
    stream::iter(partitions)
        .for_each_concurrent(PREPARE_TRANSFERS_AT_ONCE_MAX_COUNT, async |lead| {
            hand_over_one(control, *lead).await;
        })
        .await;
    if let Some(lead) = leads.iter().find(is_meta) {
        hand_over_one(control, *lead).await;
    }
}

async fn hand_over_one(control: &Control, (group, to): (GroupId, NodeId)) {
    if let Err(error) = hand_over(control, group, to).await {
        debug!(%group, %to, "the leadership stays: {error}");
    }
}
