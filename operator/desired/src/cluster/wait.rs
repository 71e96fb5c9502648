//! Unfinished work of a cluster as data. Sentences are made from it in `wait/sentence.rs` alone.

mod sentence;

pub(crate) use sentence::shortened;

use lograft_crds::conditions::Reason;
use lograft_crds::log_cluster::{AuthorizationMode, BlockedReason};

use crate::ObjectKey;
use crate::cluster::disk_host::HostLoss;
use crate::cluster::outcome::{RefusedGrowth, StepFailure, UnpreparedStop};
use crate::cluster::view::{FeatureLevel, ObservedCheck};
use crate::fleet::Held;

/// Unfinished work. Display is one sentence for people.
///
/// Every variant but [`UnderWay`](Self::UnderWay) blocks: it ends only when something outside of
/// the plan changes, and `status.blocked` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A person has to change something.
    Intervention(Intervention),
    /// A failed step has to succeed.
    Retry(StepFailure),
    /// Every node loads the new CA root.
    RootLoaded,
    /// Every node loads the changed gossip keys.
    GossipKeysLoaded,
    /// The volume of a PVC and its file system reach their new size.
    ClaimGrown {
        /// Name of the PVC.
        claim: String,
    },
    /// A PVC is bound to a volume.
    ClaimBound {
        /// Name of the PVC.
        claim: String,
    },
    /// The StatefulSet of a deleted LogCluster with the same name is deleted.
    FormerSetDeleted,
    /// Pods and PVCs of a deleted LogCluster with the same name are deleted.
    FormerPodsDeleted {
        /// Number of pods.
        pods: usize,
        /// Number of PVCs.
        disks: usize,
    },
    /// Nodes report whether their disk is empty.
    NodesStarted {
        /// Number of nodes that have not reported.
        count: usize,
        /// Pod of the first of them.
        first: String,
        /// Why it has not, if known.
        why: Option<String>,
    },
    /// The PVC of a decommissioned node is deleted.
    ClaimDeleted {
        /// Name of the PVC.
        claim: String,
    },
    /// A pod becomes ready.
    PodReady {
        /// Name of the pod.
        pod: String,
    },
    /// A node describes the cluster to the rollout.
    ViewForRollout,
    /// Each group keeps its majority without a pod.
    MajorityWithout {
        /// Name of the pod.
        pod: String,
        /// Groups that would lose it.
        groups: Vec<String>,
    },
    /// A changed template gets its turn.
    Turn(Held),
    /// A node is prepared for its stop.
    StopPrepared(UnpreparedStop),
    /// A node describes the cluster to the lane that removes nodes.
    ViewForDecommission,
    /// A node leaves the cluster.
    NodeDecommissioned {
        /// ID of the node.
        node_id: u64,
        /// Name of its pod.
        pod: String,
    },
    /// A host that is lost is back, or the PVC on it is released.
    HostBack(LostHost),
    /// What keeps a pod from running is removed.
    Obstacle(Obstacle),
    /// A group elects a leader.
    Leader {
        /// The group.
        group: String,
    },
    /// A group has had no leader for longer than an election takes.
    Majority {
        /// The group.
        group: String,
    },
    /// Any node answers the operator.
    AnyAnswer {
        /// Why the first one did not.
        why: String,
    },
    /// Nodes become ready.
    NodesReady {
        /// Number of nodes that are not ready.
        missing: i32,
        /// Number of requested nodes.
        wanted: i32,
    },
    /// All nodes run one version in good health for the time before its level is finalized.
    LevelFinalized {
        /// The level.
        level: FeatureLevel,
        /// The version that all nodes run.
        version: String,
        /// `spec.update.finalizeAfterSeconds`.
        after_seconds: i64,
    },
    /// Authorization takes effect.
    AuthorizationEffective {
        /// The wanted mode.
        mode: AuthorizationMode,
        /// The level in use.
        finalized: FeatureLevel,
    },
    /// The nodes run a version that serves HTTP.
    HttpProgram {
        /// Image of the nodes.
        image: String,
    },
    /// The configuration of the nodes may name HTTP.
    HttpLevel {
        /// The level in use.
        finalized: FeatureLevel,
    },
    /// Work that does not block.
    UnderWay(Progress),
}

