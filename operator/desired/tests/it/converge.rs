//! Plans carried out in a world that is made of nothing but what was planned: it comes to rest.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use lograft_crds::LogCluster;
use lograft_crds::log_cluster::MemberRole;
use lograft_crds::names::ClusterNames;
use lograft_operator_desired::plan::Identity;
use lograft_operator_desired::{
    Answer, Ask, CertificateSeen, DiskSeen, NodeSeen, NodeState, ObjectKey, Observed,
    PartitionSeen, Plan, PodSeen, ReplicaSeen, SecretSeen, Stop, ValidCluster, View, plan,
};
use serde_json::{Value, json};

use crate::{sample, settings};

const NOW: i64 = 1_800_000_000;
const ID: &str = "11111111-2222-4333-8444-555555555555";

/// A cluster and its world.
struct Sim {
    cluster: LogCluster,
    seen: Observed,
    uids: u64,
    /// Every ask, in order.
    asked: Vec<Ask>,
    /// Every pod replaced, in order.
    replaced: Vec<String>,
    /// Nodes that were asked to hand over, in order.
    stopped: Vec<u64>,
    /// Whether leaderships stay where they are.
    is_sticky: bool,
    /// Images of this hash do not start.
    broken_hash: Option<String>,
    /// Pods of this hash run and are never ready.
    unready_hash: Option<String>,
}

impl Sim {
    fn new() -> Self {
        let mut cluster = sample("minimal");
        cluster.status = None;
        let seen = Observed {
            now_unix_seconds: NOW,
            ..Observed::default()
        };
        Self {
            cluster,
            seen,
            uids: 0,
            asked: Vec::new(),
            replaced: Vec::new(),
            stopped: Vec::new(),
            is_sticky: false,
            broken_hash: None,
            unready_hash: None,
        }
    }

    fn plan(&self) -> Plan {
        plan(
            &ValidCluster::new(&self.cluster).unwrap(),
            &self.seen,
            &settings(),
        )
        .unwrap()
    }

    fn names(&self) -> ClusterNames<'_> {
        ClusterNames(self.cluster.metadata.name.as_deref().unwrap())
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    /// Carries out a plan, and lets Kubernetes and the nodes do their part.
    fn carry_out(&mut self, plan: &Plan) {
        let status = self.cluster.status.get_or_insert_default();
        match &plan.identity {
            Identity::Keep => {}
            Identity::Mint => status.cluster_id = Some(ID.to_owned()),
            Identity::Adopt(id) => status.cluster_id = Some(id.clone()),
        }
        status.bootstrapped |= plan.was_made;
        self.issue(plan);
        for grow in &plan.grow {
            let disks = self.seen.disks.values_mut();
            for disk in disks.filter(|disk| disk.uid == grow.uid) {
                disk.requested_bytes = grow.bytes;
                disk.actual_bytes = Some(grow.bytes);
            }
        }
        for object in &plan.apply {
            let mut live = object.clone();
            live["metadata"]["uid"] = json!(self.uid());
            live["status"] = json!({"by": "another"});
            self.seen.live.insert(ObjectKey::of(object), live);
        }
        for drain in &plan.drain {
            let at = self.names().ordinal(&drain.key.name).unwrap();
            self.seen.pods.get_mut(&at).unwrap().draining_since = Some(NOW);
        }
        let stopped = plan.stop.as_ref().filter(|stop| self.prepare(stop));
        for ask in &plan.ask {
            self.answer(ask);
        }
        for delete in plan.delete.iter().chain(stopped.map(|stop| &stop.pod)) {
            if delete.key.kind == "Pod" {
                let at = self.names().ordinal(&delete.key.name).unwrap();
                assert_eq!(self.seen.pods[&at].uid, delete.uid);
                self.seen.pods.remove(&at);
                self.replaced.push(delete.key.name.clone());
            } else if delete.key.kind == "PersistentVolumeClaim" {
                self.seen.disks.retain(|_, disk| disk.uid != delete.uid);
            } else {
                self.seen.live.remove(&delete.key);
            }
        }
        self.kubernetes();
        let cluster = ValidCluster::new(&self.cluster).unwrap();
        self.seen.derive(&cluster);
    }

