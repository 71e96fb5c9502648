//! The planner in random worlds: pods that are slow, broken, mute or deleted by others, hosts that
//! fail, containers whose states are wrong, stale reads, failed writes, drains that take a pod
//! while the operator is about to stop another one, and an operator that crashes between any two
//! writes.
//!
//! If the operator can ask nobody, and Kubernetes says that nothing runs, nothing distinguishes a
//! lie from a cluster that has to be repaired: then one node at most is lost, and maybe a majority.
//! In all other worlds no majority is.

use std::collections::{BTreeMap, BTreeSet};

use lograft_operator_desired::ObjectKey;
use lograft_operator_desired::cluster::{
    ClusterView, NodeAnswer, Observed, ObservedPod, Plan, Proposal, ValidCluster, plan,
};
use lograft_operator_desired::fleet::Held;

use crate::converge::{NOW, Sim, running};
use crate::dice::Dice;
use crate::{build, object, settings};

/// Steps with faults, and steps after them until everything must be well.
const FAULTY_STEPS: usize = 40;
const CALM_STEPS: usize = 200;
/// Number of worlds; `LOGRAFT_WORLDS` sets another. `LOGRAFT_WORLD` is the first one, and the only
/// one without `LOGRAFT_WORLDS`.
const WORLDS: u64 = 15;

/// What a template makes of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quality {
    Good,
    /// The process does not start.
    Broken,
    /// It runs and answers, and never gets ready.
    Unready,
    /// It runs, and is neither ready nor answers.
    Mute,
}

/// What really is.
#[derive(Clone, Debug)]
struct TruePod {
    uid: String,
    hash: Option<String>,
    quality: Quality,
    created: i64,
    /// When its process answers.
    up_at: i64,
    /// When it is gone, if it is being deleted.
    gone_at: Option<i64>,
    draining_since: Option<i64>,
    was_ready: bool,
}

#[derive(Clone, Debug, Default)]
struct TrueNode {
    pod: Option<TruePod>,
    /// Its host is down until then.
    down_until: i64,
    /// Its replicas are in sync from then on, if it serves.
    in_sync_at: i64,
    /// Its containers are said not to run until then.
    lie_until: i64,
    /// The StatefulSet creates its pod then.
    create_at: i64,
}

impl TrueNode {
    fn is_up(&self, now: i64) -> bool {
        let is_up = |pod: &TruePod| {
            pod.gone_at.is_none() && pod.quality != Quality::Broken && now >= pod.up_at
        };
        now >= self.down_until && self.pod.as_ref().is_some_and(is_up)
    }

    fn answers(&self, now: i64) -> bool {
        let is_heard = |pod: &TruePod| pod.quality != Quality::Mute;
        self.is_up(now) && self.pod.as_ref().is_some_and(is_heard)
    }

    fn serves(&self, now: i64) -> bool {
        let is_good = |pod: &TruePod| pod.quality == Quality::Good;
        self.is_up(now) && self.pod.as_ref().is_some_and(is_good)
    }

    fn is_healthy(&self, now: i64) -> bool {
        self.serves(now) && now >= self.in_sync_at
    }
}

struct World {
    seed: u64,
    dice: Dice,
    sim: Sim,
    now: i64,
    nodes: Vec<TrueNode>,
    qualities: BTreeMap<String, Quality>,
    /// Other clusters go first until then.
    held_until: i64,
    /// The operator reaches no node until then.
    blind_until: i64,
    /// Pods as they were in the step before.
    former: Option<BTreeMap<i32, ObservedPod>>,
    /// The description of the step before.
    former_view: Option<ClusterView>,
    /// Whether the description of this step was stale.
    is_view_stale: bool,
    /// Nodes that served when the operator deleted their pods, and are not healthy again.
    taken: BTreeSet<usize>,
    uids: u64,
}

fn name(at: usize) -> String {
    format!("lograft-{at}")
}

impl World {
    fn new(seed: u64, sim: Sim) -> Self {
        let hash = sim.observed.hash().cloned();
        let pod = |at: usize| TruePod {
            uid: format!("first-{at}"),
            hash: hash.clone(),
            quality: Quality::Good,
            created: NOW - 3600,
            up_at: NOW - 3600,
            gone_at: None,
            draining_since: None,
            was_ready: true,
        };
        let nodes = (0..3).map(|at| TrueNode {
            pod: Some(pod(at)),
            ..TrueNode::default()
        });
        Self {
            seed,
            dice: Dice(seed),
            nodes: nodes.collect(),
            sim,
            now: NOW,
            qualities: BTreeMap::new(),
            held_until: 0,
            blind_until: 0,
            former: None,
            former_view: None,
            is_view_stale: false,
            taken: BTreeSet::new(),
            uids: 0,
        }
    }