/// A PVC whose volume is on a host that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostHost {
    /// Name of the pod.
    pub pod: String,
    /// Name of its PVC.
    pub claim: String,
    /// Name of the host.
    pub host: String,
    /// Why the host seems to be lost.
    pub loss: HostLoss,
    /// Why the PVC is not released, or that it is.
    pub why: LostHostWait,
}

/// State of a PVC on a host that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostHostWait {
    /// It is deleted.
    Releasing,
    /// It is deleted after this time.
    Time {
        /// `spec.recovery.deadNodeAfter`.
        after_seconds: i64,
    },
    /// `spec.recovery.lostHost` is `Keep`.
    Kept,
    /// `spec.recovery.lostHost` is `Replace`, and the host is only unreachable.
    Registered,
    /// The volume can be used on another host, once this one is known to be off.
    Movable,
    /// No node describes the cluster.
    NotDescribed,
    /// Groups have no majority without the node of the pod.
    Majority {
        /// The groups.
        groups: Vec<String>,
    },
}

impl LostHost {
    /// The subject of the wait for the host of a PVC.
    pub(crate) fn subject_of(claim: &str) -> String {
        claim_subject(claim)
    }
}

/// What keeps a pod from running, or its disk from growing, as Kubernetes says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Where it lies.
    pub kind: ObstacleKind,
    /// Name of the pod.
    pub pod: String,
    /// Name of its PVC.
    pub claim: String,
    /// Reason given by Kubernetes.
    pub why: String,
}

/// Where an obstacle lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObstacleKind {
    /// The pod cannot be created.
    Created,
    /// The PVC of the pod cannot be bound.
    Bound,
    /// The PVC of the pod cannot grow. The pod runs.
    Grown,
    /// No host takes the pod.
    Scheduled,
    /// The containers of the pod do not start.
    Started,
}

/// A problem that stays until a person changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intervention {
    /// The spec is invalid.
    InvalidSpec {
        /// The field and its bounds.
        why: String,
    },
    /// `spec.paused` is true.
    Paused,
    /// `spec.update.paused` is true, and pods are outdated.
    UpdatePaused,
    /// A Secret belongs to another owner.
    ForeignSecret {
        /// Name of the Secret.
        secret: String,
        /// Its owner.
        owner: String,
    },
    /// An object belongs to another owner.
    ForeignObject {
        /// The object.
        key: ObjectKey,
        /// Its owner.
        owner: String,
    },
    /// Somebody else changes fields of an object again after each write.
    Contested {
        /// The object.
        key: ObjectKey,
        /// Paths of the fields.
        fields: Vec<String>,
        /// Field managers that own them; none if it is an admission webhook.
        managers: Vec<String>,
    },
    /// The requested version is below the one that the nodes run.
    DowngradeRefused {
        /// Lowest version that a node runs.
        running: String,
        /// The requested version.
        requested: String,
        /// The finalized feature level, if it forbids the requested version.
        finalized: Option<FeatureLevel>,
    },
    /// A disk belongs to another cluster.
    ForeignDisk {
        /// ID of the cluster on the disk.
        found: String,
        /// ID of this cluster.
        own: String,
    },
    /// The disks belong to different clusters, so it is not known which one to adopt.
    DifferentClusters {
        /// Two of the cluster IDs.
        ids: [String; 2],
    },
    /// A disk is nearly full and may not grow.
    DiskFull {
        /// Name of the PVC.
        claim: String,
    },
    /// The API server refused the growth of a disk.
    GrowthRefused(RefusedGrowth),
    /// A new pod does not start.
    BrokenPod {
        /// Name of the pod.
        pod: String,
        /// Reason given by Kubernetes.
        why: String,
    },
    /// All nodes support a level, and `spec.update.finalize` is `Manual`.
    LevelNotFinalized {
        /// The level.
        level: FeatureLevel,
        /// The level in use.
        finalized: FeatureLevel,
    },
}