    fn issue(&mut self, plan: &Plan) {
        for secret in &plan.secrets {
            let name = secret.object.metadata.name.clone().unwrap();
            let mut fresh = self.seen.secrets.remove(&name).unwrap_or_default();
            let ca = CertificateSeen {
                fingerprint: "ca".to_owned(),
                own_key: "ca".to_owned(),
                not_before: NOW,
                not_after: NOW + secret.life_seconds,
                ..CertificateSeen::default()
            };
            if secret.is_ca {
                fresh = SecretSeen::default();
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
                let seen = CertificateSeen {
                    issuer_key: "ca".to_owned(),
                    not_before: NOW,
                    not_after: NOW + secret.life_seconds,
                    names: leaf.hosts.iter().chain([&leaf.uri]).cloned().collect(),
                    ..CertificateSeen::default()
                };
                fresh.certificates.insert(leaf.field.clone(), seen);
            }
            fresh.roots = vec![ca];
            self.seen.secrets.insert(name, fresh);
        }
    }

    /// As the node answers it: what it leads goes to others first.
    fn prepare(&mut self, stop: &Stop) -> bool {
        self.stopped.push(stop.node_id);
        let view = self.seen.view.as_mut().unwrap();
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
            Ask::Bootstrap { cluster_id } => {
                assert!(self.seen.view.is_none(), "a second cluster");
                assert_eq!(
                    Some(cluster_id),
                    self.cluster.status.as_ref().unwrap().cluster_id.as_ref()
                );
                self.seen.view = Some(View {
                    meta_leader: Some(1),
                    ..View::default()
                });
            }
            Ask::Recommission { node_id } => {
                let nodes = &mut self.seen.view.as_mut().unwrap().nodes;
                let node = nodes.iter_mut().find(|node| node.id == *node_id).unwrap();
                assert_eq!(node.state, NodeState::Draining);
                node.state = NodeState::Active;
            }
            Ask::Decommission { node_id } => {
                let nodes = &mut self.seen.view.as_mut().unwrap().nodes;
                let node = nodes.iter_mut().find(|node| node.id == *node_id).unwrap();
                node.state = match node.state {
                    NodeState::Active => NodeState::Draining,
                    NodeState::Draining | NodeState::Removed => NodeState::Removed,
                };
                node.meta = None;
            }
        }
    }

    /// The StatefulSet's controller, kubelet, and nodes that join.
    fn kubernetes(&mut self) {
        let key = ObjectKey {
            kind: "StatefulSet".to_owned(),
            name: self.names().stateful_set(),
        };
        let set = self.seen.live.get(&key).cloned();
        self.seen.stateful_set = set.map(|set| serde_json::from_value(set).unwrap());
        let standing = self.seen.replicas();
        let hash = self.seen.hash().cloned();
        if self.seen.stateful_set.is_some() {
            self.seen.pods.retain(|at, _| *at < standing);
            self.seen.answers.retain(|at, _| *at < standing);
        }
        let is_broken = hash.is_some() && hash == self.broken_hash;
        for at in 0..standing {
            let uid = self.uid();
            let disk = DiskSeen {
                uid: format!("disk-{uid}"),
                requested_bytes: 10 << 30,
                actual_bytes: Some(10 << 30),
                terminating: false,
            };
            self.seen.disks.entry(at).or_insert(disk);
            let Entry::Vacant(place) = self.seen.pods.entry(at) else {
                continue;
            };
            place.insert(PodSeen {
                uid,
                hash: hash.clone(),
                ready: false,
                running: !is_broken,
                trouble: is_broken.then(|| "ImagePullBackOff".to_owned()),
                ..PodSeen::default()
            });
            self.seen.answers.entry(at).or_insert(Answer::Empty);
        }
        if self.seen.view.is_some() {
            self.join();
        }
    }

    /// Every running pod's node belongs to the cluster and is ready.
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
        let view = self.seen.view.as_mut().unwrap();
        for (at, pod) in &mut self.seen.pods {
            let pod_name = ClusterNames(&name).pod(*at);
            if self.seen.answers[at] == Answer::Empty {
                let id = u64::try_from(view.nodes.len()).unwrap() + 1;
                let answer = Answer::Member {
                    cluster_id: cluster_id.clone(),
                    node_id: id,
                };
                self.seen.answers.insert(*at, answer);
                view.nodes.push(node(id, &pod_name));
            }
            let is_unready = pod.hash.is_some() && pod.hash == self.unready_hash;
            pod.ready = pod.running && !is_unready && view.node_of(&pod_name).is_some();
        }
        for node in &mut view.nodes {
            let at = ClusterNames(&name).ordinal(&node.name).unwrap();
            let own = matches!(self.seen.answers.get(&at), Some(Answer::Member { node_id, .. }) if *node_id == node.id);
            node.reachable = own && self.seen.pods.get(&at).is_some_and(|pod| pod.running);
        }
    }

    /// Plans and carries out until nothing is planned.
    fn rest(&mut self) {
        for _ in 0..64 {
            let plan = self.plan();
            if plan.is_empty() {
                return;
            }
            self.carry_out(&plan);
        }
        panic!("no rest: {:#?}", self.plan());
    }

    fn wait_text(&self) -> String {
        let notes = self.plan().notes;
        notes
            .iter()
            .find(|note| note.blocks)
            .map(|note| note.text.clone())
            .unwrap_or_default()
    }

    fn decommissions(&self) -> BTreeSet<u64> {
        let ids = self.asked.iter().filter_map(|ask| match ask {
            Ask::Decommission { node_id } => Some(*node_id),
            _ => None,
        });
        ids.collect()
    }
}

