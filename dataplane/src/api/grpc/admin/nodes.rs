//! Bootstrap, join and decommission of nodes.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::metadata::Registration;
use lograft_core::{ClusterId, FeatureLevel, NodeId};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::encode::node_state;
use crate::api::caller::check_member;
use crate::control::Control;
use crate::control::cluster_entry::{Bootstrapped, EnterError};
use crate::control::node_admin::{DecommissionProgress, RegisteredNode};
use crate::control::peer_calls::JoinCall;
use crate::error::ApiError;
use crate::error_text::error_chain;

pub(crate) async fn bootstrap(
    control: &Control,
    request: proto::BootstrapRequest,
) -> Result<proto::BootstrapReply, Status> {
    let cluster: ClusterId = request
        .cluster_id
        .parse()
        .map_err(|_| ApiError::invalid("cluster_id", "a UUID"))?;
    let Bootstrapped { member, is_created } = control
        .entry
        .bootstrap(cluster)
        .await
        .map_err(|error| enter_error(&error))?;
    Ok(proto::BootstrapReply {
        cluster_id: member.cluster.to_string(),
        node_id: member.node.get(),
        created: is_created,
    })
}

fn enter_error(error: &EnterError) -> ApiError {
    ApiError::new(error.reason(), error_chain(error))
}

pub(crate) async fn join(
    control: &Control,
    request: proto::JoinRequest,
) -> Result<proto::JoinReply, Status> {
    check_member(control)?;
    let call =
        join_call(request).ok_or_else(|| ApiError::invalid("registration_token", "a UUID"))?;
    let RegisteredNode { member, members } = control.nodes.register(call).await?;
    let members = members.into_iter().map(|(id, registration)| proto::Member {
        node_id: id.get(),
        name: registration.name,
        peer_address: registration.peer_address,
    });
    Ok(proto::JoinReply {
        cluster_id: member.cluster.to_string(),
        node_id: member.node.get(),
        members: members.collect(),
    })
}

pub(crate) async fn decommission_node(
    control: &Control,
    request: &proto::DecommissionNodeRequest,
    by: &Arc<Principal>,
) -> Result<proto::DecommissionNodeReply, Status> {
    check_member(control)?;
    let node = NodeId(request.node_id);
    let DecommissionProgress {
        state,
        replicas_left,
    } = control.nodes.decommission(node, by).await?;
    Ok(proto::DecommissionNodeReply {
        state: node_state(state).into(),
        replicas_left: u32::try_from(replicas_left).unwrap_or(u32::MAX),
    })
}

pub(crate) async fn recommission_node(
    control: &Control,
    request: &proto::RecommissionNodeRequest,
    by: &Arc<Principal>,
) -> Result<proto::RecommissionNodeReply, Status> {
    check_member(control)?;
    let state = control
        .nodes
        .recommission(NodeId(request.node_id), by)
        .await?;
    Ok(proto::RecommissionNodeReply {
        state: node_state(state).into(),
    })
}

/// The content of a join request; `None` if its token is malformed. The meta group checks the rest.
fn join_call(request: proto::JoinRequest) -> Option<JoinCall> {
    let proto::JoinRequest {
        registration_token,
        name,
        client_address,
        peer_address,
        zone,
        feature_level,
    } = request;
    let token = registration_token.parse().ok()?;
    let registration = Registration {
        token,
        name,
        client_address,
        peer_address,
        zone,
    };
    Some(JoinCall {
        registration,
        level: FeatureLevel(feature_level),
    })
}
