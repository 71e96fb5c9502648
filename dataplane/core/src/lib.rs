//! The decisions of Lograft as pure functions and state machines: no clock, no IO, no async runtime
//! and no global randomness. Time and random numbers are arguments.

pub mod acl;
pub mod assignment;
pub mod capacity;
pub mod check;
pub mod cluster_time;
pub mod compression;
pub mod consumer_group;
pub mod entry;
pub mod feature_level;
pub mod ids;
pub mod incarnation;
pub mod limits;
pub mod lost_nodes;
pub mod majority;
pub mod memory;
pub mod metadata;
pub mod node_reading;
pub mod offset;
pub mod partition;
pub mod partitioner;
pub mod producer_id_key;
pub mod producer_table;
pub mod random;
pub mod reason;
pub mod rebalance;
pub mod record;
pub mod record_batch;
pub mod record_time;
pub mod recovery;
pub mod replication_factor;
pub mod retention;
mod size_chain;
pub mod size_limits;
pub mod topic;
pub mod topic_config;
pub mod varint;

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
#[path = "../tests/support/fixtures.rs"]
mod fixtures;

pub use compression::Compression;
pub use entry::{Entry, EntryKind, LogId, Membership, ProducerStamp, Proposal, Vote};
pub use feature_level::FeatureLevel;
pub use ids::{ClusterId, GroupId, NodeId, PartitionId, ProducerEpoch, ProducerId, Sequence};
pub use incarnation::{Incarnation, SeenIncarnations};
pub use majority::majority_of;
pub use memory::MemoryBudgets;
pub use metadata::NodeState;
pub use node_reading::{DiskMark, DiskReading, NodeReading};
pub use offset::{LogIndex, Offset, Term};
pub use partition::{Admission, Applied, LeaderState, PartitionState, Rejection};
pub use reason::{Reason, ReceivedReason};
pub use record::Record;
pub use record_batch::{BatchBuilder, BatchError, BatchLimits, BatchView, EncodedBatch};
pub use recovery::RecoveryEpoch;
pub use retention::RetentionPolicy;
pub use size_limits::SizeLimits;
pub use topic_config::{TopicConfig, TopicKey, TopicSettings};
