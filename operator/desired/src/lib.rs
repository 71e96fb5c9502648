//! The operator's decisions as pure functions. [`cluster`] holds those for a LogCluster: from the
//! object and an observation of the cluster to the desired objects, the next step and the status.
//! [`topic`] holds those for a LogTopic, [`user`] those for a LogUser. [`consent`] says whether an
//! object may name a LogCluster.
//!
//! Architecture invariant: nothing here reads a clock, a file, the network or a random source, and
//! no map has an iteration order that differs between runs. The same arguments give the same bytes.
//! The operator carries plans out and makes no decisions.

pub mod cluster;
mod cluster_wait;
mod condition;
pub mod consent;
mod dependent_status;
mod drift;
pub mod fleet;
mod object;
mod quantity;
mod record_sizes;
mod settings;
mod text;
mod time;
pub mod topic;
pub mod user;
mod validation;
mod version;

pub use cluster_wait::ClusterWait;
pub use object::{ObjectKey, ObjectRef};
pub use quantity::bytes_of;
pub use settings::Settings;
pub use text::{cut_words, end_words, hash_text};
pub use validation::ValidationError;
