//! The balancing of replicas.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::limits::REBALANCE_STEPS_SHOWN_MAX_COUNT;
use lograft_core::metadata::{Metadata, Rebalancing};
use lograft_core::rebalance::{NodeChange, Step};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use crate::api::caller::check_member;
use crate::control::rebalance_admin::{RebalanceAction, RebalanceDescription};
use crate::control::{Control, decommission};
use crate::error::ApiError;

pub(crate) async fn rebalance(
    control: &Control,
    request: proto::RebalanceRequest,
    by: &Arc<Principal>,
) -> Result<proto::RebalanceReply, Status> {
    check_member(control)?;
    let action = match proto::RebalanceAction::try_from(request.action) {
        Ok(proto::RebalanceAction::Unspecified | proto::RebalanceAction::Plan) => {
            RebalanceAction::Plan
        }
        Ok(proto::RebalanceAction::Start) => RebalanceAction::Start,
        Ok(proto::RebalanceAction::Pause) => RebalanceAction::Pause,
        Ok(proto::RebalanceAction::Resume) => RebalanceAction::Resume,
        Err(_) => return Err(ApiError::invalid("action", "a known action").into()),
    };
    let RebalanceDescription { metadata, plan } = control.rebalance.run(action, by).await?;
    let steps = plan.steps.iter().filter_map(|step| encode(&metadata, step));
    Ok(proto::RebalanceReply {
        state: state(metadata.rebalancing()).into(),
        moves_in_progress: moves_in_progress(&metadata),
        steps: steps.take(REBALANCE_STEPS_SHOWN_MAX_COUNT).collect(),
        moves: plan.cost.moves,
        least_moves: plan.cost.least_moves,
        move_bytes: plan.cost.size_bytes,
        moves_of_unknown_size: plan.cost.unknown_sizes,
        leader_changes: plan.cost.leader_changes,
        nodes: plan.nodes.into_iter().map(node).collect(),
    })
}

/// The state of the balancing.
pub(super) const fn state(rebalancing: Rebalancing) -> proto::RebalanceState {
    match rebalancing {
        Rebalancing {
            is_paused: true, ..
        } => proto::RebalanceState::Paused,
        Rebalancing {
            is_wanted: true, ..
        } => proto::RebalanceState::Running,
        Rebalancing { .. } => proto::RebalanceState::Idle,
    }
}

/// Number of partitions that are being moved.
pub(super) fn moves_in_progress(metadata: &Metadata) -> u32 {
    u32::try_from(decommission::moves_in_progress(metadata)).unwrap_or(u32::MAX)
}

fn encode(metadata: &Metadata, step: &Step) -> Option<proto::RebalanceStep> {
    let place = metadata.group(step.group())?;
    let (from, to, bytes) = match *step {
        Step::Move {
            from,
            to,
            size_bytes,
            ..
        } => (from, to, size_bytes),
        Step::Lead { from, to, .. } => (from, to, None),
    };
    Some(proto::RebalanceStep {
        topic: place.topic.name.clone(),
        partition: place.number.get(),
        from_node: from.get(),
        to_node: to.get(),
        leader_only: matches!(step, Step::Lead { .. }),
        bytes,
    })
}

fn node(change: NodeChange) -> proto::RebalanceNode {
    let NodeChange {
        node,
        zone,
        replicas,
        leaders,
    } = change;
    proto::RebalanceNode {
        node_id: node.get(),
        zone,
        replicas_before: replicas.before,
        replicas_after: replicas.after,
        leaders_before: leaders.before,
        leaders_after: leaders.after,
    }
}
