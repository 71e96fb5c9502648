//! LogCluster: from the object and what was observed to the next step and the status.

pub mod build;
mod lanes;
mod observed;
pub mod plan;
mod replicas;
pub mod status;
mod validate;

pub use build::{BuildError, Desired};
pub use lanes::certificates::{Leaf, SecretPlan, key_field};
pub use observed::{
    Answer, CertificateSeen, DiskSeen, NodeSeen, NodeState, ObjectKey, Observed, PartitionSeen,
    PodSeen, ReplicaSeen, SecretSeen, Settings, View,
};
pub use plan::{Ask, Delete, Event, Grow, Note, Plan, Stop, plan};
pub use replicas::pods;
pub use validate::{Lives, Refused, ValidCluster};
