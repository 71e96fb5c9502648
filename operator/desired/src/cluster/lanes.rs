//! The lanes of a plan.

pub(crate) mod bootstrap;
pub(crate) mod certificates;
pub(crate) mod disks;
pub(crate) mod rollout;
pub(crate) mod scale;
