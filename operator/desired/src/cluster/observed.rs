//! The observation that a plan starts from: one snapshot of the Kubernetes objects and of the
//! nodes' reports. It is complete when it is built; everything else is computed from it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use lograft_crds::log_cluster::AuthorizationMode;
use lograft_crds::names::{ANNOTATION_KUBECTL_RESTART, ANNOTATION_ROLLOUT_HASH, ClusterNames};
use serde_json::Value;

use crate::ObjectKey;
use crate::cluster::contest::Contest;
use crate::cluster::disk_host::DiskHost;
use crate::cluster::gossip_keys::ObservedGossipKeys;
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::{ClusterView, FeatureLevel};
use crate::cluster::wait::Intervention;

/// One snapshot of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Time of the observation, seconds since 1970.
    pub now_unix_seconds: i64,
    /// The StatefulSet, if it exists.
    pub stateful_set: Option<StatefulSet>,
    /// The existing objects in the form of the API server, without Secrets, pods and PVCs.
    pub live: BTreeMap<ObjectKey, Value>,
    /// Labels and owners of the existing Secrets, pods and PVCs that have a name of the cluster's.
    /// Pods and PVCs that lack a label of the cluster are here alone.
    pub metadata: BTreeMap<ObjectKey, ObservedMetadata>,
    /// Templates of revisions of the StatefulSet from which pods were created, by name, without
    /// that of the current revision.
    pub revisions: BTreeMap<String, Value>,
    /// Contested fields, as the last plan left them.
    pub contests: BTreeMap<ObjectKey, Contest>,
    /// Pods by ordinal.
    pub pods: BTreeMap<i32, ObservedPod>,
    /// PVCs by ordinal, those of pods that have been removed included.
    pub disks: BTreeMap<i32, ObservedDisk>,
    /// Secrets of the cluster by name.
    pub secrets: BTreeMap<String, ObservedSecret>,
    /// Key identifiers of the issuers of the valid certificates of its LogUsers. Read only while a
    /// root may be a former one.
    pub user_issuers: BTreeSet<String>,
    /// Keys of gossip; none if there is no Secret with usable keys.
    pub gossip_keys: Option<ObservedGossipKeys>,
    /// Owners of Secrets that have a name of the cluster's but belong to somebody else, by name.
    /// Nothing in them is read.
    pub foreign_secrets: BTreeMap<String, String>,
    /// The latest warning of Kubernetes about objects that are not as they should be.
    pub warnings: BTreeMap<ObjectKey, String>,
    /// Answers of the nodes in pods that have an address, by ordinal.
    pub answers: BTreeMap<i32, NodeAnswer>,
    /// The cluster as a node described it; none if no node did.
    pub view: Option<ClusterView>,
}

/// Labels and owners of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedMetadata {
    /// UID.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Rollout hash in its annotations: the operator's template has made it.
    pub hash: Option<String>,
    /// Owners.
    pub owners: Vec<OwnerReference>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPod {
    /// UID: a later pod of the same name has another one.
    pub uid: String,
    /// Rollout hash of the template that it was created from.
    pub hash: Option<String>,
    /// Name of the revision of the StatefulSet that it was created from.
    pub revision: Option<String>,
    /// Restart by `kubectl rollout restart` that it was created after.
    pub restarted_at: Option<String>,
    /// Whether it is ready.
    pub ready: bool,
    /// If it is ready: since when, seconds since 1970.
    pub ready_since: Option<i64>,
    /// If it has never been ready: since when it could have been, seconds since 1970.
    pub never_ready_since: Option<i64>,
    /// Whether the container of the node runs; containers that others inject do not count.
    pub running: bool,
    /// Its IP address, once it has one: its node can be asked then.
    pub address: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// If it is being deleted: the end of its grace period, seconds since 1970.
    pub gone_by: Option<i64>,
    /// Why no host takes it, in the words of the scheduler.
    pub unscheduled: Option<String>,
    /// Why it does not start or stay up, if Kubernetes gives a reason, such as an image that cannot
    /// be pulled.
    pub trouble: Option<String>,
    /// Start of its drain, seconds since 1970.
    pub draining_since: Option<i64>,
    /// The host that it is scheduled to.
    pub host: Option<String>,
    /// Zone of that host.
    pub zone: Option<String>,
    /// UID of the controlling object, if there is one.
    pub owner_uid: Option<String>,
}

/// The PVC of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedDisk {
    /// UID.
    pub uid: String,
    /// Requested size, bytes.
    pub requested_bytes: u64,
    /// Size of the bound volume, bytes; none while the PVC is not bound.
    pub actual_bytes: Option<u64>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Time of its creation, seconds since 1970.
    pub created: i64,
    /// Authorization mode of its cluster, by its label.
    pub authorization: Option<AuthorizationMode>,
    /// Name of its volume, once it is bound.
    pub volume: Option<String>,
    /// The host that it is on, if that seems to be lost.
    pub lost_host: Option<DiskHost>,
}

