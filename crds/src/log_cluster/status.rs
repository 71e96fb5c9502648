//! The status of a LogCluster, written by the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthorizationMode, RolloutStatus};
use crate::limits::{
    BLOCKED_MAX_COUNT, BLOCKED_MESSAGE_MAX_BYTES, BLOCKED_ON_MAX_BYTES, BLOCKED_REASON_MAX_BYTES,
    BLOCKED_SUBJECT_MAX_BYTES, NOTES_MAX_COUNT, REPLICAS_MAX_COUNT, SOURCES_MAX_COUNT,
    TEXT_MAX_BYTES,
};
use crate::rules;

/// Observed state of the cluster. The operator writes it after it has applied its changes, never
/// before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::STATUS))]
pub struct LogClusterStatus {
    /// Generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Release of the operator that manages the cluster: its namespace and the name of its Lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub operator: Option<String>,
    /// UUID of the cluster, generated once. It never changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 36),
        regex(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    )]
    pub cluster_id: Option<String>,
    /// Ordinal of the pod whose node bootstraps the cluster. It is stored before that node is
    /// asked, and never changes: no other node is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = REPLICAS_MAX_COUNT - 1))]
    pub bootstrap_ordinal: Option<i32>,
    /// Whether the first node has bootstrapped the cluster. It never returns to false: a second
    /// bootstrap would create a second cluster (split brain).
    pub bootstrapped: bool,
    /// Conditions of the cluster. Types and reasons are a closed list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// Nodes of the cluster, one per pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 2 * REPLICAS_MAX_COUNT),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub members: Vec<MemberStatus>,
    /// Addresses for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// Certificate authority of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaStatus>,
    /// Everything that the operator waits for, the most important first; empty if it waits for
    /// nothing. For programs: `blockedOn` is the first entry as a sentence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = BLOCKED_MAX_COUNT),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub blocked: Vec<Blocked>,
    /// The first entry of `blocked` and its time as one sentence, for people. Absent if the
    /// operator waits for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = BLOCKED_ON_MAX_BYTES))]
    pub blocked_on: Option<String>,
    /// Waits that ended a short time ago. One that starts again keeps its start: a state that
    /// alternates is one state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = BLOCKED_MAX_COUNT))]
    pub recently_blocked: Vec<FormerBlocked>,
    /// What nobody has to repair, but should know: topics with few replicas, nodes without any.
    /// `lograft cluster status` shows the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = NOTES_MAX_COUNT),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub notes: Vec<Note>,
    /// Version that every ready node runs; `from > to` during an upgrade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Image of the nodes that was accepted last. A change to a version below is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub image: Option<String>,
    /// Version without `spec.version` and `spec.image`: the operator's default when the cluster was
    /// created. Another default of the operator does not move it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub default_version: Option<String>,
    /// The last rollout of a pod template that was started; absent before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Feature level of the cluster; absent before a node has reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_level: Option<FeatureLevelStatus>,
    /// Authorization as it is; absent from an operator that did not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AuthorizationStatus>,
    /// Number of pods.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Number of ready pods.
    #[schemars(range(min = 0))]
    pub ready_replicas: i32,
    /// Ready and requested number of nodes, for example `2/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_text: Option<String>,
    /// Label selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

/// Something that the operator waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// Reason as one CamelCase word, for programs. New versions may add reasons.
    // A string and not an enum: a status that a newer operator wrote must load after a rollback.
    #[schemars(
        length(max = BLOCKED_REASON_MAX_BYTES),
        regex(pattern = "^[A-Z][A-Za-z0-9]*$")
    )]
    pub reason: String,
    /// Object that the wait is about, such as a pod or a PVC; absent for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = BLOCKED_SUBJECT_MAX_BYTES))]
    pub subject: Option<String>,
    /// Sentence for people. Its counts and error texts may change while the wait continues.
    #[schemars(length(max = BLOCKED_MESSAGE_MAX_BYTES))]
    pub message: String,
    /// Start of the wait. It is kept while reason and subject are the same.
    pub since: Time,
}

/// A raised check of the cluster that does not make it unhealthy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Name of the check, for programs.
    #[schemars(length(max = BLOCKED_REASON_MAX_BYTES))]
    pub check: String,
    /// Sentence for people, with the next step.
    #[schemars(length(max = BLOCKED_MESSAGE_MAX_BYTES))]
    pub message: String,
}

