//! Plans carried out in a simulated cluster that contains only the planned objects, until nothing
//! is planned any more.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use lograft_crds::LogCluster;
use lograft_crds::log_cluster::AuthorizationMode;
use lograft_crds::names::{ClusterNames, LABEL_AUTHORIZATION};
use lograft_operator_desired::cluster::{
    Ask, ClusterView, Deletion, FeatureLevel, Identity, Intervention, Mend, NodeAnswer, NodeState,
    Observed, ObservedCertificate, ObservedDisk, ObservedGossipKeys, ObservedPartition,
    ObservedPod, ObservedReplica, ObservedSecret, Plan, Proposal, Stop, ValidCluster, Wait, plan,
};
use lograft_operator_desired::fleet::{Held, Member};
use lograft_operator_desired::{ObjectKey, ObjectRef, Settings};
use serde_json::{Value, json};

use crate::{node, sample, settings};

pub(crate) const NOW: i64 = 1_800_000_000;
const ID: &str = "11111111-2222-4333-8444-555555555555";

/// A LogCluster and the simulated cluster.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) cluster: LogCluster,
    pub(crate) observed: Observed,
    /// Feature level with which the cluster is created.
    pub(crate) first_level: FeatureLevel,
    /// Why a changed template waits for other clusters.
    pub(crate) held: Option<Held>,
    uids: u64,
    /// All requests to the data plane, in order.
    pub(crate) asked: Vec<Ask>,
    /// All replaced pods, in order.
    pub(crate) replaced: Vec<String>,
    /// Nodes that were asked to prepare their stop, in order.
    pub(crate) stopped: Vec<u64>,
    /// Whether leaderships cannot be transferred.
    is_sticky: bool,
    /// Pods with this hash do not start.
    pub(crate) broken_hash: Option<String>,
    /// Pods with this hash run but never become ready.
    pub(crate) unready_hash: Option<String>,
    /// Whether the nodes of these pods do not answer either.
    pub(crate) is_unready_silent: bool,
    /// Answers of nodes that are silent now, by ordinal.
    silenced: BTreeMap<i32, NodeAnswer>,
}

