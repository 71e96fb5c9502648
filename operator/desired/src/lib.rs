//! What should stand for a LogCluster, as data, and what to do about it: [`ValidCluster`] is a
//! LogCluster that was checked, [`Observed`] is the world, [`Settings`] is what the operator was
//! told. [`build::desired`] makes of them every object, [`plan::plan`] what to do next, and
//! [`status::next`] what to say; the same bytes for the same arguments.
//!
//! Architecture invariant: nothing here reads a clock, a file, the network or chance, and no map
//! is iterated in an order that differs from run to run. Applying is the operator's work; it makes
//! no choices.

mod bootstrap;
pub mod build;
mod certificates;
mod covers;
mod disks;
mod node_config;
mod observed;
pub mod plan;
mod replicas;
mod rollout;
mod scale;
pub mod status;
mod validate;

pub use build::{BuildError, Desired};
pub use certificates::{Leaf, SecretPlan, key_field};
pub use covers::{bytes as bytes_of, covers};
pub use observed::{
    Answer, CertificateSeen, DiskSeen, NodeSeen, NodeState, ObjectKey, Observed, PartitionSeen,
    PodSeen, ReplicaSeen, SecretSeen, Settings, View,
};
pub use plan::{Ask, Delete, Event, Grow, Note, Plan, Stop, plan};
pub use replicas::pods;
pub use validate::{Lives, Refused, ValidCluster};
