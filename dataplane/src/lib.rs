//! A Lograft node as a library: IO and wiring around `lograft-core`, `lograft-storage` and
//! `lograft-raft`. [`run::run`] is a whole node; the programs `lograft-node` and `lograft` call it.
//!
//! From the top, imports only go down: `run`; `api` and `transport`; `access` and `control`;
//! `serving`; `state_machine`; and modules that all of them use, such as `error`, `config`,
//! `clock`.

mod access;
mod api;
mod blocking;
pub mod clock;
mod closing;
pub mod config;
mod control;
mod convert;
mod error;
mod error_text;
pub mod exchange;
mod fatal;
pub mod health;
pub mod host;
mod identity;
pub mod incarnation;
mod listen;
mod log_limit;
mod memory_limit;
pub mod metrics;
pub mod net;
pub mod recovery_epochs;
mod reload;
pub mod run;
pub mod salvage;
mod serving;
mod small_file;
mod state_machine;
pub mod telemetry;
pub mod tls;
pub mod transport;
mod watchdog;

pub use error_text::error_chain;
pub use log_limit::LogLimit;

#[cfg(test)]
#[path = "../tests/support/pki.rs"]
mod pki;

#[cfg(test)]
#[path = "../core/tests/support/fuzz.rs"]
mod fuzz;

#[cfg(test)]
mod fixture;

#[cfg(test)]
#[path = "../core/tests/support/fixtures.rs"]
mod fixtures;

#[cfg(test)]
#[path = "../raft/tests/it/net.rs"]
#[expect(dead_code, reason = "raft's tests use more of it")]
mod test_net;