    /// Gives the cluster another template.
    fn change_spec(&mut self, quality: Quality) {
        self.uids += 1;
        self.sim.cluster.spec.version = Some(format!("0.2.{}", self.uids));
        let generation = self.sim.cluster.metadata.generation.get_or_insert(1);
        *generation += 1;
        let hash = self.wanted_hash();
        self.qualities.insert(hash, quality);
    }

    fn fault(&mut self) {
        let at = usize::try_from(self.dice.below(3)).unwrap();
        let lasts = self.now + self.dice.seconds(120);
        match self.dice.below(13) {
            0 => self.nodes[at].down_until = lasts,
            1 => {
                let gone_at = self.now + self.dice.seconds(20);
                if let Some(pod) = &mut self.nodes[at].pod {
                    pod.gone_at.get_or_insert(gone_at);
                }
            }
            2 => self.nodes[at].lie_until = lasts,
            3 => self
                .nodes
                .iter_mut()
                .for_each(|node| node.lie_until = lasts),
            4 => self.blind_until = lasts,
            5 => self.change_spec(Quality::Good),
            6 => {
                let bad = [Quality::Broken, Quality::Unready, Quality::Mute];
                let nth = usize::try_from(self.dice.below(3)).unwrap();
                self.change_spec(bad[nth]);
            }
            7 => self.sim.cluster.spec.update.paused ^= true,
            8 => self.held_until = lasts,
            _ => {}
        }
    }

    /// The StatefulSet controller, kubelet and the nodes, as far as time does it.
    fn pass_time(&mut self, seconds: i64) {
        self.now += seconds;
        let hash = self.sim.observed.hash().cloned();
        let quality = hash
            .as_ref()
            .and_then(|hash| self.qualities.get(hash).copied());
        for at in 0..self.nodes.len() {
            let now = self.now;
            let (delay, start, sync) = (
                self.dice.seconds(6),
                self.dice.seconds(20),
                self.dice.seconds(20),
            );
            let node = &mut self.nodes[at];
            if node
                .pod
                .as_ref()
                .is_some_and(|pod| pod.gone_at.is_some_and(|gone| gone <= now))
            {
                node.pod = None;
                node.create_at = now + delay;
            }
            if node.pod.is_none() && node.create_at <= now {
                self.uids += 1;
                let up_at = now.max(node.down_until) + 1 + start;
                node.in_sync_at = up_at + sync;
                node.lie_until = 0;
                node.pod = Some(TruePod {
                    uid: format!("uid-{}", self.uids),
                    hash: hash.clone(),
                    quality: quality.unwrap_or(Quality::Good),
                    created: now,
                    up_at,
                    gone_at: None,
                    draining_since: None,
                    was_ready: false,
                });
            }
            if now < node.down_until {
                node.in_sync_at = node.in_sync_at.max(node.down_until + sync);
            }
            if node.serves(now)
                && let Some(pod) = &mut node.pod
            {
                pod.was_ready = true;
            }
            if node.is_healthy(now) {
                self.taken.remove(&at);
            }
        }
    }

    fn true_view(&self) -> Option<ClusterView> {
        let now = self.now;
        self.nodes
            .iter()
            .any(|node| node.answers(now))
            .then_some(())?;
        let mut view = self.sim.observed.view.clone().unwrap();
        let healthy: Vec<u64> = (1..=3)
            .filter(|id| self.nodes[usize::try_from(*id).unwrap() - 1].is_healthy(now))
            .collect();
        for (node, truth) in view.nodes.iter_mut().zip(&self.nodes) {
            node.reachable = truth.answers(now);
        }
        let leader = (healthy.len() > 1).then(|| healthy[0]);
        view.meta_leader = leader;
        for partition in &mut view.partitions {
            partition.leader = leader;
            for replica in &mut partition.replicas {
                replica.in_sync = healthy.contains(&replica.node);
            }
        }
        Some(view)
    }

    fn seen_pods(&self) -> BTreeMap<i32, ObservedPod> {
        let now = self.now;
        let seen = |(at, node): (usize, &TrueNode)| {
            let pod = node.pod.as_ref()?;
            let is_lie = now < node.lie_until;
            let is_running = pod.quality != Quality::Broken && !is_lie;
            let is_ready = node.serves(now) && !is_lie;
            let seen = ObservedPod {
                uid: pod.uid.clone(),
                hash: pod.hash.clone(),
                ready: is_ready,
                never_ready_since: (!pod.was_ready).then_some(pod.created),
                running: is_running,
                address: Some("10.0.0.1".to_owned()),
                terminating: pod.gone_at.is_some(),
                trouble: (!is_running).then(|| "CrashLoopBackOff".to_owned()),
                draining_since: pod.draining_since,
                ..ObservedPod::default()
            };
            Some((i32::try_from(at).unwrap(), seen))
        };
        self.nodes.iter().enumerate().filter_map(seen).collect()
    }

