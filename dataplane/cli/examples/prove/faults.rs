//! Faults under load: every acknowledged record is in the log afterwards, exactly once.

mod kill;
mod retention;

pub(crate) use kill::{Crashes, Victims};
pub(crate) use retention::Retention;