impl Sim {
    pub(crate) fn new() -> Self {
        let mut cluster = sample("minimal");
        cluster.status = None;
        // Most cases use a level that has no authorization, which is a wait of its own.
        cluster.spec.authorization.mode = Some(AuthorizationMode::Disabled);
        let observed = Observed {
            now_unix_seconds: NOW,
            ..Observed::default()
        };
        Self {
            cluster,
            observed,
            first_level: FeatureLevel(0),
            held: None,
            uids: 0,
            asked: Vec::new(),
            replaced: Vec::new(),
            stopped: Vec::new(),
            is_sticky: false,
            broken_hash: None,
            unready_hash: None,
            is_unready_silent: false,
            silenced: BTreeMap::new(),
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        self.plan_with(&settings())
    }

    /// The plan of an operator with these settings.
    pub(crate) fn plan_with(&self, settings: &Settings) -> Plan {
        let cluster = ValidCluster::new(&self.cluster).unwrap();
        let proposal = Proposal::new(&cluster, &self.observed, settings).unwrap();
        plan(proposal, self.held.as_ref()).unwrap()
    }

    /// The cluster as a member of the fleet of an operator with these settings.
    pub(crate) fn member(&self, settings: &Settings) -> Member {
        let cluster = ValidCluster::new(&self.cluster).unwrap();
        let proposal = Proposal::new(&cluster, &self.observed, settings).unwrap();
        proposal.member().clone()
    }

    fn names(&self) -> ClusterNames<'_> {
        ClusterNames(self.cluster.metadata.name.as_deref().unwrap())
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    /// Carries out a plan and simulates Kubernetes and the nodes.
    pub(crate) fn carry_out(&mut self, plan: &Plan) {
        let status = self.cluster.status.get_or_insert_default();
        match &plan.identity {
            Identity::Keep => {}
            Identity::Mint => status.cluster_id = Some(ID.to_owned()),
            Identity::Adopt(id) => status.cluster_id = Some(id.clone()),
        }
        if plan.identity != Identity::Keep {
            let authorization = status.authorization.get_or_insert_default();
            authorization.default_mode = plan.default_authorization;
        }
        status.bootstrap_ordinal = plan.bootstrap_ordinal.or(status.bootstrap_ordinal);
        status.bootstrapped |= plan.mark_bootstrapped;
        if !plan.image.is_empty() {
            status.default_version = Some(plan.default_version.clone());
            status.image = Some(plan.image.clone());
        }
        status.rollout.clone_from(&plan.rollout);
        if let Some(view) = &self.observed.view {
            let level = status.feature_level.get_or_insert_default();
            level.finalized = view.finalized_level.0.into();
        }
        self.observed.contests.clone_from(&plan.contests);
        self.issue(plan);
        for grow in &plan.grow {
            let disks = self.observed.disks.values_mut();
            for disk in disks.filter(|disk| disk.uid == grow.uid) {
                disk.requested_bytes = grow.bytes;
                disk.actual_bytes = Some(grow.bytes);
            }
        }
        for mend in &plan.mend {
            self.mend(mend);
        }
        for object in &plan.apply {
            let mut live = object.clone();
            live["metadata"]["uid"] = json!(self.uid());
            live["status"] = json!({"by": "another"});
            self.observed.live.insert(ObjectKey::of(object), live);
        }
        for drain in &plan.drain {
            let at = self.names().ordinal(&drain.key.name).unwrap();
            self.observed.pods.get_mut(&at).unwrap().draining_since = Some(NOW);
        }
        let stopped = plan.stop.as_ref().filter(|stop| self.prepare(stop));
        for ask in &plan.ask {
            self.answer(ask);
        }
        let deleted = plan.delete.iter().map(|delete| &delete.object);
        for ObjectRef { key, uid } in deleted.chain(stopped.map(|stop| &stop.pod)) {
            if key.kind == "Pod" {
                let at = self.names().ordinal(&key.name).unwrap();
                assert_eq!(self.observed.pods[&at].uid, *uid);
                self.observed.pods.remove(&at);
                self.replaced.push(key.name.clone());
            } else if key.kind == "PersistentVolumeClaim" {
                self.observed.disks.retain(|_, disk| disk.uid != *uid);
            } else {
                self.observed.live.remove(key);
            }
        }
        self.kubernetes();
    }

    /// The API server's merge patch.
    fn mend(&mut self, mend: &Mend) {
        let key = &mend.object.key;
        if let Some(live) = self.observed.live.get_mut(key) {
            assert_eq!(live["metadata"]["uid"], mend.object.uid);
            merge(live, &mend.patch);
            return;
        }
        let mode = &mend.patch["metadata"]["labels"][LABEL_AUTHORIZATION];
        if let Some(mode) = mode.as_str() {
            let mut disks = self.observed.disks.values_mut();
            let disk = disks.find(|disk| disk.uid == mend.object.uid).unwrap();
            disk.authorization = AuthorizationMode::from_name(mode);
            return;
        }
        let found = self.observed.metadata.get_mut(key).unwrap();
        assert_eq!(found.uid, mend.object.uid);
        let metadata = &mend.patch["metadata"];
        for (label, value) in metadata["labels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap().to_owned();
            found.labels.insert(label.clone(), value);
        }
        if metadata["ownerReferences"].is_array() {
            found.owners = serde_json::from_value(metadata["ownerReferences"].clone()).unwrap();
        }
    }

    fn issue(&mut self, plan: &Plan) {
        for secret in &plan.secrets {
            let name = secret.object.metadata.name.clone().unwrap();
            let mut fresh = self.observed.secrets.remove(&name).unwrap_or_default();
            let ca = ObservedCertificate {
                fingerprint: "ca".to_owned(),
                own_key: "ca".to_owned(),
                not_before: NOW,
                not_after: NOW + secret.life_seconds,
                ..ObservedCertificate::default()
            };
            if secret.is_ca {
                fresh = ObservedSecret::default();
                fresh.certificates.insert("ca.crt".to_owned(), ca.clone());
            }
            let keep: BTreeSet<_> = secret
                .keep
                .iter()
                .chain([&"ca.crt".to_owned()])
                .cloned()
                .collect();
            fresh.certificates.retain(|field, _| keep.contains(field));
            for leaf in &secret.issue {
                let seen = ObservedCertificate {
                    issuer_key: "ca".to_owned(),
                    not_before: NOW,
                    not_after: NOW + secret.life_seconds,
                    names: leaf.hosts.iter().chain([&leaf.uri]).cloned().collect(),
                    ..ObservedCertificate::default()
                };
                fresh.certificates.insert(leaf.field.clone(), seen);
            }
            fresh.roots = vec![ca];
            self.observed.secrets.insert(name, fresh);
        }
        if let Some(written) = &plan.gossip_keys {
            self.observed.gossip_keys = Some(ObservedGossipKeys {
                ids: vec!["first".to_owned(); written.keys.len()],
                state: written.state.clone(),
            });
        }
    }

    /// Prepares a node for its stop: its leaderships go to other nodes first.
    fn prepare(&mut self, stop: &Stop) -> bool {
        self.stopped.push(stop.node_id);
        let view = self.observed.view.as_mut().unwrap();
        if !self.is_sticky {
            let other = |own: u64| if own == 1 { 2 } else { 1 };
            let leaders = view.partitions.iter_mut().map(|p| &mut p.leader);
            for leader in leaders.chain([&mut view.meta_leader]) {
                *leader = leader.map(|node| {
                    if node == stop.node_id {
                        other(node)
                    } else {
                        node
                    }
                });
            }
        }
        let leads = |leader: Option<u64>| leader == Some(stop.node_id);
        let is_ready = !leads(view.meta_leader) && !view.partitions.iter().any(|p| leads(p.leader));
        is_ready || stop.is_due
    }

    fn answer(&mut self, ask: &Ask) {
        self.asked.push(ask.clone());
        match ask {
            Ask::Bootstrap {
                cluster_id,
                ordinal,
            } => {
                assert!(self.observed.view.is_none(), "a second cluster");
                let chosen = self.cluster.status.as_ref().unwrap().bootstrap_ordinal;
                assert_eq!(chosen, Some(*ordinal), "it is stored first");
                assert_eq!(
                    Some(cluster_id),
                    self.cluster.status.as_ref().unwrap().cluster_id.as_ref()
                );
                self.observed.view = Some(ClusterView {
                    meta_leader: Some(1),
                    finalized_level: self.first_level,
                    ..ClusterView::default()
                });
            }
            Ask::Recommission { node_id } => {
                let nodes = &mut self.observed.view.as_mut().unwrap().nodes;
                let node = nodes.iter_mut().find(|node| node.id == *node_id).unwrap();
                assert_eq!(node.state, NodeState::Draining);
                node.state = NodeState::Active;
            }
            Ask::Decommission { node_id } => {
                let nodes = &mut self.observed.view.as_mut().unwrap().nodes;
                let node = nodes.iter_mut().find(|node| node.id == *node_id).unwrap();
                node.state = match node.state {
                    NodeState::Active => NodeState::Draining,
                    NodeState::Draining | NodeState::Removed => NodeState::Removed,
                };
                node.meta = None;
            }
            Ask::FinalizeLevel { level } => {
                self.observed.view.as_mut().unwrap().finalized_level = *level;
            }
        }
    }

    /// The StatefulSet controller, kubelet, and nodes that join.
    pub(crate) fn kubernetes(&mut self) {
        let key = ObjectKey {
            kind: "StatefulSet".to_owned(),
            name: self.names().stateful_set(),
        };
        let set = self.observed.live.get(&key).cloned();
        self.observed.stateful_set = set.map(|set| serde_json::from_value(set).unwrap());
        let replicas = self.observed.replicas();
        let hash = self.observed.hash().cloned();
        if self.observed.stateful_set.is_some() {
            self.observed.pods.retain(|at, _| *at < replicas);
            self.observed.answers.retain(|at, _| *at < replicas);
        }
        let set = self.observed.live.get(&key);
        let annotations = set.map(|set| &set["spec"]["template"]["metadata"]["annotations"]);
        let restarted_at = annotations.and_then(|all| {
            let at = all["kubectl.kubernetes.io/restartedAt"].as_str();
            at.map(str::to_owned)
        });
        let is_broken = hash.is_some() && hash == self.broken_hash;
        let now = self.observed.now_unix_seconds;
        for at in 0..replicas {
            let uid = self.uid();
            let disk = ObservedDisk {
                uid: format!("disk-{uid}"),
                requested_bytes: 10 << 30,
                actual_bytes: Some(10 << 30),
                terminating: false,
                created: self.observed.now_unix_seconds,
                authorization: None,
                ..ObservedDisk::default()
            };
            self.observed.disks.entry(at).or_insert(disk);
            let Entry::Vacant(vacant) = self.observed.pods.entry(at) else {
                continue;
            };
            vacant.insert(ObservedPod {
                uid,
                restarted_at: restarted_at.clone(),
                hash: hash.clone(),
                ready: false,
                running: !is_broken,
                address: Some("10.0.0.1".to_owned()),
                never_ready_since: Some(now),
                trouble: is_broken.then(|| "ImagePullBackOff".to_owned()),
                ..ObservedPod::default()
            });
            self.observed.answers.entry(at).or_insert(NodeAnswer::Empty);
        }
        self.silence();
        if self.observed.view.is_some() {
            self.join();
        }
    }

    /// The nodes of pods that do not run are silent, and so are those of an image without a node.
    fn silence(&mut self) {
        for (at, pod) in &self.observed.pods {
            let is_mute = self.is_unready_silent && pod.hash == self.unready_hash;
            if !pod.running || is_mute {
                let silent = NodeAnswer::Silent("connection refused".to_owned());
                match self.observed.answers.insert(*at, silent) {
                    Some(NodeAnswer::Silent(_)) | None => {}
                    Some(answer) => drop(self.silenced.insert(*at, answer)),
                }
            } else if let Some(answer) = self.silenced.remove(at) {
                self.observed.answers.insert(*at, answer);
            }
        }
    }

    /// The nodes of all running pods join the cluster and become ready.
    fn join(&mut self) {
        let name = self.cluster.metadata.name.clone().unwrap();
        let cluster_id = self
            .cluster
            .status
            .as_ref()
            .unwrap()
            .cluster_id
            .clone()
            .unwrap();
        let view = self.observed.view.as_mut().unwrap();
        for (at, pod) in &mut self.observed.pods {
            let pod_name = ClusterNames(&name).pod(*at);
            if self.observed.answers[at] == NodeAnswer::Empty {
                let id = u64::try_from(view.nodes.len()).unwrap() + 1;
                let answer = NodeAnswer::Member {
                    cluster_id: cluster_id.clone(),
                    node_id: id,
                };
                self.observed.answers.insert(*at, answer);
                view.nodes.push(node(id, &pod_name));
            }
            let is_unready = pod.hash.is_some() && pod.hash == self.unready_hash;
            pod.ready = pod.running && !is_unready && view.node_of(&pod_name).is_some();
            if pod.ready {
                pod.never_ready_since = None;
            }
        }
        for node in &mut view.nodes {
            let at = ClusterNames(&name).ordinal(&node.name).unwrap();
            let answer = self.observed.answers.get(&at);
            let is_own = |answer: &NodeAnswer| match answer {
                NodeAnswer::Member { node_id, .. } => *node_id == node.id,
                NodeAnswer::Empty | NodeAnswer::Silent(_) => false,
            };
            node.reachable = answer.is_some_and(is_own)
                && self.observed.pods.get(&at).is_some_and(|pod| pod.running);
        }
    }

    /// Plans and carries out until nothing is planned.
    pub(crate) fn converge(&mut self) {
        for _ in 0..64 {
            let plan = self.plan();
            if plan.is_empty() {
                return;
            }
            self.carry_out(&plan);
        }
        panic!("does not converge: {:#?}", self.plan());
    }

    /// Rollout hash of the template that is desired now.
    pub(crate) fn desired_hash(&self) -> String {
        let plan = self.plan();
        let mut applied = plan.apply.iter();
        let set = applied.find(|object| object["kind"] == "StatefulSet");
        let set = set.expect("the template has changed");
        let hash = &set["spec"]["template"]["metadata"]["annotations"]["lograft.io/rollout-hash"];
        hash.as_str().unwrap().to_owned()
    }

    pub(crate) fn wait_text(&self) -> String {
        let waits = self.plan().waits;
        let blocking = waits.iter().find(|wait| is_blocking(wait));
        blocking.map(Wait::to_string).unwrap_or_default()
    }

    fn decommissions(&self) -> BTreeSet<u64> {
        let ids = self.asked.iter().filter_map(|ask| match ask {
            Ask::Decommission { node_id } => Some(*node_id),
            _ => None,
        });
        ids.collect()
    }
}

/// A JSON merge patch.
fn merge(live: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *live = patch.clone();
        return;
    };
    if !live.is_object() {
        *live = json!({});
    }
    let live = live.as_object_mut().unwrap();
    for (key, value) in fields {
        if value.is_null() {
            live.remove(key);
        } else {
            merge(live.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn is_blocking(wait: &Wait) -> bool {
    !matches!(wait, Wait::UnderWay(_))
}

pub(crate) fn running() -> Sim {
    let mut sim = Sim::new();
    sim.converge();
    let replica = |node| ObservedReplica {
        node,
        in_sync: true,
        voter: true,
    };
    let partition = |number, leader| ObservedPartition {
        topic: "orders".to_owned(),
        number,
        leader: Some(leader),
        replicas: [1, 2, 3].map(replica).into(),
    };
    sim.observed.view.as_mut().unwrap().partitions =
        vec![partition(0, 1), partition(1, 2), partition(2, 3)];
    sim
}

#[test]
fn a_new_cluster_is_bootstrapped_once_and_converges() {
    let mut sim = Sim::new();
    // The ID is stored in status before any request to a node.
    let first = sim.plan();
    assert_eq!(first.identity, Identity::Mint);
    assert_eq!(first.ask, []);
    assert_eq!((first.secrets.len(), first.apply.len()), (4, 11));
    sim.converge();
    assert_eq!(
        sim.asked,
        [Ask::Bootstrap {
            cluster_id: ID.to_owned(),
            ordinal: 0,
        }]
    );
    assert!(sim.cluster.status.as_ref().unwrap().bootstrapped);
    assert!(sim.plan().is_empty());
}

#[test]
fn no_bootstrap_while_a_disk_may_hold_a_cluster() {
    let mut sim = Sim::new();
    let plan = sim.plan();
    sim.carry_out(&plan);
    sim.observed
        .answers
        .insert(2, NodeAnswer::Silent("no route".to_owned()));
    let plan = sim.plan();
    assert_eq!(plan.ask, []);
    assert!(sim.wait_text().contains("no route"), "{}", sim.wait_text());

    let foreign = NodeAnswer::Member {
        cluster_id: "another".to_owned(),
        node_id: 3,
    };
    sim.observed.answers.insert(2, foreign);
    assert_eq!(sim.plan().ask, []);
    assert!(
        sim.wait_text().contains("belongs to cluster another"),
        "{}",
        sim.wait_text()
    );
}

#[test]
fn a_crash_between_bootstrap_and_its_mark_creates_no_second_cluster() {
    let mut sim = Sim::new();
    while sim.asked.is_empty() {
        let plan = sim.plan();
        sim.carry_out(&plan);
    }
    assert!(!sim.cluster.status.as_ref().unwrap().bootstrapped);
    let plan = sim.plan();
    assert!(plan.mark_bootstrapped && plan.ask.is_empty());
}

#[test]
fn an_empty_first_disk_joins_as_a_new_node() {
    let mut sim = running();
    sim.observed.answers.insert(0, NodeAnswer::Empty);
    sim.observed.pods.get_mut(&0).unwrap().ready = false;
    let plan = sim.plan();
    assert_eq!(plan.ask, []);
    // It joins as node 4; node 1 has lost its disk and is decommissioned.
    sim.kubernetes();
    sim.converge();
    assert_eq!(sim.decommissions(), [1].into());
    assert_eq!(
        sim.asked
            .iter()
            .filter(|ask| matches!(ask, Ask::Bootstrap { .. }))
            .count(),
        1
    );
}

#[test]
fn disks_of_a_deleted_cluster_are_adopted() {
    let mut sim = running();
    sim.cluster.status = None;
    let plan = sim.plan();
    assert_eq!(plan.identity, Identity::Adopt(ID.to_owned()));
    sim.observed
        .answers
        .insert(0, NodeAnswer::Silent("starting".to_owned()));
    sim.observed.answers.retain(|at, _| *at == 0);
    assert_eq!(sim.plan().identity, Identity::Keep);
}

#[test]
fn deleted_and_edited_objects_are_restored() {
    let mut sim = running();
    let keys: Vec<ObjectKey> = sim.observed.live.keys().cloned().collect();
    for key in keys {
        let whole = sim.observed.live.remove(&key).unwrap();
        let applied: Vec<ObjectKey> = sim.plan().apply.iter().map(ObjectKey::of).collect();
        assert_eq!(applied, std::slice::from_ref(&key));
        let mut edited = whole.clone();
        edited["metadata"]["labels"]["lograft.io/cluster"] = json!("other");
        sim.observed.live.insert(key.clone(), edited);
        assert_eq!(sim.plan().apply.len(), 1, "{key:?}");
        let mut foreign = whole.clone();
        foreign["metadata"]["labels"]["lograft.io/cluster"] = json!("other");
        foreign["metadata"]["ownerReferences"][0]["uid"] = json!("another");
        sim.observed.live.insert(key.clone(), foreign);
        assert_eq!(sim.plan().apply, Vec::<Value>::new(), "{key:?}");
        assert!(sim.wait_text().contains("belongs to LogCluster"));
        sim.observed.live.insert(key, whole);
    }
    assert!(sim.plan().is_empty());
}

#[test]
fn a_network_policy_that_is_switched_off_is_deleted() {
    let mut sim = running();
    sim.cluster.spec.network_policy.enabled = false;
    assert_eq!(sim.plan().delete.len(), 1);
    sim.converge();
    assert!(
        !sim.observed
            .live
            .keys()
            .any(|key| key.kind == "NetworkPolicy")
    );
}

#[test]
fn a_rollout_starts_with_the_highest_ordinal_and_ends_with_the_leader_of_meta() {
    let mut sim = running();
    sim.observed.view.as_mut().unwrap().meta_leader = Some(3);
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-1", "lograft-0", "lograft-2"]);
    // Each was prepared before it was replaced.
    assert_eq!(sim.stopped, [2, 1, 3]);
}

#[test]
fn a_rollout_waits_for_majorities_and_for_pods_that_are_down() {
    let mut sim = running();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    let first = sim.plan();
    sim.carry_out(&first);
    sim.observed.view.as_mut().unwrap().partitions[0].replicas[0].in_sync = false;
    let plan = sim.plan();
    assert!(plan.delete.is_empty() && plan.drain.is_empty() && plan.stop.is_none());
    assert!(
        sim.wait_text().contains("majority without pod lograft-2"),
        "{}",
        sim.wait_text()
    );
    sim.observed.view.as_mut().unwrap().partitions[0].replicas[0].in_sync = true;
    // An outdated pod that is down is the next.
    sim.observed.pods.get_mut(&0).unwrap().ready = false;
    assert_eq!(sim.plan().drain[0].key.name, "lograft-0");
    sim.observed.pods.get_mut(&0).unwrap().terminating = true;
    let plan = sim.plan();
    assert!(plan.delete.is_empty() && plan.drain.is_empty() && plan.stop.is_none());
    assert!(
        sim.wait_text().contains("pod lograft-0 to become ready"),
        "{}",
        sim.wait_text()
    );
    sim.observed.view = None;
    sim.observed.pods.get_mut(&0).unwrap().ready = true;
    sim.observed.pods.get_mut(&0).unwrap().terminating = false;
    let plan = sim.plan();
    assert!(plan.delete.is_empty() && plan.drain.is_empty() && plan.stop.is_none());
    assert!(sim.wait_text().contains("describe"), "{}", sim.wait_text());
}

#[test]
fn leaderships_that_cannot_be_transferred_delay_a_pod_until_the_drain_timeout() {
    let mut sim = running();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    let apply = sim.plan();
    sim.carry_out(&apply);
    let drain = sim.plan();
    assert_eq!(drain.drain.len(), 1);
    sim.carry_out(&drain);
    sim.is_sticky = true;
    sim.observed.now_unix_seconds = NOW + 299;
    let plan = sim.plan();
    sim.carry_out(&plan);
    assert_eq!((sim.stopped.clone(), sim.replaced.len()), (vec![3], 0));
    sim.observed.now_unix_seconds = NOW + 300;
    let plan = sim.plan();
    sim.carry_out(&plan);
    assert_eq!(sim.replaced, ["lograft-2"]);
}

#[test]
fn an_image_that_cannot_start_stops_the_rollout_and_can_be_reverted() {
    let mut sim = running();
    sim.cluster.spec.version = Some("broken".to_owned());
    sim.broken_hash = Some(sim.desired_hash());
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-2"]);
    let text = sim.wait_text();
    assert!(
        text.contains("lograft-2") && text.contains("ImagePullBackOff"),
        "{text}"
    );
    // Certificates are still issued.
    sim.observed.secrets.remove(&sim.names().admin_tls());
    assert_eq!(sim.plan().secrets.len(), 1);
    sim.converge();
    sim.cluster.spec.version = None;
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-2", "lograft-2"]);
    assert!(sim.observed.pods.values().all(|pod| pod.ready));
}

#[test]
fn nodes_leave_from_the_highest_ordinal_before_their_pods() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 5;
    sim.converge();
    sim.cluster.spec.replicas = 3;
    let plan = sim.plan();
    assert_eq!(plan.ask, [Ask::Decommission { node_id: 5 }]);
    assert_eq!(plan.pods, 5);
    sim.converge();
    assert_eq!(sim.decommissions(), [4, 5].into());
    assert_eq!(
        (
            sim.observed.replicas(),
            sim.observed.pods.len(),
            sim.observed.disks.len()
        ),
        (3, 3, 5)
    );
}

#[test]
fn a_node_that_is_requested_again_stays() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 4;
    sim.converge();
    sim.cluster.spec.replicas = 3;
    let plan = sim.plan();
    assert_eq!(plan.ask, [Ask::Decommission { node_id: 4 }]);
    sim.carry_out(&plan);
    sim.cluster.spec.replicas = 4;
    assert_eq!(sim.plan().ask, [Ask::Recommission { node_id: 4 }]);
    sim.converge();
    assert_eq!(sim.observed.pods.len(), 4);
    let nodes = &sim.observed.view.as_ref().unwrap().nodes;
    assert!(nodes.iter().all(|node| node.state == NodeState::Active));
}

#[test]
fn disks_grow_and_the_set_is_recreated_around_its_pods() {
    let mut sim = running();
    let before: Vec<String> = sim
        .observed
        .pods
        .values()
        .map(|pod| pod.uid.clone())
        .collect();
    sim.cluster.spec.storage.size = "20Gi".into();
    let plan = sim.plan();
    assert_eq!(plan.grow.len(), 3);
    assert!(plan.delete.is_empty());
    sim.carry_out(&plan);
    let plan = sim.plan();
    assert!(plan.delete.len() == 1 && plan.delete[0].how == Deletion::Orphan);
    sim.converge();
    assert_eq!(sim.observed.disk_size().as_deref(), Some("20Gi"));
    let after: Vec<String> = sim
        .observed
        .pods
        .values()
        .map(|pod| pod.uid.clone())
        .collect();
    assert_eq!(after, before);
}

#[test]
fn a_full_disk_grows_while_a_rollout_is_stuck() {
    let mut sim = running();
    assert_eq!(sim.plan().requeue_seconds, 60);
    sim.cluster.spec.storage.auto_grow = sample("production").spec.storage.auto_grow;
    assert_eq!(sim.plan().requeue_seconds, 15);
    sim.observed.pods.get_mut(&1).unwrap().trouble = Some("CrashLoopBackOff".to_owned());
    let node = &mut sim.observed.view.as_mut().unwrap().nodes[1];
    node.disk_free_bytes = 2 << 30;
    let plan = sim.plan();
    assert_eq!(plan.grow.len(), 1);
    assert_eq!(
        (plan.grow[0].claim.as_str(), plan.grow[0].bytes),
        ("data-lograft-1", 15 << 30)
    );
    // A disk that refuses writes grows whatever its usage.
    let node = &mut sim.observed.view.as_mut().unwrap().nodes[1];
    (node.disk_free_bytes, node.disk_low) = (6 << 30, true);
    assert_eq!(sim.plan().grow.len(), 1);
    // Not before its file system has the size of the PVC.
    sim.observed.view.as_mut().unwrap().nodes[1].disk_total_bytes = 7 << 30;
    assert_eq!(sim.plan().grow.len(), 0);
    sim.observed.view.as_mut().unwrap().nodes[1].disk_total_bytes = 10 << 30;
    // Without autoGrow it is reported.
    sim.cluster.spec.storage.auto_grow = None;
    assert_eq!(sim.plan().grow.len(), 0);
    let claim = "data-lograft-1".to_owned();
    let full = Intervention::DiskFull { claim };
    assert!(sim.plan().waits.contains(&full.into()));
}

#[test]
fn a_paused_cluster_is_not_changed() {
    let mut sim = Sim::new();
    sim.cluster.spec.paused = true;
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(sim.wait_text().contains("spec.paused"));
}

#[test]
fn a_set_recreated_during_a_decommission_removes_no_pod() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 5;
    sim.converge();
    sim.cluster.spec.replicas = 3;
    let plan = sim.plan();
    sim.carry_out(&plan);
    let key = sim
        .observed
        .live
        .keys()
        .find(|key| key.kind == "StatefulSet");
    let key = key.unwrap().clone();
    sim.observed.live.remove(&key);
    sim.observed.stateful_set = None;
    let plan = sim.plan();
    let set = plan
        .apply
        .iter()
        .find(|object| object["kind"] == "StatefulSet");
    assert_eq!(set.unwrap()["spec"]["replicas"], 5);
    // Neither does a set that somebody scaled down.
    let mut lowered = set.unwrap().clone();
    lowered["spec"]["replicas"] = json!(3);
    sim.observed.stateful_set = Some(serde_json::from_value(lowered.clone()).unwrap());
    sim.observed.live.insert(key, lowered);
    assert_eq!(sim.plan().pods, 5);
}

#[test]
fn a_pod_that_runs_but_is_not_ready_is_repaired_by_a_revert() {
    let mut sim = running();
    sim.cluster.spec.version = Some("broken".to_owned());
    sim.unready_hash = Some(sim.desired_hash());
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-2"]);
    sim.cluster.spec.version = None;
    sim.converge();
    assert_eq!(sim.replaced, ["lograft-2", "lograft-2"]);
    assert!(sim.observed.pods.values().all(|pod| pod.ready));
}

#[test]
fn the_ordinal_of_a_decommissioned_node_gets_an_empty_disk() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 4;
    sim.converge();
    sim.cluster.spec.replicas = 3;
    sim.converge();
    let old = sim.observed.disks[&3].uid.clone();
    sim.cluster.spec.replicas = 4;
    let plan = sim.plan();
    assert_eq!((plan.delete.len(), plan.pods), (1, 3));
    assert_eq!(plan.delete[0].object.uid, old);
    // While no node answers, nothing is deleted and no pod added.
    let view = sim.observed.view.take();
    let blind = sim.plan();
    assert_eq!((blind.delete.len(), blind.pods), (0, 3));
    sim.observed.view = view;
    sim.converge();
    assert_eq!(sim.observed.pods.len(), 4);
    assert_ne!(sim.observed.disks[&3].uid, old);
    let last = sim
        .observed
        .view
        .as_ref()
        .unwrap()
        .node_of("lograft-3")
        .unwrap();
    assert_eq!((last.id, last.state), (5, NodeState::Active));
}