fn node(id: u64, name: &str) -> NodeSeen {
    NodeSeen {
        id,
        name: name.to_owned(),
        state: NodeState::Active,
        reachable: true,
        version: "0.1.0".to_owned(),
        disk_total_bytes: 10 << 30,
        disk_free_bytes: 9 << 30,
        disk_low: false,
        leaders: 0,
        meta: Some(MemberRole::Voter),
        lag_entries: 0,
        certificate_not_after: None,
        roots: Vec::new(),
    }
}

fn running() -> Sim {
    let mut sim = Sim::new();
    sim.rest();
    let replica = |node| ReplicaSeen {
        node,
        in_sync: true,
        voter: true,
    };
    let partition = |number, leader| PartitionSeen {
        topic: "orders".to_owned(),
        number,
        leader: Some(leader),
        replicas: [1, 2, 3].map(replica).into(),
    };
    sim.seen.view.as_mut().unwrap().partitions =
        vec![partition(0, 1), partition(1, 2), partition(2, 3)];
    sim
}

#[test]
fn a_new_cluster_is_made_once_and_comes_to_rest() {
    let mut sim = Sim::new();
    // The id comes first, and nothing is asked with it before it stands in status.
    let first = sim.plan();
    assert_eq!(first.identity, Identity::Mint);
    assert_eq!(first.ask, []);
    assert_eq!((first.secrets.len(), first.apply.len()), (4, 8));
    sim.rest();
    assert_eq!(
        sim.asked,
        [Ask::Bootstrap {
            cluster_id: ID.to_owned()
        }]
    );
    assert!(sim.cluster.status.as_ref().unwrap().bootstrapped);
    assert!(sim.plan().is_empty());
}

#[test]
fn nobody_makes_a_cluster_while_a_disk_may_hold_one() {
    let mut sim = Sim::new();
    let plan = sim.plan();
    sim.carry_out(&plan);
    sim.seen
        .answers
        .insert(2, Answer::Silent("no route".to_owned()));
    let plan = sim.plan();
    assert_eq!(plan.ask, []);
    assert!(sim.wait_text().contains("no route"), "{}", sim.wait_text());

    let foreign = Answer::Member {
        cluster_id: "another".to_owned(),
        node_id: 3,
    };
    sim.seen.answers.insert(2, foreign);
    assert_eq!(sim.plan().ask, []);
    assert!(
        sim.wait_text().contains("belongs to cluster another"),
        "{}",
        sim.wait_text()
    );
}

#[test]
fn a_crash_between_bootstrap_and_its_mark_makes_no_second_cluster() {
    let mut sim = Sim::new();
    while sim.asked.is_empty() {
        let plan = sim.plan();
        sim.carry_out(&plan);
    }
    assert!(!sim.cluster.status.as_ref().unwrap().bootstrapped);
    let plan = sim.plan();
    assert!(plan.was_made && plan.ask.is_empty());
}