/// Something that the operator waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerBlocked {
    /// Reason, as in `blocked`.
    #[schemars(
        length(max = BLOCKED_REASON_MAX_BYTES),
        regex(pattern = "^[A-Z][A-Za-z0-9]*$")
    )]
    pub reason: String,
    /// Object, as in `blocked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = BLOCKED_SUBJECT_MAX_BYTES))]
    pub subject: Option<String>,
    /// Start of the wait.
    pub since: Time,
    /// End of the wait.
    pub until: Time,
}

macro_rules! blocked_reasons {
    ($($(#[$doc:meta])* $reason:ident,)*) => {
        /// Reasons of [`Blocked`], a closed list for one version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum BlockedReason {
            $($(#[$doc])* $reason,)*
        }

        impl BlockedReason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// The name in `status.blocked[].reason`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => stringify!($reason),)*
                }
            }
        }
    };
}

blocked_reasons! {
    /// A field of the spec is out of its bounds or not supported.
    InvalidSpec,
    /// `spec.paused` is true.
    PausedBySpec,
    /// `spec.update.paused` is true and pods are outdated.
    UpdatePaused,
    /// A write to the API server or a call to a node failed; it is retried.
    StepFailed,
    /// A certificate is due and could not be issued or stored; it is retried.
    RenewalFailed,
    /// Not every node has loaded the new CA root.
    RootNotLoaded,
    /// Not every node has loaded the changed gossip keys.
    GossipKeysNotLoaded,
    /// An object that the operator needs belongs to another owner.
    NotOwned,
    /// Somebody else changes a field again after each write of the operator.
    Contested,
    /// A disk is nearly full and may not grow.
    DiskNearlyFull,
    /// The API server refused the growth of a disk.
    GrowthRefused,
    /// A PVC has not reached its requested size.
    ClaimNotGrown,
    /// A PVC is not bound to a volume.
    ClaimNotBound,
    /// A PVC cannot be bound: the message has the words of Kubernetes.
    ClaimNotProvisioned,
    /// A PVC of a decommissioned node is not deleted yet.
    LeftoverClaim,
    /// Objects of a deleted LogCluster with the same name are not deleted yet.
    FormerClusterNotDeleted,
    /// Disks belong to another cluster, or to different clusters.
    ForeignDisk,
    /// Not every node has started and reported whether its disk is empty.
    NodesNotStarted,
    /// No node has described the cluster.
    ClusterNotDescribed,
    /// No running node answers the operator.
    DataPlaneUnreachable,
    /// Some nodes are not ready.
    NodesNotReady,
    /// A partition or the metadata group has no leader; an election may be under way.
    NoLeader,
    /// A partition or the metadata group has had no leader for longer than an election takes.
    QuorumLost,
    /// The requested version is below the running one, and `spec.update.allowDowngrade` is false
    /// or the finalized feature level does not permit it.
    DowngradeRefused,
    /// Kubernetes refuses to create a pod.
    PodNotCreated,
    /// No host can take a pod.
    PodNotScheduled,
    /// A pod has a host, but its containers do not start.
    PodNotStarted,
    /// A volume is on a host that is gone, so that its pod can start nowhere else.
    HostLost,
    /// A replaced pod does not start.
    RolloutStuck,
    /// A changed template waits for other clusters or for a maintenance window.
    RolloutHeld,
    /// A pod is not ready, so the next pod is not replaced.
    PodNotReady,
    /// Without this pod a group would lose its majority.
    MajorityAtRisk,
    /// The node of a pod is not prepared for its stop.
    StopNotPrepared,
    /// A node has not left the cluster yet.
    NodeDecommissioning,
    /// All nodes support a feature level that is not finalized.
    UpgradeNotFinalized,
    /// Authorization is requested, and the feature level that it needs is not finalized.
    AuthorizationNotEffective,
    /// HTTP is requested, and the version of the nodes or the feature level does not have it.
    HttpNotServed,
}

