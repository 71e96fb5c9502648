//! The calls of the admin service.

mod cluster;
mod discovered;
mod encode;
mod nodes;
mod older_disk;
mod page;
mod stop;
mod topics;

use crate::control::Control;
use crate::error::ApiError;
use lograft_core::Reason;

pub(crate) use cluster::{describe_cluster, finalize_level, transfer_leadership};
pub(crate) use nodes::{bootstrap, decommission_node, join, recommission_node};
pub(crate) use older_disk::accept_older_disk;
pub(crate) use stop::prepare_stop;
pub(crate) use topics::{alter_topic, create_topic, delete_topic, describe_topic, list_topics};

/// Rejects calls while the node belongs to no cluster, or has not caught up with its own. The two
/// have different reasons: a caller may bootstrap only a node that belongs to no cluster.
pub(super) fn check_member(control: &Control) -> Result<(), ApiError> {
    let is_member = control.member.get().is_some();
    if is_member && control.view.load().cluster_id().is_some() {
        return Ok(());
    }
    if is_member || control.entry.has_identity() {
        let text = "this node belongs to a cluster and has not caught up with it yet";
        return Err(ApiError::new(Reason::NotReady, text));
    }
    let text = "this node does not belong to a cluster yet";
    Err(ApiError::new(Reason::NotBootstrapped, text))
}
