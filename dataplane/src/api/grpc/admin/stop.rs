//! Preparing the stop of a node.

use std::sync::Arc;

use lograft_core::NodeId;
use lograft_core::acl::Principal;
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use crate::api::caller::check_member;
use crate::control::Control;
use crate::control::stop_check::StopCheck;
use crate::control::stop_preparation::StopError;
use crate::error::ApiError;

pub(crate) async fn prepare_stop(
    control: &Control,
    request: &proto::PrepareStopRequest,
    by: &Arc<Principal>,
) -> Result<proto::PrepareStopReply, Status> {
    check_member(control)?;
    let node = NodeId(request.node_id);
    let check = control.stops.prepare(node, by).await.map_err(failed)?;
    Ok(reply(node, check))
}

fn failed(error: StopError) -> ApiError {
    match error {
        StopError::Propose(error) => error.into(),
        StopError::UnknownNode(node) => ApiError::unknown_node(node),
    }
}

fn reply(node: NodeId, check: StopCheck) -> proto::PrepareStopReply {
    let (ready, keeps_majorities) = (check.is_ready(), check.keeps_majorities());
    // The leaderships are mentioned only if nothing else blocks the stop.
    let leads = check.still_leads(node).filter(|_| keeps_majorities);
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