/// Work that does not block: the plan's own actions finish it, or only a condition reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An expired certificate is renewed.
    ExpiredCertificate {
        /// Common name.
        name: String,
    },
    /// Certificates are issued in this step.
    IssuingCertificates,
    /// An object is created in this step.
    CreatingObject {
        /// The object.
        key: ObjectKey,
    },
    /// The first node bootstraps the cluster in this step.
    Bootstrapping,
    /// Outdated pods are replaced.
    ReplacingPods {
        /// Number of outdated pods.
        count: usize,
    },
    /// A node does not answer its peers.
    NodeUnreachable {
        /// ID of the node.
        node_id: u64,
        /// Name of its pod.
        pod: String,
    },
    /// A node has raised a check.
    CheckRaised {
        /// The most important check.
        check: ObservedCheck,
        /// Number of other checks.
        others: usize,
    },
    /// Some topics have one replica.
    SingleReplica {
        /// The sentence of the node that described the cluster.
        text: String,
    },
    /// The cluster has one node.
    SingleNode,
    /// The cluster has not been ready yet.
    Starting,
    /// It is not known that every partition accepts writes.
    NotAllWritable,
    /// Some pods of the StatefulSet are not ready.
    StartingPods {
        /// Number of ready pods.
        ready: i32,
        /// Number of pods.
        pods: i32,
    },
}

impl From<Intervention> for Wait {
    fn from(intervention: Intervention) -> Self {
        Self::Intervention(intervention)
    }
}

impl From<Progress> for Wait {
    fn from(progress: Progress) -> Self {
        Self::UnderWay(progress)
    }
}

impl Wait {
    /// The condition reasons that it gives.
    pub(crate) fn condition_reasons(&self) -> Vec<Reason> {
        let reason = match self {
            Self::Intervention(intervention) => intervention.condition_reason(),
            Self::Retry(failure) if failure.step.is_renewal() => {
                // The nodes cannot start without their Secret, so the cluster makes no progress.
                return vec![Reason::RenewalFailed, Reason::CreatingObjects];
            }
            Self::Retry(_) => Reason::CreatingObjects,
            Self::RootLoaded | Self::GossipKeysLoaded => Reason::Issuing,
            Self::ClaimGrown { .. } => Reason::Growing,
            Self::ClaimBound { .. } => Reason::Binding,
            Self::FormerSetDeleted | Self::FormerPodsDeleted { .. } | Self::NodesStarted { .. } => {
                Reason::Bootstrapping
            }
            Self::ClaimDeleted { .. } => Reason::ScalingUp,
            Self::PodReady { .. }
            | Self::ViewForRollout
            | Self::MajorityWithout { .. }
            | Self::StopPrepared(_) => Reason::RollingOut,
            Self::Turn(_) => Reason::RolloutHeld,
            Self::ViewForDecommission | Self::NodeDecommissioned { .. } => Reason::Decommissioning,
            Self::HostBack(_) => Reason::PodBlocked,
            Self::Obstacle(obstacle) => return obstacle.kind.condition_reasons(),
            Self::Majority { .. } => Reason::QuorumLost,
            Self::AnyAnswer { .. } => Reason::DataPlaneUnreachable,
            Self::Leader { .. } | Self::NodesReady { .. } => Reason::NodesNotReady,
            Self::LevelFinalized { .. } => Reason::Finalizing,
            Self::AuthorizationEffective { .. } => Reason::AuthorizationNotEffective,
            Self::HttpProgram { .. } | Self::HttpLevel { .. } => Reason::HttpNotServed,
            Self::UnderWay(Progress::Starting) => {
                return vec![Reason::Starting, Reason::NotCreated];
            }
            Self::UnderWay(progress) => progress.condition_reason(),
        };
        vec![reason]
    }

