//! LogCluster: the desired state of a Lograft cluster, and its status as reported by the operator.

mod access;
mod discovery;
mod log;
mod observability;
mod pod;
mod recovery;
mod rollout_status;
mod status;
mod storage;
mod tls;
mod window;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{REPLICAS_DEFAULT_COUNT, REPLICAS_MAX_COUNT, USER_GRANTS_MAX_COUNT};
use crate::rules;

pub use access::{
    AllowedNamespaces, Authorization, AuthorizationMode, ExternalListener, ExternalType,
    HttpListener, InternalListener, Listeners, NamespaceSelector, NetworkAccess, UserGrant,
};
pub use discovery::{Discovery, GossipSpec, Seeds};
pub use log::{LogDefaults, Retention};
pub use observability::{LogFormat, Observability};
pub use pod::{Finalize, PodTemplate, Spread, Topology, Update};
pub use recovery::{LostHostPolicy, LostPolicy, Recovery};
pub use rollout_status::RolloutStatus;
pub use status::{
    AuthorizationStatus, Blocked, BlockedReason, CaStatus, Endpoints, FeatureLevelStatus,
    FormerBlocked, LogClusterStatus, MemberRole, MemberStatus, Note,
};
pub use storage::{AutoGrow, Storage};
pub use tls::{IssuerRef, Tls, TlsMode};
pub use window::{MaintenanceWindow, Weekday};

/// A raft-replicated event log.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lograft.io",
    version = "v1alpha1",
    kind = "LogCluster",
    plural = "logclusters",
    shortname = "lc",
    category = "all",
    namespaced,
    status = "LogClusterStatus",
    derive = "PartialEq",
    doc = "A raft-replicated event log. The operator manages its nodes, disks and certificates.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.readyText"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Blocked on", type_ = "string", json_path = ".status.blockedOn"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::ROOT[0],
    validation = rules::ROOT[1]
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::SPEC))]
pub struct LogClusterSpec {
    /// Number of nodes, 1 to 99. Lowering it decommissions the highest ordinals one by one; their
    /// disks are kept.
    #[serde(default = "replicas")]
    #[schemars(range(min = 1, max = REPLICAS_MAX_COUNT))]
    pub replicas: i32,
    /// Version of Lograft to run: a tag of the operator's node image repository. Default: the
    /// operator's default at the time when the cluster was created; a later operator moves it only
    /// if it is told so (`node.upgradeClusters` of the chart).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub version: Option<String>,
    /// Full name of the image to run; overrides `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = crate::limits::TEXT_MAX_BYTES))]
    pub image: Option<String>,
    /// Disks of the nodes.
    #[serde(default)]
    pub storage: Storage,
    /// CPU and memory of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Additions to the pods of the nodes.
    #[serde(default)]
    pub pod_template: PodTemplate,
    /// Spread of nodes over zones and hosts.
    #[serde(default)]
    pub topology: Topology,
    /// Certificates.
    #[serde(default)]
    pub tls: Tls,
    /// Authorization of users.
    #[serde(default)]
    pub authorization: Authorization,
    /// Other namespaces whose LogTopics and LogUsers may name this cluster. Those of its own
    /// namespace always may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Bounds of the rules of LogUsers by their namespace; each namespace once, `*` for those
    /// without an entry. Without an entry a namespace may grant topics and groups whose names start
    /// with its own name and a dot, and the LogCluster's own namespace all topics and groups. The
    /// cluster's own namespace may also grant `describe` and `alter` of the cluster. `admin` and
    /// super users cannot be granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = USER_GRANTS_MAX_COUNT),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace"])
    )]
    pub user_grants: Vec<UserGrant>,
    /// Network access to the nodes.
    #[serde(default)]
    pub network_policy: NetworkAccess,
    /// Services through which clients reach the cluster.
    #[serde(default)]
    pub listeners: Listeners,
    /// How the nodes find each other.
    #[serde(default)]
    pub discovery: Discovery,
    /// Defaults for new topics, and log limits.
    #[serde(default)]
    pub log: LogDefaults,
    /// Logs, traces and metrics.
    #[serde(default)]
    pub observability: Observability,
    /// Rollout of changes.
    #[serde(default)]
    pub update: Update,
    /// Replacement of nodes and hosts that are lost for good.
    #[serde(default)]
    pub recovery: Recovery,
    /// If true, the operator stops reconciling this cluster.
    #[serde(default)]
    pub paused: bool,
}

fn replicas() -> i32 {
    REPLICAS_DEFAULT_COUNT
}

impl Default for LogClusterSpec {
    fn default() -> Self {
        Self {
            replicas: replicas(),
            version: None,
            image: None,
            storage: Storage::default(),
            resources: None,
            pod_template: PodTemplate::default(),
            topology: Topology::default(),
            tls: Tls::default(),
            authorization: Authorization::default(),
            allowed_namespaces: None,
            user_grants: Vec::new(),
            network_policy: NetworkAccess::default(),
            listeners: Listeners::default(),
            discovery: Discovery::default(),
            log: LogDefaults::default(),
            observability: Observability::default(),
            update: Update::default(),
            recovery: Recovery::default(),
            paused: false,
        }
    }
}
