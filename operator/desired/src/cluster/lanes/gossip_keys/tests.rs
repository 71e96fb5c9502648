use lograft_crds::names::ANNOTATION_ROTATE_GOSSIP_KEY;
use lograft_crds::{LogCluster, LogClusterSpec, Period};

use super::*;
use crate::cluster::view::{ClusterView, ObservedNode};
use crate::cluster::wait::Intervention;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn raw() -> LogCluster {
    let mut raw = LogCluster::new("events", LogClusterSpec::default());
    raw.spec.discovery.gossip.key_validity = Period::from("24h");
    raw.metadata.namespace = Some("prod".to_owned());
    raw.metadata.uid = Some("u".to_owned());
    raw
}

fn cluster() -> ValidCluster {
    ValidCluster::new(&raw()).unwrap()
}

/// The Secret, the nodes, and what each has loaded.
struct Sim {
    cluster: ValidCluster,
    observed: Observed,
    nodes: Vec<ObservedNode>,
    keys_made: usize,
    writes: usize,
}

impl Sim {
    fn new(cluster: ValidCluster) -> Self {
        let mut sim = Self {
            cluster,
            observed: Observed::default(),
            nodes: (0..3)
                .map(|at| ObservedNode::member(at + 1, format!("events-{at}")))
                .collect(),
            keys_made: 0,
            writes: 0,
        };
        sim.observed.now_unix_seconds = NOW;
        sim.step();
        (0..3).for_each(|at| sim.load(at));
        sim
    }

    fn load(&mut self, at: usize) {
        let keys = self.observed.gossip_keys.as_ref().unwrap();
        self.nodes[at].gossip_key_ids.clone_from(&keys.ids);
    }

    fn ids(&self) -> &[String] {
        &self.observed.gossip_keys.as_ref().unwrap().ids
    }

    /// Plans and carries out. A node that is not reachable reports nothing.
    fn step(&mut self) -> TimedLane {
        let mut nodes = self.nodes.clone();
        for node in nodes.iter_mut().filter(|node| !node.reachable) {
            node.gossip_key_ids.clear();
        }
        self.observed.view = (self.writes > 0).then(|| ClusterView {
            nodes,
            ..ClusterView::default()
        });
        let lane = plan(&self.cluster, &self.observed);
        for action in &lane.lane.actions {
            let Action::WriteGossipKeys(written) = action else {
                panic!("{action:?}");
            };
            let old = self.observed.gossip_keys.take().unwrap_or_default();
            let mut ids = Vec::new();
            for key in &written.keys {
                ids.push(match key {
                    GossipKeySource::Kept(at) => old.ids[*at].clone(),
                    GossipKeySource::New => {
                        self.keys_made += 1;
                        format!("key-{}", self.keys_made)
                    }
                });
            }
            let state = GossipKeyState::parse(&written.state.to_string());
            self.observed.gossip_keys = Some(ObservedGossipKeys { ids, state });
            self.writes += 1;
        }
        lane
    }

    fn assert_all_are_heard(&self) {
        for sender in &self.nodes {
            for receiver in &self.nodes {
                let key = &sender.gossip_key_ids[0];
                assert!(
                    receiver.gossip_key_ids.contains(key),
                    "{} does not hear {}",
                    receiver.name,
                    sender.name
                );
            }
        }
    }
}

