//! The gRPC services of a node. They decode, authorize, call `serving` or `control`, and encode.

mod access;
pub(crate) mod access_service;
mod admin;
pub(crate) mod admin_service;
pub(crate) mod client_calls;
pub(crate) mod group_service;
mod groups;
mod heartbeats;
pub(crate) mod late;
mod library_errors;
mod log;
pub(crate) mod log_service;
pub(crate) mod node_service;
pub(crate) mod peer_checks;
mod principal;
pub(crate) mod raft_service;
pub(crate) mod refused;
pub(crate) mod status;
