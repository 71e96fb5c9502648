//! Connections to nodes and cached metadata, shared by producers, consumers and administration.

pub(crate) mod metadata;
mod metadata_cache;
pub(crate) mod node;
pub(crate) mod node_pool;
pub(crate) mod replicas;
