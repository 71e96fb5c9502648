//! The node's service for clients, without any protocol: `api` and `transport` translate to and
//! from the types of [`request`].
//!
//! Architecture invariant: nothing here names tonic, axum or protobuf types.

pub(crate) mod append;
mod append_budget;
mod by_hop;
pub(crate) mod consumer_groups;
pub(crate) mod decompression;
pub(crate) mod delete_records;
mod disk_read;
mod disk_room;
pub(crate) mod engine;
mod fair_memory;
pub(crate) mod fetch;
pub(crate) mod forward;
pub(crate) mod leadership;
pub(crate) mod locate;
pub(crate) mod meta_group;
pub(crate) mod metadata;
pub(crate) mod offsets;
pub(crate) mod partitioning;
mod producer_ids;
pub(crate) mod replica;
pub(crate) mod reply_memory;
pub(crate) mod request;
