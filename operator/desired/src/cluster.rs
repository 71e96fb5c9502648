//! LogCluster: [`ValidCluster`] is a checked LogCluster and [`Observed`] a snapshot of what exists.
//! [`build::desired`] makes the desired objects from them, [`plan`] the next step, and
//! [`status::next`] the status after the step was carried out.

mod action;
mod authorization;
pub mod build;
mod contest;
mod contests;
mod disk_host;
mod gossip_keys;
mod http;
mod image;
mod lane;
mod lanes;
mod observed;
mod outcome;
mod plan;
mod replicas;
mod rollout_hash;
mod secret_plan;
pub mod status;
mod template;
mod turn;
mod validate;
mod view;
mod wait;
mod windows;

pub use action::{Ask, Delete, Deletion, Event, Grow, Identity, Mend, Stop};
pub use authorization::ValidAuthorization;
pub(crate) use authorization::super_users;
pub use build::Desired;
pub use contest::Contest;
pub use disk_host::{DiskHost, HostLoss};
pub use gossip_keys::{
    GOSSIP_KEYS_FIELD, GossipKeyPlan, GossipKeySource, GossipKeyState, ObservedGossipKeys,
};
pub use observed::{
    NodeAnswer, Observed, ObservedCertificate, ObservedDisk, ObservedMetadata, ObservedPod,
    ObservedSecret,
};
pub use outcome::{Outcome, RefusedGrowth, Step, StepFailure, UnpreparedStop};
pub use plan::{Plan, PlanError, Proposal, plan, plan_certificates};
pub use secret_plan::{Leaf, ROOTS_FIELD, SecretPlan, key_field};
pub use turn::revision;
pub use validate::{RolloutRecord, ValidCluster, wave_of_annotations};
pub use view::{
    ClusterView, FeatureLevel, NodeState, ObservedCheck, ObservedNode, ObservedNote,
    ObservedPartition, ObservedReplica, SeenNode, StableNodes,
};
pub use wait::{Intervention, Progress, Wait};
pub use windows::Window;
