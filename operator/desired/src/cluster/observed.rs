//! What goes in beside the LogCluster.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use lograft_crds::log_cluster::MemberRole;
use lograft_crds::names::{ANNOTATION_ROLLOUT_HASH, ClusterNames};
use serde_json::Value;

use crate::ValidCluster;

/// The world, as far as what should stand and what to do depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The time, seconds since 1970.
    pub now_unix_seconds: i64,
    /// The cluster's StatefulSet, if it stands.
    pub stateful_set: Option<StatefulSet>,
    /// Ordinals whose node was decommissioned and, as the data plane says, holds nothing.
    pub emptied: BTreeSet<i32>,
    /// The zone of each pod that has been placed, by ordinal.
    pub zones: BTreeMap<i32, String>,
    /// The objects of the cluster that stand, as the API server gives them; Secrets without data.
    pub live: BTreeMap<ObjectKey, Value>,
    /// The pods by ordinal.
    pub pods: BTreeMap<i32, PodSeen>,
    /// The disks' claims by ordinal, those of pods that left included.
    pub disks: BTreeMap<i32, DiskSeen>,
    /// What the Secrets hold, by the Secret's name.
    pub secrets: BTreeMap<String, SecretSeen>,
    /// What each started pod's node said of itself.
    pub answers: BTreeMap<i32, Answer>,
    /// The cluster as one of its nodes describes it.
    pub view: Option<View>,
}

/// Names an object of the cluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind; no two API groups of ours have one alike.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The object of this kind and name.
    pub fn new(kind: &str, name: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.into(),
        }
    }

    /// Of an object as the API server takes or gives it.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self::new(&text(&object["kind"]), text(&object["metadata"]["name"]))
    }
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// Its UID: another pod of the same name is another pod.
    pub uid: String,
    /// Its rollout hash.
    pub hash: Option<String>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether its node's process runs.
    pub running: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Why it does not come up, if Kubernetes says so: an image that cannot be pulled, a crash.
    pub trouble: Option<String>,
    /// Since when its leaderships are being taken away, seconds since 1970.
    pub draining_since: Option<i64>,
    /// The zone it was placed in.
    pub zone: Option<String>,
    /// UID of the object that controls it, if one does.
    pub owner_uid: Option<String>,
}

/// The claim of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskSeen {
    /// Its UID.
    pub uid: String,
    /// Bytes asked for.
    pub requested_bytes: u64,
    /// Bytes that it has; unknown while it is not bound.
    pub actual_bytes: Option<u64>,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// What a Secret holds, without its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// The certificates whose key is there and fits, by the name of their field.
    pub certificates: BTreeMap<String, CertificateSeen>,
    /// The roots in `ca.crt`, in order.
    pub roots: Vec<CertificateSeen>,
    /// Whose it is, if it is not the cluster's: then nothing else of it is told.
    pub stranger: Option<String>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSeen {
    /// SHA-256, hexadecimal.
    pub fingerprint: String,
    /// The key that signed it, by its identifier, hexadecimal.
    pub issuer_key: String,
    /// Its own key's identifier, hexadecimal; of roots alone.
    pub own_key: String,
    /// Begin of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
    /// Its URI and DNS names.
    pub names: BTreeSet<String>,
}

/// What a node said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It belongs to no cluster: its disk is empty.
    Empty,
    /// It belongs to one.
    Member {
        /// The cluster's id.
        cluster_id: String,
        /// Its own.
        node_id: u64,
    },
    /// It did not answer, and why.
    Silent(String),
}

/// The cluster as one of its nodes describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Every node that ever was.
    pub nodes: Vec<NodeSeen>,
    /// The partitions that are not healthy, at least: of the others each voter keeps up.
    pub partitions: Vec<PartitionSeen>,
    /// The node that leads the meta group.
    pub meta_leader: Option<u64>,
}

/// A node as its peers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its id.
    pub id: u64,
    /// The pod's name.
    pub name: String,
    /// Where it stands between joining and leaving.
    pub state: NodeState,
    /// Whether it answers its peers.
    pub reachable: bool,
    /// The program's version; empty if it does not answer.
    pub version: String,
    /// Its disk, bytes; 0 if it does not answer.
    pub disk_total_bytes: u64,
    /// Free on it, bytes.
    pub disk_free_bytes: u64,
    /// Whether it refuses writes because its reserve is all that is left.
    pub disk_low: bool,
    /// Partitions that it leads.
    pub leaders: u32,
    /// What it does in the meta group.
    pub meta: Option<MemberRole>,
    /// Log entries that it lacks of all its groups together.
    pub lag_entries: u64,
    /// End of the certificate that it has loaded, seconds since 1970; none if it does not answer.
    pub certificate_not_after: Option<i64>,
    /// SHA-256 of each root that it has loaded, hexadecimal; none if it does not answer.
    pub roots: Vec<String>,
}

