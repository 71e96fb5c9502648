//! What a node does for clients, without any protocol.

pub mod append;
pub mod fetch;
pub mod forward;
pub mod locate;
pub mod meta_group;
pub(crate) mod producer_ids;
pub mod replica;