    /// The reason in `status.blocked`; none if the wait does not block.
    pub(crate) fn blocked_reason(&self) -> Option<BlockedReason> {
        let reason = match self {
            Self::Intervention(intervention) => intervention.blocked_reason(),
            Self::Retry(failure) if failure.step.is_renewal() => BlockedReason::RenewalFailed,
            Self::Retry(_) => BlockedReason::StepFailed,
            Self::RootLoaded => BlockedReason::RootNotLoaded,
            Self::GossipKeysLoaded => BlockedReason::GossipKeysNotLoaded,
            Self::ClaimGrown { .. } => BlockedReason::ClaimNotGrown,
            Self::ClaimBound { .. } => BlockedReason::ClaimNotBound,
            Self::FormerSetDeleted | Self::FormerPodsDeleted { .. } => {
                BlockedReason::FormerClusterNotDeleted
            }
            Self::NodesStarted { .. } => BlockedReason::NodesNotStarted,
            Self::ClaimDeleted { .. } => BlockedReason::LeftoverClaim,
            Self::PodReady { .. } => BlockedReason::PodNotReady,
            Self::ViewForRollout | Self::ViewForDecommission => BlockedReason::ClusterNotDescribed,
            Self::MajorityWithout { .. } => BlockedReason::MajorityAtRisk,
            Self::Turn(_) => BlockedReason::RolloutHeld,
            Self::StopPrepared(_) => BlockedReason::StopNotPrepared,
            Self::NodeDecommissioned { .. } => BlockedReason::NodeDecommissioning,
            Self::HostBack(_) => BlockedReason::HostLost,
            Self::Obstacle(obstacle) => obstacle.kind.blocked_reason(),
            Self::Leader { .. } => BlockedReason::NoLeader,
            Self::Majority { .. } => BlockedReason::QuorumLost,
            Self::AnyAnswer { .. } => BlockedReason::DataPlaneUnreachable,
            Self::NodesReady { .. } => BlockedReason::NodesNotReady,
            Self::LevelFinalized { .. } => BlockedReason::UpgradeNotFinalized,
            Self::AuthorizationEffective { .. } => BlockedReason::AuthorizationNotEffective,
            Self::HttpProgram { .. } | Self::HttpLevel { .. } => BlockedReason::HttpNotServed,
            Self::UnderWay(_) => return None,
        };
        Some(reason)
    }

    /// The object that it is about, if a wait with the same reason for another object is another
    /// wait. A lost quorum has none: its time is that of the whole outage.
    pub(crate) fn subject(&self) -> Option<String> {
        match self {
            Self::Intervention(intervention) => intervention.subject(),
            Self::Retry(failure) => failure.step.subject(),
            Self::ClaimGrown { claim }
            | Self::ClaimBound { claim }
            | Self::ClaimDeleted { claim } => Some(claim_subject(claim)),
            Self::PodReady { pod }
            | Self::MajorityWithout { pod, .. }
            | Self::StopPrepared(UnpreparedStop { pod, .. }) => Some(format!("Pod {pod}")),
            Self::NodeDecommissioned { node_id, .. } => Some(format!("node {node_id}")),
            Self::HostBack(lost) => Some(LostHost::subject_of(&lost.claim)),
            Self::Obstacle(obstacle) => Some(obstacle.subject()),
            Self::RootLoaded
            | Self::GossipKeysLoaded
            | Self::FormerSetDeleted
            | Self::FormerPodsDeleted { .. }
            | Self::NodesStarted { .. }
            | Self::ViewForRollout
            | Self::ViewForDecommission
            | Self::Leader { .. }
            | Self::Majority { .. }
            | Self::AnyAnswer { .. }
            | Self::NodesReady { .. }
            | Self::LevelFinalized { .. }
            | Self::AuthorizationEffective { .. }
            | Self::HttpProgram { .. }
            | Self::HttpLevel { .. }
            | Self::Turn(_)
            | Self::UnderWay(_) => None,
        }
    }
}

impl Obstacle {
    fn subject(&self) -> String {
        match self.kind {
            ObstacleKind::Bound | ObstacleKind::Grown => claim_subject(&self.claim),
            ObstacleKind::Created | ObstacleKind::Scheduled | ObstacleKind::Started => {
                format!("Pod {}", self.pod)
            }
        }
    }
}

impl ObstacleKind {
    fn condition_reasons(self) -> Vec<Reason> {
        match self {
            Self::Bound => vec![Reason::PodBlocked, Reason::Binding],
            Self::Grown => vec![Reason::GrowthRefused],
            Self::Created | Self::Scheduled | Self::Started => vec![Reason::PodBlocked],
        }
    }