/// The certificates in a Secret, without private keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedSecret {
    /// Certificates that have their matching private key in the Secret, by field name.
    pub certificates: BTreeMap<String, ObservedCertificate>,
    /// CA roots in `ca.crt`, in order.
    pub roots: Vec<ObservedCertificate>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedCertificate {
    /// SHA-256 fingerprint, hexadecimal.
    pub fingerprint: String,
    /// Identifier of the key that signed it, hexadecimal.
    pub issuer_key: String,
    /// Identifier of its own key, hexadecimal; only roots have one.
    pub own_key: String,
    /// Start of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
    /// URI and DNS names.
    pub names: BTreeSet<String>,
}

/// Answer of a node about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAnswer {
    /// Its disk is empty: it belongs to no cluster.
    Empty,
    /// It belongs to a cluster.
    Member {
        /// ID of the cluster.
        cluster_id: String,
        /// ID of the node.
        node_id: u64,
    },
    /// It did not answer, or could not be asked, for this reason.
    Silent(String),
}

impl ObservedDisk {
    /// Whether its volume has not reached the requested size.
    pub fn is_growing(&self) -> bool {
        self.actual_bytes
            .is_some_and(|bytes| bytes < self.requested_bytes)
    }
}

impl Observed {
    /// Number of pods that the StatefulSet asks for; 0 if there is none.
    pub fn replicas(&self) -> i32 {
        let spec = self.stateful_set.as_ref().and_then(|set| set.spec.as_ref());
        spec.and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// Whether the node in this pod is heard: it answers the operator, or its peers reach it. It is
    /// alive then, whatever the states of its containers say.
    pub(crate) fn is_heard(&self, ordinal: i32, pod: &str) -> bool {
        let has_answered = match self.answers.get(&ordinal) {
            Some(NodeAnswer::Empty | NodeAnswer::Member { .. }) => true,
            Some(NodeAnswer::Silent(_)) | None => false,
        };
        let node = self.view.as_ref().and_then(|view| view.node_of(pod));
        has_answered || node.is_some_and(|node| node.reachable)
    }

    /// Another pod that is being deleted, gone or no longer ready in `now`, and was not before, if
    /// there is one: somebody else has taken it since. Then the pod `stopping` has to stay, or two
    /// would be away at once. Readiness alone does not decide: it may be reported wrongly of a node
    /// that serves.
    pub fn lost_since(&self, now: &BTreeMap<i32, ObservedPod>, stopping: i32) -> Option<i32> {
        let is_lost = |at: i32, before: &ObservedPod| {
            let now = now.get(&at).filter(|now| now.uid == before.uid);
            let stays = |now: &ObservedPod| !now.terminating && (now.ready || !before.ready);
            !before.terminating && !now.is_some_and(stays)
        };
        let mut others = self.pods.iter().filter(|(at, _)| **at != stopping);
        others
            .find(|(at, pod)| is_lost(**at, pod))
            .map(|(at, _)| *at)
    }

    /// The finalized feature level as far as it is known: it never decreases.
    pub(crate) fn finalized_level(&self, cluster: &ValidCluster) -> Option<FeatureLevel> {
        let reported = self.view.as_ref().map(|view| view.finalized_level);
        reported.max(cluster.finalized_level)
    }

    /// Zone of the pod with this ordinal, once it has a host; until then that of its last host: its
    /// disk is there, and a node whose zone went and came back would register twice.
    pub fn zone<'a>(&'a self, cluster: &'a ValidCluster, ordinal: i32) -> Option<&'a String> {
        match self.pods.get(&ordinal) {
            Some(pod) if pod.host.is_some() => pod.zone.as_ref(),
            Some(_) | None => cluster.zones.get(&ClusterNames(&cluster.name).pod(ordinal)),
        }
    }

    /// The intervention that a Secret of another owner asks for; none if it is free or our own.
    pub(crate) fn foreign_secret(&self, secret: &str) -> Option<Intervention> {
        let owner = self.foreign_secrets.get(secret)?.clone();
        let secret = secret.to_owned();
        Some(Intervention::ForeignSecret { secret, owner })
    }

    /// Size of new disks in the StatefulSet. It cannot change there.
    pub fn disk_size(&self) -> Option<String> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        let claim = spec.volume_claim_templates.as_ref()?.first()?;
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        requests.get("storage").map(|size| size.0.clone())
    }

    /// The StatefulSet in the form of the API server.
    pub(crate) fn stateful_set_value(&self) -> Option<&Value> {
        let mut live = self.live.iter();
        let set = live.find(|(key, _)| key.kind == "StatefulSet")?;
        Some(set.1)
    }

