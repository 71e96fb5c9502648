//! The gRPC services of a node.

pub mod error;
pub mod log;
pub mod log_service;
pub mod raft_service;
