//! What should stand for a LogCluster, as data: [`ValidCluster`] is a LogCluster that was
//! checked, [`Observed`] is the world, [`Settings`] is what the operator was told, and
//! [`build::desired`] makes of them every object, the same bytes for the same arguments.
//!
//! Architecture invariant: nothing here reads a clock, a file, the network or chance, and no map
//! is iterated in an order that differs from run to run. Applying is the operator's work; it makes
//! no choices.

pub mod build;
mod node_config;
mod observed;
mod replicas;
mod rollout;
mod validate;

pub use build::{BuildError, Desired};
pub use observed::{Observed, Settings};
pub use replicas::pods;
pub use validate::{Refused, ValidCluster};
