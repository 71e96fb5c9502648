//! The calls of the admin service.

mod access;
mod cluster;
mod nodes;
mod stop;
mod topics;

use crate::api::grpc::status::ApiError;
use crate::control::Control;
use lograft_core::Reason;

pub(crate) use access::Access;
pub(crate) use cluster::{describe_cluster, transfer_leadership};
pub(crate) use nodes::{bootstrap, decommission_node, join, recommission_node};
pub(crate) use stop::prepare_stop;
pub(crate) use topics::{alter_topic, create_topic, delete_topic, describe_topic, list_topics};

/// Refuses calls while the node belongs to no cluster, or knows nothing of its own yet. The two
/// are told apart: who is told of no cluster may make one.
fn check_member(control: &Control) -> Result<(), ApiError> {
    let is_member = control.member().is_some();
    if is_member && control.view().load().cluster_id().is_some() {
        return Ok(());
    }
    if is_member || control.parts().storage.identity().is_some() {
        let text = "this node belongs to a cluster and has not caught up with it yet";
        return Err(ApiError::new(Reason::NotReady, text));
    }
    let text = "this node belongs to no cluster yet";
    Err(ApiError::new(Reason::NotBootstrapped, text))
}