    fn observe(&mut self, with_faults: bool) -> Observed {
        let (pods, view) = (self.seen_pods(), self.true_view());
        let mut observed = self.sim.observed.clone();
        observed.now_unix_seconds = self.now;
        observed.pods.clone_from(&pods);
        observed.view.clone_from(&view);
        let stale = if with_faults { self.dice.below(10) } else { 9 };
        self.is_view_stale = stale == 1;
        match stale {
            0 => observed.pods = self.former.clone().unwrap_or(pods.clone()),
            1 => observed.view = self.former_view.clone().or(view.clone()),
            _ => {}
        }
        let is_blind = self.now < self.blind_until;
        for (at, node) in self.nodes.iter().enumerate() {
            let at = i32::try_from(at).unwrap();
            if is_blind || !node.answers(self.now) {
                let silent = NodeAnswer::Silent("connection refused".to_owned());
                observed.answers.insert(at, silent);
            }
        }
        if is_blind {
            observed.view = None;
            observed.pods.clone_from(&pods);
        }
        (self.former, self.former_view) = (Some(pods), view);
        observed
    }

    /// Carries a plan out, up to a random write if the operator crashes.
    fn carry_out(&mut self, observed: &Observed, plan: &Plan, with_faults: bool) {
        let crashes = with_faults && self.dice.one_in(5);
        let mut left = if crashes {
            self.dice.below(4)
        } else {
            u64::MAX
        };
        let mut may_write = || {
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        for object in &plan.apply {
            if !may_write() || (with_faults && self.dice.one_in(8)) {
                continue;
            }
            let key = ObjectKey::of(object);
            if key.kind == "StatefulSet" {
                self.check_turn(object);
                self.sim.observed.stateful_set = serde_json::from_value(object.clone()).ok();
            }
            let mut live = object.clone();
            live["metadata"]["uid"] = "uid".into();
            self.sim.observed.live.insert(key, live);
        }
        if may_write() {
            let status = self.sim.cluster.status.as_mut().unwrap();
            status.rollout.clone_from(&plan.rollout);
        }
        for drain in &plan.drain {
            let at = self.ordinal(&drain.key.name);
            let now = self.now;
            if may_write()
                && let Some(pod) = &mut self.nodes[at].pod
            {
                pod.draining_since = Some(now);
            }
        }
        if let Some(stop) = plan.stop.as_ref().filter(|_| may_write()) {
            // The node refuses at times, and checks the majorities itself: that is what stands
            // between a stale description and a lost majority.
            let at = self.ordinal(&stop.pod.key.name);
            if with_faults && self.dice.one_in(3) {
                self.evict_another(at);
            }
            let is_refused = self.is_view_stale && self.costs_majority(at);
            // The operator looks again: its last observation may be many seconds old.
            let stopping = i32::try_from(at).unwrap();
            let is_lost = observed.lost_since(&self.seen_pods(), stopping).is_some();
            if !is_refused && !is_lost && (stop.is_due || !self.dice.one_in(3)) {
                self.delete(&stop.pod.key.name, &stop.pod.uid);
            }
        }
        for delete in &plan.delete {
            if delete.object.key.kind == "Pod" && may_write() {
                self.delete(&delete.object.key.name, &delete.object.uid);
            }
        }
    }

    /// A changed template is not applied while others go first.
    fn check_turn(&self, set: &serde_json::Value) {
        let annotations = &set["spec"]["template"]["metadata"]["annotations"];
        let hash = annotations["lograft.io/rollout-hash"].as_str();
        let live = self.sim.observed.hash().map(String::as_str);
        // One that had its turn before, and whose write failed.
        let status = self.sim.cluster.status.as_ref().unwrap();
        let granted = status.rollout.as_ref();
        let granted = granted.map(|rollout| rollout.template_hash.as_str());
        let is_held = self.now < self.held_until;
        assert!(
            !is_held || hash == live || hash == granted,
            "world {}: a template that waits is applied",
            self.seed
        );
    }

    fn ordinal(&self, pod: &str) -> usize {
        let found = (0..self.nodes.len()).find(|at| name(*at) == pod);
        found.unwrap_or_else(|| panic!("world {}: {pod}", self.seed))
    }

    /// Whether the groups have a majority, and would have none without this node.
    fn costs_majority(&self, at: usize) -> bool {
        let healthy = self.nodes.iter().filter(|node| node.is_healthy(self.now));
        self.nodes[at].is_healthy(self.now) && healthy.count() == 2
    }

    /// A drain or a host takes another pod than `at`.
    fn evict_another(&mut self, at: usize) {
        let other = usize::try_from(self.dice.below(3)).unwrap();
        let gone_at = self.now + self.dice.seconds(20);
        if let Some(pod) = self.nodes[other].pod.as_mut().filter(|_| other != at) {
            pod.gone_at.get_or_insert(gone_at);
        }
    }

    /// Deletes a pod by the operator's hand.
    fn delete(&mut self, pod: &str, uid: &str) {
        let (at, now, seed) = (self.ordinal(pod), self.now, self.seed);
        let node = &self.nodes[at];
        let is_same = |pod: &TruePod| pod.uid == uid && pod.gone_at.is_none();
        if !node.pod.as_ref().is_some_and(is_same) {
            return;
        }
        if node.serves(now) {
            let is_any_lie = self.nodes.iter().any(|node| now < node.lie_until);
            let is_undecidable = is_any_lie && now < self.blind_until;
            assert!(
                is_undecidable || !self.costs_majority(at),
                "world {seed}: {pod} costs the majority"
            );
            // Nobody can say whether the replicas of a pod that is ready are in sync, nor whether the
            // host of one that is not ready has failed since it was.
            let is_away = |other: &&usize| {
                let node = &self.nodes[**other];
                let is_unknown = node.serves(now) || now < node.down_until;
                **other != at && !(is_undecidable && is_unknown)
            };
            let others: Vec<_> = self.taken.iter().filter(is_away).collect();
            assert!(
                others.is_empty(),
                "world {seed}: {pod} goes while {others:?} are away"
            );
            self.taken.insert(at);
        }
        let gone_at = now + self.dice.seconds(20);
        self.nodes[at].pod.as_mut().unwrap().gone_at = Some(gone_at);
    }

    fn step(&mut self, with_faults: bool) {
        let observed = self.observe(with_faults);
        let cluster = ValidCluster::new(&self.sim.cluster).unwrap();
        let held = (self.now < self.held_until).then_some(Held::FleetPaused);
        let proposal = Proposal::new(&cluster, &observed, &settings()).unwrap();
        let plan = plan(proposal, held.as_ref()).unwrap();
        self.carry_out(&observed, &plan, with_faults);
    }

    /// Rollout hash of the template that the spec asks for.
    fn wanted_hash(&self) -> String {
        let set = object(
            &build(&self.sim.cluster, &self.sim.observed),
            "StatefulSet",
            "lograft",
        );
        let annotations = &set["spec"]["template"]["metadata"]["annotations"];
        annotations["lograft.io/rollout-hash"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn is_settled(&self) -> bool {
        let are_healthy = self.nodes.iter().all(|node| node.is_healthy(self.now));
        let wanted = if are_healthy {
            self.wanted_hash()
        } else {
            return false;
        };
        self.nodes.iter().all(|node| {
            let is_new = |pod: &TruePod| pod.hash.as_deref() == Some(&wanted);
            node.pod.as_ref().is_some_and(is_new)
        })
    }

    fn run(mut self) {
        for _ in 0..FAULTY_STEPS {
            self.fault();
            self.step(true);
            let seconds = 1 + self.dice.seconds(30);
            self.pass_time(seconds);
        }
        self.sim.cluster.spec.update.paused = false;
        self.change_spec(Quality::Good);
        (self.blind_until, self.held_until) = (0, 0);
        for node in &mut self.nodes {
            (node.lie_until, node.down_until) = (0, 0);
        }
        for _ in 0..CALM_STEPS {
            self.step(false);
            self.pass_time(10);
            if self.is_settled() {
                return;
            }
        }
        panic!("world {} does not settle: {:#?}", self.seed, self.nodes);
    }
}

#[test]
fn no_world_loses_two_nodes_or_a_majority_by_the_operators_hand_and_each_settles() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the number of worlds of a longer run"
    )]
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = number("LOGRAFT_WORLD");
    let default = if first.is_some() { 1 } else { WORLDS };
    let count = number("LOGRAFT_WORLDS").unwrap_or(default);
    let first = first.unwrap_or(0);
    let sim = running();
    for world in first..first + count {
        World::new(world, sim.clone()).run();
    }
}
