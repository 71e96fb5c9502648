//! The APIs of a node: thin adapters over `serving` and `control`. They decode, authorize, call
//! and encode; they decide nothing.

pub(crate) mod grpc;