#[test]
fn an_empty_first_disk_joins() {
    let mut sim = running();
    sim.seen.answers.insert(0, Answer::Empty);
    sim.seen.pods.get_mut(&0).unwrap().ready = false;
    let plan = sim.plan();
    assert_eq!(plan.ask, []);
    // It joined as node 4; node 1, whose disk is lost, is taken out.
    sim.kubernetes();
    sim.rest();
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
    sim.seen
        .answers
        .insert(0, Answer::Silent("starts".to_owned()));
    sim.seen.answers.retain(|at, _| *at == 0);
    assert_eq!(sim.plan().identity, Identity::Keep);
}

#[test]
fn what_was_deleted_or_edited_is_put_back() {
    let mut sim = running();
    let keys: Vec<ObjectKey> = sim.seen.live.keys().cloned().collect();
    for key in keys {
        let whole = sim.seen.live.remove(&key).unwrap();
        let applied: Vec<ObjectKey> = sim.plan().apply.iter().map(ObjectKey::of).collect();
        assert_eq!(applied, std::slice::from_ref(&key));
        let mut edited = whole.clone();
        edited["metadata"]["labels"]["lograft.io/cluster"] = json!("other");
        sim.seen.live.insert(key.clone(), edited);
        assert_eq!(sim.plan().apply.len(), 1, "{key:?}");
        let mut strangers = whole.clone();
        strangers["metadata"]["labels"]["lograft.io/cluster"] = json!("other");
        strangers["metadata"]["ownerReferences"][0]["uid"] = json!("another");
        sim.seen.live.insert(key.clone(), strangers);
        assert_eq!(sim.plan().apply, Vec::<Value>::new(), "{key:?}");
        assert!(sim.wait_text().contains("belongs to LogCluster"));
        sim.seen.live.insert(key, whole);
    }
    assert!(sim.plan().is_empty());
}

#[test]
fn a_policy_that_is_not_wanted_goes() {
    let mut sim = running();
    sim.cluster.spec.network_policy.enabled = false;
    assert_eq!(sim.plan().delete.len(), 1);
    sim.rest();
    assert!(!sim.seen.live.keys().any(|key| key.kind == "NetworkPolicy"));
}

#[test]
fn a_rollout_takes_pods_from_above_and_the_leader_of_meta_last() {
    let mut sim = running();
    sim.seen.view.as_mut().unwrap().meta_leader = Some(3);
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    sim.rest();
    assert_eq!(sim.replaced, ["lograft-1", "lograft-0", "lograft-2"]);
    // Each was asked to hand over before it went, and went only then.
    assert_eq!(sim.stopped, [2, 1, 3]);
}

#[test]
fn a_rollout_waits_for_majorities_and_for_pods_that_are_down() {
    let mut sim = running();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    let first = sim.plan();
    sim.carry_out(&first);
    sim.seen.view.as_mut().unwrap().partitions[0].replicas[0].in_sync = false;
    let plan = sim.plan();
    assert!(plan.delete.is_empty() && plan.drain.is_empty() && plan.stop.is_none());
    assert!(
        sim.wait_text().contains("majority without lograft-2"),
        "{}",
        sim.wait_text()
    );
    sim.seen.view.as_mut().unwrap().partitions[0].replicas[0].in_sync = true;
    // One that is down and as outdated as the others is the next.
    sim.seen.pods.get_mut(&0).unwrap().ready = false;
    assert_eq!(sim.plan().drain[0].key.name, "lograft-0");
    sim.seen.pods.get_mut(&0).unwrap().terminating = true;
    let plan = sim.plan();
    assert!(plan.delete.is_empty() && plan.drain.is_empty() && plan.stop.is_none());
    assert!(
        sim.wait_text().contains("lograft-0 to be ready"),
        "{}",
        sim.wait_text()
    );
    sim.seen.view = None;
    sim.seen.pods.get_mut(&0).unwrap().ready = true;
    sim.seen.pods.get_mut(&0).unwrap().terminating = false;
    let plan = sim.plan();
    assert!(plan.delete.is_empty() && plan.drain.is_empty() && plan.stop.is_none());
    assert!(sim.wait_text().contains("describe"), "{}", sim.wait_text());
}