/// Feature level of the cluster: commands, formats and settings of a level are used only once it
/// is finalized. Until then every node may go back to a version of the former level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FeatureLevelStatus {
    /// Level that is in use. It never decreases: a node below it refuses to start.
    #[schemars(range(min = 0))]
    pub finalized: i64,
    /// Highest level that every node supports; absent while a node is not reachable. If it is above
    /// `finalized`, an upgrade is not finalized.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub available: Option<i64>,
    /// Version that all nodes have run since `stableSince`; absent if nothing is to be finalized,
    /// or while the cluster is not healthy and settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub stable_version: Option<String>,
    /// Start of the time after which the available level is finalized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_since: Option<Time>,
}

/// Authorization as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationStatus {
    /// Mode without `spec.authorization.mode`. It is chosen once, before the cluster has an ID:
    /// `enforced`, `disabled` for clusters that are older than this field, and that of the former
    /// LogCluster for one that adopts its disks.
    pub default_mode: AuthorizationMode,
    /// Mode that has an effect: `disabled` before feature level 2 is finalized. Absent before a
    /// node has reported the level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<AuthorizationMode>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of the pod.
    pub name: String,
    /// Node ID in the cluster; absent before the node has joined. A node with an empty disk gets a
    /// new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub node_id: Option<i64>,
    /// Zone of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether the pod is ready.
    #[serde(default)]
    pub ready: bool,
    /// Since when the pod is ready, or is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why it is not ready, as one CamelCase word, for programs. New versions may add reasons.
    // A string and not an enum: a status that a newer operator wrote must load after a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = BLOCKED_REASON_MAX_BYTES),
        regex(pattern = "^[A-Z][A-Za-z0-9]*$")
    )]
    pub reason: Option<String>,
    /// Why it is not ready, as a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub message: Option<String>,
    /// Address at which discovery finds it, `host:port` for the other nodes; absent if no other
    /// node sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES))]
    pub address: Option<String>,
    /// Sources of discovery by which other nodes see it: `endpoints`, `gossip`, `seeds`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = SOURCES_MAX_COUNT),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub seen_by: Vec<String>,
    /// Number of starts on its disk, as it gossips it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub incarnation: Option<i64>,
    /// Version that the node runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Role of the node in the meta group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,
    /// Number of partitions that the node leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub leaders: Option<i32>,
    /// Replication lag over all partitions of the node, in log entries, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub lag: Option<i64>,
    /// Expiry of the certificate that the node presents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_not_after: Option<Time>,
    /// Free bytes on the disk, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub disk_free_bytes: Option<i64>,
}

/// Role of a node in the meta group, the raft group of the cluster metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MemberRole {
    /// Leader.
    Leader,
    /// Voting follower.
    Voter,
    /// Follower without a vote.
    Learner,
}

/// Addresses for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Address inside the Kubernetes cluster, `host:port`.
    pub internal: String,
    /// Address for HTTP and JSON inside the Kubernetes cluster, `host:port`; absent while it is
    /// off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
}

/// Certificate authority of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaStatus {
    /// SHA-256 fingerprint of the certificate, hexadecimal.
    pub fingerprint: String,
    /// Expiry of the certificate.
    pub not_after: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_an_older_operator_loads() {
        let old = r#"{"bootstrapped": true, "replicas": 3, "readyReplicas": 2,
            "blockedOn": "waits for 1 of 3 nodes to be ready, since 2026-11-29T04:00:00Z"}"#;
        let status: LogClusterStatus = serde_json::from_str(old).unwrap();
        assert_eq!(status.blocked, []);
        assert!(status.blocked_on.is_some());
    }

    #[test]
    fn a_status_with_a_reason_of_a_newer_operator_loads() {
        let new = r#"{"blocked": [{"reason": "NotKnownYet", "message": "waiting for it",
            "since": "2026-11-29T04:00:00Z", "later": 1}]}"#;
        let status: LogClusterStatus = serde_json::from_str(new).unwrap();
        assert_eq!(status.blocked[0].reason, "NotKnownYet");
        assert_eq!(status.blocked[0].subject, None);
    }

    #[test]
    fn blocked_reasons_fit_their_schema() {
        for reason in BlockedReason::ALL {
            let name = reason.name();
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            assert!(name.len() <= BLOCKED_REASON_MAX_BYTES, "{name}");
        }
    }
}