#[test]
fn the_repair_of_a_lost_disk_continues_while_the_new_node_is_silent() {
    let mut sim = running();
    sim.observed.answers.insert(0, NodeAnswer::Empty);
    sim.observed.pods.get_mut(&0).unwrap().ready = false;
    sim.kubernetes();
    let plan = sim.plan();
    assert_eq!(plan.ask, [Ask::Decommission { node_id: 1 }]);
    sim.carry_out(&plan);
    sim.observed
        .answers
        .insert(0, NodeAnswer::Silent("starting".to_owned()));
    assert_eq!(sim.plan().ask, [Ask::Decommission { node_id: 1 }]);
}

#[test]
fn remains_of_a_former_cluster_that_are_being_deleted_are_not_adopted() {
    let mut sim = running();
    sim.cluster.status = None;
    let set = sim.observed.stateful_set.clone();
    let mut former = set.clone().unwrap();
    let owners = former.metadata.owner_references.as_mut().unwrap();
    owners[0].uid = "former".to_owned();
    sim.observed.stateful_set = Some(former);
    assert_eq!(sim.plan().identity, Identity::Keep);
    sim.observed.stateful_set = set;
    sim.observed.disks.get_mut(&1).unwrap().terminating = true;
    assert_eq!(sim.plan().identity, Identity::Keep);
    assert!(sim.wait_text().contains("1 PVC(s)"), "{}", sim.wait_text());
    sim.observed.disks.get_mut(&1).unwrap().terminating = false;
    sim.observed.pods.get_mut(&2).unwrap().owner_uid = Some("another set".to_owned());
    assert_eq!(sim.plan().identity, Identity::Keep);
    sim.observed.pods.get_mut(&2).unwrap().owner_uid = None;
    assert_eq!(sim.plan().identity, Identity::Adopt(ID.to_owned()));
}