#[test]
fn leaderships_that_do_not_move_hold_a_pod_up_for_the_drains_time() {
    let mut sim = running();
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    let apply = sim.plan();
    sim.carry_out(&apply);
    let drain = sim.plan();
    assert_eq!(drain.drain.len(), 1);
    sim.carry_out(&drain);
    sim.is_sticky = true;
    sim.seen.now_unix_seconds = NOW + 299;
    let plan = sim.plan();
    sim.carry_out(&plan);
    assert_eq!((sim.stopped.clone(), sim.replaced.len()), (vec![3], 0));
    sim.seen.now_unix_seconds = NOW + 300;
    let plan = sim.plan();
    sim.carry_out(&plan);
    assert_eq!(sim.replaced, ["lograft-2"]);
}

#[test]
fn an_image_that_cannot_start_stops_the_rollout_and_goes_back() {
    let mut sim = running();
    sim.cluster.spec.version = Some("broken".to_owned());
    let apply = sim.plan();
    let set = apply
        .apply
        .iter()
        .find(|object| object["kind"] == "StatefulSet")
        .unwrap();
    let hash = &set["spec"]["template"]["metadata"]["annotations"]["lograft.io/rollout-hash"];
    sim.broken_hash = Some(hash.as_str().unwrap().to_owned());
    sim.rest();
    assert_eq!(sim.replaced, ["lograft-2"]);
    let text = sim.wait_text();
    assert!(
        text.contains("lograft-2") && text.contains("ImagePullBackOff"),
        "{text}"
    );
    // Certificates go on meanwhile.
    sim.seen.secrets.remove(&sim.names().admin_tls());
    assert_eq!(sim.plan().secrets.len(), 1);
    sim.rest();
    sim.cluster.spec.version = None;
    sim.rest();
    assert_eq!(sim.replaced, ["lograft-2", "lograft-2"]);
    assert!(sim.seen.pods.values().all(|pod| pod.ready));
}

#[test]
fn nodes_leave_from_above_before_their_pods() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 5;
    sim.rest();
    sim.cluster.spec.replicas = 3;
    let plan = sim.plan();
    assert_eq!(plan.ask, [Ask::Decommission { node_id: 5 }]);
    assert_eq!(plan.pods, 5);
    sim.rest();
    assert_eq!(sim.decommissions(), [4, 5].into());
    assert_eq!(
        (
            sim.seen.replicas(),
            sim.seen.pods.len(),
            sim.seen.disks.len()
        ),
        (3, 3, 5)
    );
}

#[test]
fn a_node_that_is_wanted_again_stays() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 4;
    sim.rest();
    sim.cluster.spec.replicas = 3;
    let plan = sim.plan();
    assert_eq!(plan.ask, [Ask::Decommission { node_id: 4 }]);
    sim.carry_out(&plan);
    sim.cluster.spec.replicas = 4;
    assert_eq!(sim.plan().ask, [Ask::Recommission { node_id: 4 }]);
    sim.rest();
    assert_eq!(sim.seen.pods.len(), 4);
    let nodes = &sim.seen.view.as_ref().unwrap().nodes;
    assert!(nodes.iter().all(|node| node.state == NodeState::Active));
}

#[test]
fn disks_grow_and_the_set_is_made_anew_around_its_pods() {
    let mut sim = running();
    let before: Vec<String> = sim.seen.pods.values().map(|pod| pod.uid.clone()).collect();
    sim.cluster.spec.storage.size = "20Gi".into();
    let plan = sim.plan();
    assert_eq!(plan.grow.len(), 3);
    assert!(plan.delete.is_empty());
    sim.carry_out(&plan);
    let plan = sim.plan();
    assert!(plan.delete.len() == 1 && plan.delete[0].orphan);
    sim.rest();
    assert_eq!(sim.seen.disk_size().as_deref(), Some("20Gi"));
    let after: Vec<String> = sim.seen.pods.values().map(|pod| pod.uid.clone()).collect();
    assert_eq!(after, before);
}

