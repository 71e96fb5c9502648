//! The APIs of a node: thin adapters over `serving` and `control`. They decode, authorize, call
//! and encode; they decide nothing.

pub(crate) mod call_rules;
mod caller;
mod group_calls;
pub(crate) mod grpc;
pub(crate) mod held_reply;
pub(crate) mod http;
mod page;
mod until_closing;
