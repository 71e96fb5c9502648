//! The gRPC services of a node.

pub mod raft_service;