#[test]
fn a_full_disk_grows_while_a_rollout_is_stuck() {
    let mut sim = running();
    assert_eq!(sim.plan().requeue_seconds, 60);
    sim.cluster.spec.storage.auto_grow = sample("production").spec.storage.auto_grow;
    assert_eq!(sim.plan().requeue_seconds, 15);
    sim.seen.pods.get_mut(&1).unwrap().trouble = Some("CrashLoopBackOff".to_owned());
    let node = &mut sim.seen.view.as_mut().unwrap().nodes[1];
    node.disk_free_bytes = 2 << 30;
    let plan = sim.plan();
    assert_eq!(plan.grow.len(), 1);
    assert_eq!(
        (plan.grow[0].claim.as_str(), plan.grow[0].bytes),
        ("data-lograft-1", 15 << 30)
    );
    // One that refuses writes grows however much of it is in use.
    let node = &mut sim.seen.view.as_mut().unwrap().nodes[1];
    (node.disk_free_bytes, node.disk_low) = (6 << 30, true);
    assert_eq!(sim.plan().grow.len(), 1);
    // Not before its file system has followed the claim.
    sim.seen.view.as_mut().unwrap().nodes[1].disk_total_bytes = 7 << 30;
    assert_eq!(sim.plan().grow.len(), 0);
    sim.seen.view.as_mut().unwrap().nodes[1].disk_total_bytes = 10 << 30;
    // Where it may not, somebody is told.
    sim.cluster.spec.storage.auto_grow = None;
    assert_eq!(sim.plan().grow.len(), 0);
    let wants_room = |text: String| text.contains("data-lograft-1 to have room");
    let notes = sim.plan().notes.into_iter();
    assert!(notes.map(|note| note.text).any(wants_room));
}

#[test]
fn hands_are_kept_off_a_paused_cluster() {
    let mut sim = Sim::new();
    sim.cluster.spec.paused = true;
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(sim.wait_text().contains("spec.paused"));
}

#[test]
fn a_set_made_anew_while_a_node_leaves_takes_no_pod_with_it() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 5;
    sim.rest();
    sim.cluster.spec.replicas = 3;
    let plan = sim.plan();
    sim.carry_out(&plan);
    let key = sim.seen.live.keys().find(|key| key.kind == "StatefulSet");
    let key = key.unwrap().clone();
    sim.seen.live.remove(&key);
    sim.seen.stateful_set = None;
    let plan = sim.plan();
    let set = plan
        .apply
        .iter()
        .find(|object| object["kind"] == "StatefulSet");
    assert_eq!(set.unwrap()["spec"]["replicas"], 5);
    // Nor does one that somebody lowers.
    let mut lowered = set.unwrap().clone();
    lowered["spec"]["replicas"] = json!(3);
    sim.seen.stateful_set = Some(serde_json::from_value(lowered.clone()).unwrap());
    sim.seen.live.insert(key, lowered);
    assert_eq!(sim.plan().pods, 5);
}

#[test]
fn a_pod_that_runs_and_is_not_ready_is_mended_by_the_way_back() {
    let mut sim = running();
    sim.cluster.spec.version = Some("broken".to_owned());
    let plan = sim.plan();
    let set = plan
        .apply
        .iter()
        .find(|object| object["kind"] == "StatefulSet");
    let hash =
        &set.unwrap()["spec"]["template"]["metadata"]["annotations"]["lograft.io/rollout-hash"];
    sim.unready_hash = Some(hash.as_str().unwrap().to_owned());
    sim.rest();
    assert_eq!(sim.replaced, ["lograft-2"]);
    sim.cluster.spec.version = None;
    sim.rest();
    assert_eq!(sim.replaced, ["lograft-2", "lograft-2"]);
    assert!(sim.seen.pods.values().all(|pod| pod.ready));
}

#[test]
fn a_place_of_a_node_that_left_gets_an_empty_disk() {
    let mut sim = Sim::new();
    sim.cluster.spec.replicas = 4;
    sim.rest();
    sim.cluster.spec.replicas = 3;
    sim.rest();
    let old = sim.seen.disks[&3].uid.clone();
    sim.cluster.spec.replicas = 4;
    let plan = sim.plan();
    assert_eq!((plan.delete.len(), plan.pods), (1, 3));
    assert_eq!(plan.delete[0].uid, old);
    // While no node tells, nothing is thrown away and nothing added.
    let view = sim.seen.view.take();
    let blind = sim.plan();
    assert_eq!((blind.delete.len(), blind.pods), (0, 3));
    sim.seen.view = view;
    sim.rest();
    assert_eq!(sim.seen.pods.len(), 4);
    assert_ne!(sim.seen.disks[&3].uid, old);
    let last = sim
        .seen
        .view
        .as_ref()
        .unwrap()
        .node_of("lograft-3")
        .unwrap();
    assert_eq!((last.id, last.state), (5, NodeState::Active));
}

