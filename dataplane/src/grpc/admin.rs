//! The calls of the admin service.

mod access;
mod cluster;
mod nodes;
mod stop;
mod topics;

use crate::control::Control;
use crate::grpc::error::ApiError;
use lograft_core::Reason;

pub(crate) use access::Access;
pub(crate) use cluster::{describe_cluster, transfer_leadership};
pub(crate) use nodes::{bootstrap, decommission_node, join, recommission_node};
pub(crate) use stop::prepare_stop;
pub(crate) use topics::{alter_topic, create_topic, delete_topic, describe_topic, list_topics};

/// Refuses calls while the node belongs to no cluster.
fn check_member(control: &Control) -> Result<(), ApiError> {
    if control.member().is_none() || control.view().load().cluster_id().is_none() {
        let text = "this node belongs to no cluster yet";
        return Err(ApiError::new(Reason::NotBootstrapped, text));
    }
    Ok(())
}
