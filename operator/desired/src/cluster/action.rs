//! Actions of a plan. Each is data: the operator carries it out without a decision of its own.

use serde_json::Value;

use crate::cluster::gossip_keys::GossipKeyPlan;
use crate::cluster::secret_plan::SecretPlan;
use crate::cluster::view::FeatureLevel;
use crate::{ObjectKey, ObjectRef};

/// An action of a lane. A plan sorts the actions of all lanes by their kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Store the cluster ID in status.
    SetIdentity(Identity),
    /// Store in status the ordinal of the pod that is asked to bootstrap the cluster.
    SetBootstrapOrdinal(i32),
    /// Store in status that the cluster was bootstrapped.
    MarkBootstrapped,
    /// Issue certificates and write them.
    WriteSecret(SecretPlan),
    /// Write the keys of gossip.
    WriteGossipKeys(GossipKeyPlan),
    /// Grow a disk.
    Grow(Grow),
    /// Patch an object that others have changed.
    Mend(Mend),
    /// Apply an object.
    Apply(Value),
    /// Start the drain of a pod.
    Drain(ObjectRef),
    /// Replace a pod once its node is prepared.
    Stop(Stop),
    /// Delete an object.
    Delete(Delete),
}

/// Change of the cluster ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// No change.
    #[default]
    Keep,
    /// Generate a new ID.
    Mint,
    /// Use the ID that the disks hold: the LogCluster was deleted and created again.
    Adopt(String),
}

/// A PVC to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grow {
    /// Name of the PVC.
    pub claim: String,
    /// UID of the PVC.
    pub uid: String,
    /// New requested size.
    pub bytes: u64,
}

/// An object to patch so that it has its desired state again.
#[derive(Clone, Debug, PartialEq)]
pub struct Mend {
    /// The object.
    pub object: ObjectRef,
    /// JSON merge patch.
    pub patch: Value,
}

/// An object to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The object.
    pub object: ObjectRef,
    /// How it is deleted.
    pub how: Deletion,
}

/// How an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// With the objects that it owns; a pod has its grace period.
    Usual,
    /// The objects that it owns stay.
    Orphan,
    /// A pod at once, without an answer of its host: its containers may still run there.
    Force,
}

/// A request to the data plane. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Bootstrap the cluster on the node of a pod.
    Bootstrap {
        /// ID of the cluster.
        cluster_id: String,
        /// Ordinal of the pod, as it is stored in status.
        ordinal: i32,
    },
    /// Move all replicas of a node to other nodes, then remove it.
    Decommission {
        /// ID of the node.
        node_id: u64,
    },
    /// Cancel a decommission.
    Recommission {
        /// ID of the node.
        node_id: u64,
    },
    /// Finalize a feature level, after which no node may go below it.
    FinalizeLevel {
        /// The level.
        level: FeatureLevel,
    },
}

/// A pod to replace once its node confirms that it may stop.
///
/// The node is asked and the pod deleted in one step: an answer that is kept until a later
/// reconcile could be outdated, and a group could lose its majority in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// ID of the node.
    pub node_id: u64,
    /// Its pod.
    pub pod: ObjectRef,
    /// Whether the drain timeout has passed. Then the pod is replaced even if some leaderships
    /// could not be transferred: that costs an election. It never bypasses the majority check.
    pub is_due: bool,
    /// Event to publish after the deletion.
    pub event: Event,
}

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Reason as one CamelCase word, for programs.
    pub reason: &'static str,
    /// Sentence for people.
    pub text: String,
    /// Whether it needs attention.
    pub is_warning: bool,
    /// Object that it is about, beside the LogCluster. Without it, events with the same reason
    /// about different objects would be counted as one.
    pub about: Option<ObjectKey>,
}