#[test]
fn the_repair_of_a_lost_disk_goes_on_while_the_new_node_is_silent() {
    let mut sim = running();
    sim.seen.answers.insert(0, Answer::Empty);
    sim.seen.pods.get_mut(&0).unwrap().ready = false;
    sim.kubernetes();
    let plan = sim.plan();
    assert_eq!(plan.ask, [Ask::Decommission { node_id: 1 }]);
    sim.carry_out(&plan);
    sim.seen
        .answers
        .insert(0, Answer::Silent("it starts".to_owned()));
    assert_eq!(sim.plan().ask, [Ask::Decommission { node_id: 1 }]);
}

#[test]
fn what_is_about_to_go_with_a_former_cluster_is_not_taken_up() {
    let mut sim = running();
    sim.cluster.status = None;
    let set = sim.seen.stateful_set.clone();
    let mut former = set.clone().unwrap();
    let owners = former.metadata.owner_references.as_mut().unwrap();
    owners[0].uid = "former".to_owned();
    sim.seen.stateful_set = Some(former);
    assert_eq!(sim.plan().identity, Identity::Keep);
    sim.seen.stateful_set = set;
    sim.seen.disks.get_mut(&1).unwrap().terminating = true;
    assert_eq!(sim.plan().identity, Identity::Keep);
    assert!(sim.wait_text().contains("1 disk(s)"), "{}", sim.wait_text());
    sim.seen.disks.get_mut(&1).unwrap().terminating = false;
    sim.seen.pods.get_mut(&2).unwrap().owner_uid = Some("another set".to_owned());
    assert_eq!(sim.plan().identity, Identity::Keep);
    sim.seen.pods.get_mut(&2).unwrap().owner_uid = None;
    assert_eq!(sim.plan().identity, Identity::Adopt(ID.to_owned()));
}

#[test]
fn a_cluster_that_serves_is_kept_up_though_its_spec_asks_for_what_is_not_there() {
    let mut sim = running();
    sim.cluster.spec.authorization.enabled = true;
    assert!(sim.wait_text().contains("spec.authorization.enabled"));
    sim.seen.secrets.remove(&sim.names().admin_tls());
    assert_eq!(sim.plan().secrets.len(), 1);
    // One that was never made is not made.
    sim.cluster.status.as_mut().unwrap().bootstrapped = false;
    assert!(ValidCluster::new(&sim.cluster).is_err());
}

#[test]
fn a_paused_cluster_tells_what_is_wrong() {
    let mut sim = running();
    sim.cluster.spec.paused = true;
    sim.seen.now_unix_seconds = NOW + 6 * 366 * 86_400;
    let plan = sim.plan();
    assert!(plan.is_empty());
    let texts: Vec<_> = plan.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(texts[0].contains("spec.paused"), "{texts:?}");
    assert!(
        texts.iter().any(|text| text.contains("expired")),
        "{texts:?}"
    );
}

#[test]
fn a_decommission_that_is_refused_holds_no_rollout_up() {
    let mut sim = running();
    sim.cluster.spec.replicas = 2;
    sim.cluster.spec.version = Some("0.2.0".to_owned());
    // The nodes refuse: too few are left for the replicas. So the node stays active.
    for _ in 0..2 {
        let mut plan = sim.plan();
        plan.ask.clear();
        sim.carry_out(&plan);
    }
    let plan = sim.plan();
    assert!(plan.stop.is_some(), "{plan:#?}");
    // Not both in one step.
    assert_eq!(plan.ask, []);
}

#[test]
fn somebody_elses_secret_is_not_used_and_not_overwritten() {
    let mut sim = Sim::new();
    let stranger = SecretSeen {
        stranger: Some("Cluster pg".to_owned()),
        ..SecretSeen::default()
    };
    let name = sim.names().ca();
    sim.seen.secrets.insert(name, stranger);
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
