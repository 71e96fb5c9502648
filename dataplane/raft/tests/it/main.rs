//! Groups of replicas in one process, over an in-memory transport.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cluster;
mod failover;
mod joining;
mod members;
mod net;
mod older_disk;
mod power;
mod purging;
mod recovery;
mod sum;
