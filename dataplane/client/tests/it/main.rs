//! The client against a cluster of fake nodes: real connections over loopback with mTLS, and nodes
//! with injected faults. The fakes verify sequences like a leader does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod certs;
mod connect;
mod consume;
mod fake;
mod group;
mod nearest;
mod produce;
mod stale;