    /// The reason in `status.blocked`.
    pub(crate) fn blocked_reason(self) -> BlockedReason {
        match self {
            Self::Created => BlockedReason::PodNotCreated,
            Self::Bound => BlockedReason::ClaimNotProvisioned,
            Self::Grown => BlockedReason::GrowthRefused,
            Self::Scheduled => BlockedReason::PodNotScheduled,
            Self::Started => BlockedReason::PodNotStarted,
        }
    }
}

impl Intervention {
    fn condition_reason(&self) -> Reason {
        match self {
            Self::InvalidSpec { .. } => Reason::InvalidSpec,
            Self::Paused => Reason::PausedBySpec,
            Self::UpdatePaused => Reason::RollingOut,
            Self::ForeignSecret { .. } => Reason::Issuing,
            Self::ForeignObject { .. } => Reason::CreatingObjects,
            Self::Contested { .. } => Reason::Contested,
            Self::DowngradeRefused { .. } => Reason::DowngradeRefused,
            Self::ForeignDisk { .. } | Self::DifferentClusters { .. } => Reason::Bootstrapping,
            Self::DiskFull { .. } => Reason::DiskNearlyFull,
            Self::GrowthRefused(_) => Reason::GrowthRefused,
            Self::BrokenPod { .. } => Reason::RolloutStuck,
            Self::LevelNotFinalized { .. } => Reason::NotFinalized,
        }
    }

    fn blocked_reason(&self) -> BlockedReason {
        match self {
            Self::InvalidSpec { .. } => BlockedReason::InvalidSpec,
            Self::Paused => BlockedReason::PausedBySpec,
            Self::UpdatePaused => BlockedReason::UpdatePaused,
            Self::ForeignSecret { .. } | Self::ForeignObject { .. } => BlockedReason::NotOwned,
            Self::Contested { .. } => BlockedReason::Contested,
            Self::DowngradeRefused { .. } => BlockedReason::DowngradeRefused,
            Self::ForeignDisk { .. } | Self::DifferentClusters { .. } => BlockedReason::ForeignDisk,
            Self::DiskFull { .. } => BlockedReason::DiskNearlyFull,
            Self::GrowthRefused(_) => BlockedReason::GrowthRefused,
            Self::BrokenPod { .. } => BlockedReason::RolloutStuck,
            Self::LevelNotFinalized { .. } => BlockedReason::UpgradeNotFinalized,
        }
    }

    fn subject(&self) -> Option<String> {
        match self {
            Self::ForeignSecret { secret, .. } => Some(format!("Secret {secret}")),
            Self::ForeignObject { key, .. } | Self::Contested { key, .. } => Some(key.to_string()),
            Self::DiskFull { claim } | Self::GrowthRefused(RefusedGrowth { claim, .. }) => {
                Some(claim_subject(claim))
            }
            Self::BrokenPod { pod, .. } => Some(format!("Pod {pod}")),
            Self::InvalidSpec { .. }
            | Self::Paused
            | Self::UpdatePaused
            | Self::DowngradeRefused { .. }
            | Self::ForeignDisk { .. }
            | Self::DifferentClusters { .. }
            | Self::LevelNotFinalized { .. } => None,
        }
    }
}

impl Progress {
    fn condition_reason(&self) -> Reason {
        match self {
            Self::ExpiredCertificate { .. } => Reason::Expired,
            Self::IssuingCertificates => Reason::Issuing,
            Self::CreatingObject { .. } => Reason::CreatingObjects,
            Self::Bootstrapping => Reason::Bootstrapping,
            Self::ReplacingPods { .. } => Reason::RollingOut,
            Self::NodeUnreachable { .. } => Reason::NodeLost,
            Self::CheckRaised { .. } => Reason::CheckRaised,
            Self::SingleReplica { .. } | Self::SingleNode => Reason::SingleReplica,
            Self::Starting => Reason::Starting,
            Self::NotAllWritable => Reason::NodesNotReady,
            Self::StartingPods { .. } => Reason::ScalingUp,
        }
    }
}

fn claim_subject(claim: &str) -> String {
    format!("PersistentVolumeClaim {claim}")
}
