//! The calls of the admin service.

mod cluster;
mod discovered;
mod encode;
mod nodes;
mod older_disk;
mod rebalance;
mod recovery;
mod stop;
mod topics;

pub(crate) use cluster::{describe_cluster, finalize_level, transfer_leadership};
pub(crate) use nodes::{bootstrap, decommission_node, join, recommission_node};
pub(crate) use older_disk::accept_older_disk;
pub(crate) use rebalance::rebalance;
pub(crate) use recovery::{recover_groups, recover_metadata};
pub(crate) use stop::prepare_stop;
pub(crate) use topics::{alter_topic, create_topic, delete_topic, describe_topic, list_topics};