    /// Rollout hash of the template in the StatefulSet.
    pub fn hash(&self) -> Option<&String> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        let annotations = spec.template.metadata.as_ref()?.annotations.as_ref()?;
        annotations.get(ANNOTATION_ROLLOUT_HASH)
    }

    /// The last restart by `kubectl rollout restart`, in the template of the StatefulSet.
    pub(crate) fn restarted_at(&self) -> Option<&String> {
        let spec = self.stateful_set.as_ref()?.spec.as_ref()?;
        let annotations = spec.template.metadata.as_ref()?.annotations.as_ref()?;
        annotations.get(ANNOTATION_KUBECTL_RESTART)
    }

    /// Number of ordinals that may still hold data: the highest one in use, plus one.
    ///
    /// Safety: no pod is removed before its node has left the cluster. The StatefulSet alone does
    /// not say how many pods there are: somebody may have lowered `replicas` or deleted the set, or
    /// the operator itself deletes it to change its disk template. If the plan trusted it then, a
    /// smaller set would delete pods that still hold replicas, and groups could lose their
    /// majority. So pods, members of the cluster, and as the last resort the members of the stored
    /// status count too.
    pub fn replicas_in_use(&self, cluster: &ValidCluster) -> i32 {
        let names = ClusterNames(&cluster.name);
        let last_pod = self.pods.keys().next_back().copied();
        let members = self.view.iter().flat_map(ClusterView::members);
        let last_node = members.filter_map(|node| names.ordinal(&node.name)).max();
        let in_status = if self.stateful_set.is_none() && self.view.is_none() {
            cluster.members_count
        } else {
            0
        };
        let last = last_pod.max(last_node).map_or(0, |last| last + 1);
        self.replicas().max(last).max(in_status)
    }

    /// The strictest authorization mode on the disks, which a former LogCluster has left.
    pub(crate) fn former_authorization(&self) -> Option<AuthorizationMode> {
        let disks = self.disks.values();
        disks.filter_map(|disk| disk.authorization).max()
    }

    /// Ordinals in use whose pod may be removed: its node was decommissioned, or never joined, and
    /// no member has its name.
    ///
    /// Fail closed: without a description of the cluster no pod is known to be empty, so none may
    /// be removed.
    pub fn emptied(&self, cluster: &ValidCluster) -> BTreeSet<i32> {
        let Some(view) = &self.view else {
            return BTreeSet::new();
        };
        let names = ClusterNames(&cluster.name);
        let is_emptied = |at: &i32| {
            let pod = names.pod(*at);
            let was_removed = view.nodes.iter().any(|node| node.name == pod);
            let has_joined = matches!(self.answers.get(at), Some(NodeAnswer::Member { .. }));
            view.node_of(&pod).is_none() && (was_removed || !has_joined)
        };
        (0..self.replicas_in_use(cluster))
            .filter(is_emptied)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use lograft_crds::{LogCluster, LogClusterSpec};

    use super::*;

    fn pod(uid: &str, ready: bool, terminating: bool) -> ObservedPod {
        ObservedPod {
            uid: uid.to_owned(),
            ready,
            terminating,
            ..ObservedPod::default()
        }
    }

    #[test]
    fn a_pod_without_a_host_has_the_zone_of_its_last_one() {
        let mut raw = LogCluster::new("events", LogClusterSpec::default());
        raw.metadata.namespace = Some("prod".to_owned());
        raw.metadata.uid = Some("u".to_owned());
        let status = r#"{"members": [{"name": "events-0", "zone": "a"}]}"#;
        raw.status = Some(serde_json::from_str(status).unwrap());
        let cluster = ValidCluster::new(&raw).unwrap();
        let zone = |pod: Option<ObservedPod>| {
            let pods = pod.map(|pod| (0, pod)).into_iter().collect();
            let observed = Observed {
                pods,
                ..Observed::default()
            };
            observed.zone(&cluster, 0).cloned()
        };
        let on_host = |zone: Option<&str>| ObservedPod {
            host: Some("host".to_owned()),
            zone: zone.map(ToOwned::to_owned),
            ..ObservedPod::default()
        };
        assert_eq!(zone(None).as_deref(), Some("a"));
        assert_eq!(zone(Some(ObservedPod::default())).as_deref(), Some("a"));
        assert_eq!(zone(Some(on_host(Some("b")))).as_deref(), Some("b"));
        assert_eq!(zone(Some(on_host(None))), None);
    }

    #[test]
    fn a_pod_that_somebody_takes_meanwhile_is_noticed() {
        let before = Observed {
            pods: BTreeMap::from([
                (0, pod("a", true, false)),
                (1, pod("b", true, false)),
                // These were away before: that has been considered.
                (2, pod("c", false, false)),
                (3, pod("d", true, true)),
            ]),
            ..Observed::default()
        };
        let same = before.pods.clone();
        assert_eq!(before.lost_since(&same, 0), None);
        let mut unready = same.clone();
        unready.insert(2, pod("c", false, true));
        assert_eq!(before.lost_since(&unready, 0), Some(2));
        let mut gone = same.clone();
        gone.remove(&3);
        assert_eq!(before.lost_since(&gone, 0), None);
        let taken = [
            Some(pod("b", true, true)),
            Some(pod("b", false, false)),
            Some(pod("another", false, false)),
            None,
        ];
        for other in taken {
            let mut now = same.clone();
            now.remove(&1);
            now.extend(other.clone().map(|pod| (1, pod)));
            assert_eq!(before.lost_since(&now, 0), Some(1), "{other:?}");
            assert_eq!(before.lost_since(&now, 1), None, "it is the one that stops");
        }
    }
}
