//! What should stand for a LogCluster, as data, and what to do about it: [`ValidCluster`] is a
//! LogCluster that was checked, [`Observed`] is the world, [`Settings`] is what the operator was
//! told. [`build::desired`] makes of them every object, [`plan::plan`] what to do next, and
//! [`status::next`] what to say; the same bytes for the same arguments.
//!
//! Architecture invariant: nothing here reads a clock, a file, the network or chance, and no map
//! is iterated in an order that differs from run to run. Applying is the operator's work; it makes
//! no choices.

pub mod cluster;
mod drift;

pub use cluster::*;
pub use drift::{bytes as bytes_of, covers};
