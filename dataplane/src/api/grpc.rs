//! The gRPC services of a node.

mod admin;
pub mod admin_service;
mod heartbeats;
pub mod log;
pub mod log_service;
pub mod node_service;
pub mod raft_service;
pub mod status;
