//! A Lograft node as a library: IO and wiring around `lograft-core`, `lograft-storage` and
//! `lograft-raft`. [`run::run`] is a whole node; the programs `lograft-node` and `lograft` call it.
//!
//! The edge: [`config`], [`identity`], [`tls`], [`net`], [`listen`], [`transport`], [`convert`],
//! [`health`], [`metrics`], [`telemetry`], [`run`].

mod chain;
pub mod clock;
pub mod config;
pub mod control;
pub mod convert;
pub mod fatal;
mod fetch;
pub mod forward;
pub mod grpc;
pub mod health;
pub mod identity;
mod leading;
pub mod listen;
pub mod machine;
pub mod meta;
pub mod metrics;
pub mod net;
pub mod produce;
pub mod replica;
pub mod run;
pub mod telemetry;
pub mod tls;
pub mod transport;

pub use chain::{LogLimit, error_chain};

#[cfg(test)]
#[path = "../tests/support/pki.rs"]
mod pki;

#[cfg(test)]
mod fixture;

#[cfg(test)]
#[path = "../raft/tests/it/net.rs"]
#[expect(dead_code, reason = "raft's tests use more of it")]
mod test_net;