#[test]
fn a_bootstrapped_cluster_with_an_unsupported_field_is_reconciled() {
    let mut sim = running();
    sim.cluster.spec.observability.service_monitor = true;
    assert!(
        sim.wait_text()
            .contains("spec.observability.serviceMonitor")
    );
    sim.observed.secrets.remove(&sim.names().admin_tls());
    assert_eq!(sim.plan().secrets.len(), 1);
    // A new cluster is not created.
    sim.cluster.status.as_mut().unwrap().bootstrapped = false;
    assert!(ValidCluster::new(&sim.cluster).is_err());
}

#[test]
fn a_paused_cluster_is_still_reported_on() {
    let mut sim = running();
    sim.cluster.spec.paused = true;
    sim.observed.now_unix_seconds = NOW + 6 * 366 * 86_400;
    let plan = sim.plan();
    assert!(plan.is_empty());
    let texts: Vec<_> = plan.waits.iter().map(Wait::to_string).collect();
    assert!(texts[0].contains("spec.paused"), "{texts:?}");
    assert!(
        texts.iter().any(|text| text.contains("expired")),
        "{texts:?}"
    );
}

#[test]
fn a_refused_decommission_does_not_stop_a_rollout() {
    let mut sim = running();
    sim.cluster.spec.replicas = 2;
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    // The nodes reject it: too few would be left for the replicas. So the node stays active.
    for _ in 0..2 {
        let mut plan = sim.plan();
        plan.ask.clear();
        sim.carry_out(&plan);
    }
    let plan = sim.plan();
    assert!(plan.stop.is_some(), "{plan:#?}");
    // One disruption per step.
    assert_eq!(plan.ask, []);
}

#[test]
fn a_foreign_secret_is_neither_used_nor_overwritten() {
    let mut sim = Sim::new();
    let foreign = &mut sim.observed.foreign_secrets;
    foreign.insert("lograft-ca".to_owned(), "Cluster pg".to_owned());
    assert_eq!(sim.plan().secrets, []);
    assert!(
        sim.wait_text().contains("lograft-ca"),
        "{}",
        sim.wait_text()
    );
    assert!(
        sim.wait_text().contains("Cluster pg"),
        "{}",
        sim.wait_text()
    );
}
