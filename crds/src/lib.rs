//! Lograft's custom resources, as the API server knows them and as everyone else reads them:
//! [`LogCluster`], its [conditions and their reasons](conditions), [names and labels](names) of
//! what stands for a cluster, and the operator's [limits].
//!
//! Architecture invariant: this crate knows no client, no runtime and no clock. Whoever needs the
//! API server is above it.

pub mod conditions;
pub mod generate;
pub mod limits;
pub mod log_cluster;
pub mod names;
pub mod quantity;
pub mod rules;

pub use log_cluster::{LogCluster, LogClusterSpec, LogClusterStatus};
pub use quantity::{ByteSize, Period, QuantityError};
