//! Lograft's custom resources: [`LogCluster`], [`LogTopic`] and [`LogUser`], their [conditions and
//! their reasons](conditions), the [names and labels](names) of a cluster's objects, and the
//! operator's [limits].
//!
//! Architecture invariant: this crate uses no API client, no runtime and no clock. Code that calls
//! the API server is in crates above it.

pub mod conditions;
pub mod generate;
pub mod limits;
pub mod log_cluster;
pub mod log_topic;
pub mod log_user;
pub mod names;
pub mod quantity;
pub mod rules;

pub use log_cluster::{LogCluster, LogClusterSpec, LogClusterStatus};
pub use log_topic::{LogTopic, LogTopicSpec, LogTopicStatus};
pub use log_user::{LogUser, LogUserSpec, LogUserStatus};
pub use quantity::{ByteSize, Period, QuantityError};
