//! The lanes of a plan, one file each. They are independent: a lane that waits does not stop the
//! others. What one lane needs from another is an argument, listed in `plan.rs`.

pub(crate) mod bootstrap;
pub(crate) mod certificates;
pub(crate) mod disks;
pub(crate) mod finalize;
pub(crate) mod gossip_keys;
pub(crate) mod leftover_disks;
pub(crate) mod lost_hosts;
pub(crate) mod metadata;
pub(crate) mod objects;
pub(crate) mod rollout;
pub(crate) mod scale;
