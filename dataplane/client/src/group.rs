//! Consumer groups: several consumers that share the partitions of topics.

mod admin;
mod calls;
mod commits;
mod config;
mod consumer;
mod membership;
mod partition;
mod readers;
mod record;
mod session;
mod shared;

pub use self::admin::GroupAdmin;
pub use self::commits::GroupHandle;
pub use self::config::{Assignor, GroupConfig, GroupStart};
pub use self::consumer::{GroupConsumer, GroupEvent};
pub use self::partition::{GroupPartition, GroupStatus, PartitionStatus};
pub use self::record::{GroupBatch, GroupRecord};
