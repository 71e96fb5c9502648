//! The client against a cluster of fakes: real connections over loopback with mTLS, and nodes that
//! fail as they are told. The fakes check sequences as a leader does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod certs;
mod connect;
mod consume;
mod fake;
mod produce;
