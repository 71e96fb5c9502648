//! From a LogCluster and a world to the objects: golden files, and what must always hold.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: the panic is the finding"
)]
