//! Bootstrap, join and decommission of nodes.

use lograft_core::metadata::{Command, MetaError, Outcome, Registration};
use lograft_core::{ClusterId, NodeId, NodeState, Reason};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::check_member;
use super::encode::node_state;
use crate::control::cluster_entry::{Bootstrapped, EnterError};
use crate::control::{Control, replicas_left};
use crate::error::ApiError;
use crate::error_text::error_chain;
use crate::serving::meta_group::{ProposeMeta, ProposeMetaError};

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
    let registration =
        registration(request).ok_or_else(|| ApiError::invalid("registration_token", "a UUID"))?;
    let outcome = control
        .proposer
        .propose(Command::RegisterNode(registration))
        .await;
    let node = match outcome.map_err(ApiError::from)? {
        Outcome::Node(node) => node,
        Outcome::Done | Outcome::Topic(_) | Outcome::Producers { .. } => {
            return Err(
                ApiError::new(Reason::Internal, "the meta group returned no node id").into(),
            );
        }
    };
    let metadata = control.view.load();
    let members = metadata.members().map(|member| proto::Member {
        node_id: member.id.get(),
        name: member.registration.name.clone(),
        peer_address: member.registration.peer_address.clone(),
    });
    Ok(proto::JoinReply {
        cluster_id: metadata
            .cluster_id()
            .map(|id| id.to_string())
            .unwrap_or_default(),
        node_id: node.get(),
        members: members.collect(),
    })
}

pub(crate) async fn decommission_node(
    control: &Control,
    request: &proto::DecommissionNodeRequest,
) -> Result<proto::DecommissionNodeReply, Status> {
    check_member(control)?;
    let node = NodeId(request.node_id);
    match control.proposer.propose(Command::DrainNode { node }).await {
        // Repeated requests are how callers follow the progress: a node that is removed by now is done.
        Ok(_) | Err(ProposeMetaError::Refused(MetaError::NodeDecommissioned { .. })) => {}
        Err(error) => return Err(ApiError::from(error).into()),
    }
    let metadata = control.view.load();
    let state = metadata
        .node(node)
        .map_or(NodeState::Removed, |node| node.state);
    Ok(proto::DecommissionNodeReply {
        state: node_state(state).into(),
        replicas_left: u32::try_from(replicas_left(&metadata, node)).unwrap_or(u32::MAX),
    })
}

pub(crate) async fn recommission_node(
    control: &Control,
    request: &proto::RecommissionNodeRequest,
) -> Result<proto::RecommissionNodeReply, Status> {
    check_member(control)?;
    let node = NodeId(request.node_id);
    let command = Command::UndrainNode { node };
    control
        .proposer
        .propose(command)
        .await
        .map_err(ApiError::from)?;
    Ok(proto::RecommissionNodeReply {
        state: node_state(NodeState::Active).into(),
    })
}

/// The registration in a join request; `None` if its token is malformed. The meta group checks the
/// rest.
fn registration(request: proto::JoinRequest) -> Option<Registration> {
    let proto::JoinRequest {
        registration_token,
        name,
        client_address,
        peer_address,
        zone,
    } = request;
    let token = registration_token.parse().ok()?;
    Some(Registration {
        token,
        name,
        client_address,
        peer_address,
        zone,
    })
}