/// Nodes load at random times, and report it or not: no node ever sends with a key that another one
/// does not accept. Nodes that do not answer load within the settle time, as kubelet has it.
#[test]
fn every_node_is_heard_by_all_during_replacements() {
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut sim = Sim::new(cluster());
        let mut stale_since = [NOW; 3];
        for _ in 0..2000 {
            let seconds = i64::try_from(1 + below(60)).unwrap();
            sim.observed.now_unix_seconds += seconds;
            let now = sim.observed.now_unix_seconds;
            for (at, since) in stale_since.iter_mut().enumerate() {
                if below(40) == 0 {
                    sim.nodes[at].reachable ^= true;
                }
                let is_stale = sim.nodes[at].gossip_key_ids != sim.ids();
                let must_load = !sim.nodes[at].reachable && now - *since >= 60;
                if is_stale && (must_load || below(8) == 0) {
                    sim.load(at);
                }
                if sim.nodes[at].gossip_key_ids == sim.ids() {
                    *since = now;
                }
            }
            sim.assert_all_are_heard();
            let writes = sim.writes;
            sim.step();
            if sim.writes > writes {
                stale_since = [now; 3];
                if below(50) == 0 {
                    sim.observed.now_unix_seconds += DAY;
                }
            }
            if below(100) == 0 && sim.ids().len() == 1 {
                sim.observed.now_unix_seconds += DAY;
                (0..3).for_each(|at| sim.load(at));
            }
        }
        assert!(sim.keys_made > 3, "seed {seed}: {} keys", sim.keys_made);
    }
}

#[test]
fn a_replacement_has_three_steps_and_ends() {
    let mut sim = Sim::new(cluster());
    assert_eq!(sim.ids(), ["key-1"]);
    assert_eq!(sim.step().next_check, Some(NOW + DAY));
    sim.observed.now_unix_seconds += DAY;
    let expected: [&[&str]; 3] = [&["key-1", "key-2"], &["key-2", "key-1"], &["key-2"]];
    for ids in expected {
        sim.step();
        assert_eq!(sim.ids(), ids);
        if ids.len() == 1 {
            break;
        }
        let settled = sim.observed.now_unix_seconds + GOSSIP_KEY_SETTLE_SECONDS;
        assert_eq!(sim.step().next_check, Some(settled));
        sim.observed.now_unix_seconds = settled;
        // One node has not loaded it: the step waits, and says so.
        (0..2).for_each(|at| sim.load(at));
        assert_eq!(sim.step().lane.waits, [Wait::GossipKeysLoaded]);
        sim.load(2);
    }
    let due = sim.observed.now_unix_seconds + DAY;
    assert_eq!(sim.step().next_check, Some(due));
}

#[test]
fn a_request_replaces_the_key_once() {
    let mut raw = raw();
    let annotations = [(ANNOTATION_ROTATE_GOSSIP_KEY.to_owned(), "now".to_owned())];
    raw.metadata.annotations = Some(annotations.into());
    let mut sim = Sim::new(cluster());
    sim.cluster = ValidCluster::new(&raw).unwrap();
    for _ in 0..20 {
        sim.step();
        (0..3).for_each(|at| sim.load(at));
        sim.observed.now_unix_seconds += GOSSIP_KEY_SETTLE_SECONDS;
    }
    assert_eq!(sim.ids(), ["key-2"]);
    assert_eq!(sim.writes, 4);
}

/// The first one is meant: nodes send with it.
#[test]
fn of_two_keys_that_somebody_else_wrote_the_first_one_stays() {
    let mut sim = Sim::new(cluster());
    sim.observed.gossip_keys = Some(ObservedGossipKeys {
        ids: vec!["mine".to_owned(), "former".to_owned()],
        state: GossipKeyState::default(),
    });
    (0..3).for_each(|at| sim.load(at));
    sim.step();
    assert_eq!(sim.ids(), ["mine"]);
}

#[test]
fn unusable_keys_are_made_again_those_of_others_are_not_and_switched_off_there_are_none() {
    let mut sim = Sim::new(cluster());
    sim.observed.gossip_keys = None;
    let secret = "events-gossip-keys".to_owned();
    let owner = "somebody else".to_owned();
    sim.observed.foreign_secrets = [(secret.clone(), owner.clone())].into();
    let foreign = Intervention::ForeignSecret { secret, owner };
    let lane = sim.step().lane;
    assert_eq!((lane.waits, lane.actions.len()), (vec![foreign.into()], 0));
    sim.observed.foreign_secrets.clear();
    sim.step();
    assert_eq!(sim.ids(), ["key-2"]);
    sim.observed.gossip_keys = None;
    sim.cluster.spec.discovery.gossip.enabled = false;
    assert_eq!(sim.step().lane, Lane::default());
}