/// Where a node stands between joining and leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// At work.
    Active,
    /// Being emptied.
    Draining,
    /// Gone for ever.
    Removed,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSeen {
    /// Its topic.
    pub topic: String,
    /// Its number in the topic.
    pub number: u32,
    /// The node that leads it.
    pub leader: Option<u64>,
    /// Its replicas.
    pub replicas: Vec<ReplicaSeen>,
}

/// A replica of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaSeen {
    /// The node that holds it.
    pub node: u64,
    /// Whether it keeps up with the leader.
    pub in_sync: bool,
    /// Whether it votes.
    pub voter: bool,
}

impl View {
    /// The node at work, or being emptied, that runs in this pod: the last one that joined.
    pub fn node_of(&self, pod: &str) -> Option<&NodeSeen> {
        let here = |node: &&NodeSeen| node.name == pod && node.state != NodeState::Removed;
        self.nodes.iter().filter(here).max_by_key(|node| node.id)
    }

    /// Whether every partition, and the meta group, has a majority without this node. Where there
    /// are two voters or fewer there is none without it, ever: then the others must keep up.
    pub fn keeps_majority_without(&self, node: u64) -> bool {
        let meta = self
            .nodes
            .iter()
            .filter(|other| matches!(other.meta, Some(MemberRole::Leader | MemberRole::Voter)));
        let meta: Vec<_> = meta.map(|voter| (voter.id, voter.reachable)).collect();
        let partitions = self.partitions.iter().all(|partition| {
            let voters = partition.replicas.iter().filter(|replica| replica.voter);
            let voters: Vec<_> = voters.map(|voter| (voter.node, voter.in_sync)).collect();
            survives(&voters, node)
        });
        survives(&meta, node) && partitions
    }
}

/// Whether these voters, each well or not, go on without one.
fn survives(voters: &[(u64, bool)], without: u64) -> bool {
    if voters.iter().all(|(node, _)| *node != without) {
        return true;
    }
    let well = voters
        .iter()
        .filter(|(node, well)| *well && *node != without);
    let needed = if voters.len() <= 2 {
        voters.len() - 1
    } else {
        voters.len() / 2 + 1
    };
    well.count() >= needed
}

impl Observed {
    /// The number of pods that the StatefulSet asks for; 0 if there is none.
    pub fn replicas(&self) -> i32 {
        let spec = self.stateful_set.as_ref().and_then(|set| set.spec.as_ref());
        spec.and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// The number of pods that stand, or stood when status was last written: the set may be away
    /// for a moment, or somebody has lowered it, and still no pod goes before its node.
    pub fn standing(&self, cluster: &ValidCluster) -> i32 {
        let names = ClusterNames(&cluster.name);
        let last_pod = self.pods.keys().next_back().copied();
        let nodes = self.view.iter().flat_map(|view| &view.nodes);
        let at_work = nodes.filter(|node| node.state != NodeState::Removed);
        let last_node = at_work.filter_map(|node| names.ordinal(&node.name)).max();
        let told = if self.stateful_set.is_none() && self.view.is_none() {
            cluster.members_count
        } else {
            0
        };
        let last = last_pod.max(last_node).map_or(0, |last| last + 1);
        self.replicas().max(last).max(told)
    }

    /// The size that new disks get, which stands in the StatefulSet and cannot change in it.
    pub fn disk_size(&self) -> Option<String> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        let claim = spec.volume_claim_templates.as_ref()?.first()?;
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        requests.get("storage").map(|size| size.0.clone())
    }

    /// The rollout hash that the StatefulSet gives new pods.
    pub fn hash(&self) -> Option<&String> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        let annotations = spec.template.metadata.as_ref()?.annotations.as_ref()?;
        annotations.get(ANNOTATION_ROLLOUT_HASH)
    }

    /// Fills in what follows from the rest: zones, and who has left.
    ///
    /// A pod counts as emptied if its node was removed, or never joined while it stood there; and
    /// no node of its name is at work.
    pub fn derive(&mut self, cluster: &ValidCluster) {
        let names = ClusterNames(&cluster.name);
        let standing = self.standing(cluster);
        let zones = self.pods.iter();
        let zones = zones.filter_map(|(at, pod)| pod.zone.clone().map(|zone| (*at, zone)));
        self.zones = zones.collect();
        let (Some(view), answers) = (&self.view, &self.answers) else {
            return;
        };
        let is_gone = |at: &i32| {
            let pod = names.pod(*at);
            let removed = view.nodes.iter().any(|node| node.name == pod);
            let joined = matches!(answers.get(at), Some(Answer::Member { .. }));
            view.node_of(&pod).is_none() && (removed || !joined)
        };
        self.emptied = (0..standing).filter(is_gone).collect();
    }
}

/// What the operator was told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Repository of the nodes' image, without a tag.
    pub image_repository: String,
    /// Version of Lograft that clusters run which say nothing.
    pub version: String,
    /// The namespace that the operator runs in: it may reach every cluster.
    pub operator_namespace: String,
}
