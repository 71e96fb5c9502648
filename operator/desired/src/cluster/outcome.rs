//! The result of carrying out a plan.

use std::fmt;

use crate::ObjectKey;
use crate::cluster::view::FeatureLevel;

/// The result of carrying out a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Cluster ID that was stored in this step.
    pub cluster_id: Option<String>,
    /// Ordinal of the pod that bootstraps, if it was stored in this step.
    pub bootstrap_ordinal: Option<i32>,
    /// Whether the bootstrap of the cluster was confirmed or stored in this step.
    pub bootstrapped: bool,
    /// Failed steps in their order.
    pub failures: Vec<StepFailure>,
    /// A node that is not prepared for its stop.
    pub unprepared_stop: Option<UnpreparedStop>,
    /// A disk whose growth the API server refused.
    pub refused_growth: Option<RefusedGrowth>,
}

impl Outcome {
    /// Failed writes to the API server. Failed calls to nodes are not among them: they are repeated
    /// at the pace of the plan.
    pub fn api_failures(&self) -> impl Iterator<Item = &StepFailure> {
        let failures = self.failures.iter();
        failures.filter(|failure| !failure.step.is_node_call())
    }
}

/// A failed step. Display says that it cannot be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The step.
    pub step: Step,
    /// The error with its causes.
    pub error: String,
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.step, self.error)
    }
}

/// The node of a pod that the rollout wants to stop, and why it is not prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpreparedStop {
    /// Name of the pod.
    pub pod: String,
    /// Reason given by the node.
    pub why: String,
}

/// A PVC whose growth was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedGrowth {
    /// Name of the PVC.
    pub claim: String,
    /// Reason given by the API server.
    pub why: String,
}

/// A step of carrying out a plan. Display is a verb and its object, for `cannot <step>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store the cluster ID and the bootstrap mark in status.
    StoreIdentity,
    /// Issue the certificates of a Secret.
    IssueCertificates(String),
    /// Write a Secret.
    WriteSecret(String),
    /// Grow a PVC.
    Grow(String),
    /// Restore an object that others have changed.
    Mend(ObjectKey),
    /// Apply an object.
    Apply(ObjectKey),
    /// Mark a pod as draining.
    Drain(ObjectKey),
    /// Delete an object.
    Delete(ObjectKey),
    /// Prepare the node of a pod for its stop.
    PrepareStop(String),
    /// Bootstrap the cluster.
    Bootstrap,
    /// Decommission a node.
    Decommission(u64),
    /// Cancel the decommission of a node.
    Recommission(u64),
    /// Finalize a feature level.
    FinalizeLevel(FeatureLevel),
}

impl Step {
    /// Whether it is a call to a node, not a write to the API server.
    pub fn is_node_call(&self) -> bool {
        match self {
            Self::PrepareStop(_)
            | Self::Bootstrap
            | Self::Decommission(_)
            | Self::Recommission(_)
            | Self::FinalizeLevel(_) => true,
            Self::StoreIdentity
            | Self::IssueCertificates(_)
            | Self::WriteSecret(_)
            | Self::Grow(_)
            | Self::Mend(_)
            | Self::Apply(_)
            | Self::Drain(_)
            | Self::Delete(_) => false,
        }
    }

    /// Whether it renews certificates.
    pub(crate) fn is_renewal(&self) -> bool {
        matches!(self, Self::IssueCertificates(_) | Self::WriteSecret(_))
    }

    /// The object of the step; none if it is about the whole cluster.
    pub fn subject(&self) -> Option<String> {
        match self {
            Self::StoreIdentity | Self::Bootstrap | Self::FinalizeLevel(_) => None,
            Self::IssueCertificates(name) | Self::WriteSecret(name) => {
                Some(format!("Secret {name}"))
            }
            Self::Grow(claim) => Some(format!("PersistentVolumeClaim {claim}")),
            Self::Mend(key) | Self::Apply(key) | Self::Drain(key) | Self::Delete(key) => {
                Some(key.to_string())
            }
            Self::PrepareStop(pod) => Some(format!("Pod {pod}")),
            Self::Decommission(node_id) | Self::Recommission(node_id) => {
                Some(format!("node {node_id}"))
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StoreIdentity => write!(f, "store the cluster ID in status"),
            Self::IssueCertificates(name) => write!(f, "issue certificates for Secret {name}"),
            Self::WriteSecret(name) => write!(f, "write Secret {name}"),
            Self::Grow(claim) => write!(f, "grow PVC {claim}"),
            Self::Mend(key) => write!(f, "restore {key}"),
            Self::Apply(key) => write!(f, "apply {key}"),
            Self::Drain(key) => write!(f, "drain {key}"),
            Self::Delete(key) => write!(f, "delete {key}"),
            Self::PrepareStop(pod) => write!(f, "prepare the node of Pod {pod} for its stop"),
            Self::Bootstrap => write!(f, "bootstrap the cluster on the first node"),
            Self::Decommission(node_id) => write!(f, "decommission node {node_id}"),
            Self::Recommission(node_id) => write!(f, "cancel the decommission of node {node_id}"),
            Self::FinalizeLevel(level) => write!(f, "finalize {level}"),
        }
    }
}
