//! What producers, consumers and administration share: connections to nodes, and cached metadata.

pub(crate) mod metadata;
mod metadata_cache;
pub(crate) mod node;
pub(crate) mod node_pool;
