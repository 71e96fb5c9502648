//! Clusters of nodes whose datagrams go through a simulated network.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lograft_core::limits::{GOSSIP_DATAGRAM_MAX_BYTES, GOSSIP_FORGET_MAX, GOSSIP_INTERVAL};
use lograft_core::random::SplitMix64;
use lograft_core::{ClusterId, NodeId};

use super::drops::DropReason;
use super::seal::tests::keys;
use super::{Datagram, GossipNode, GossipSeed, Now};
use crate::facts::NodeFacts;
use crate::gossip_member::GossipMember;

const DELAY: Duration = Duration::from_millis(2);

struct Simulated {
    node: GossipNode,
    address: SocketAddr,
    next_tick: Duration,
}

/// Arrival, order of sending, sender, receiver, bytes.
type OnTheWire = (Duration, u64, SocketAddr, SocketAddr, Vec<u8>);

struct World {
    now: Duration,
    random: SplitMix64,
    nodes: BTreeMap<u64, Simulated>,
    /// Datagrams under way: arrival, order of sending, sender, receiver.
    wire: BinaryHeap<Reverse<OnTheWire>>,
    sent: u64,
    loss_percent: u64,
    /// Nodes that are cut off from all others.
    cut: BTreeSet<SocketAddr>,
    /// Every datagram, for replays.
    recorded: Vec<Vec<u8>>,
}

fn address(number: u64, port: u16) -> SocketAddr {
    let number = u16::try_from(number).unwrap();
    SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, number], port))
}

fn facts(number: u64, incarnation: u64) -> NodeFacts {
    NodeFacts {
        node: Some(NodeId(number)),
        incarnation,
        peer_address: format!("lograft-main-{number}.lograft-main.prod.svc:9401").into(),
        client_address: format!("lograft-main-{number}.lograft-main.prod.svc:9400").into(),
        zone: "eu-central-1a".into(),
        version: "0.3.0".into(),
        is_ready: true,
        disk_total_bytes: 1 << 40,
        ..NodeFacts::default()
    }
}

fn name(number: u64) -> String {
    format!("lograft-main-{number}")
}

impl World {
    /// Nodes 1 to `count`, each with the address of node 1 as its only seed.
    fn new(count: u64, seed: u64) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1),
            random: SplitMix64::new(seed),
            nodes: BTreeMap::new(),
            wire: BinaryHeap::new(),
            sent: 0,
            loss_percent: 0,
            cut: BTreeSet::new(),
            recorded: Vec::new(),
        };
        for number in 1..=count {
            world.start(number, 1, address(number, 9404));
        }
        world
    }

    fn start(&mut self, number: u64, incarnation: u64, at: SocketAddr) {
        let seed = GossipSeed {
            session: self.random.next(),
            choices: self.random.next(),
        };
        let facts = facts(number, incarnation);
        let mut node = GossipNode::new(name(number).into(), facts, keys(&[1]), seed).unwrap();
        node.set_seeds(vec![address(1, 9404)]);
        node.set_cluster(Some(ClusterId::from_bytes([1; 16])));
        // Not all in the same instant.
        let phase = Duration::from_millis(self.random.next() % 500);
        let simulated = Simulated {
            node,
            address: at,
            next_tick: self.now + phase,
        };
        self.nodes.insert(number, simulated);
    }

    fn wall(&self) -> Now {
        Now {
            elapsed: self.now,
            wall_ms: 1_800_000_000_000 + u64::try_from(self.now.as_millis()).unwrap(),
        }
    }

    fn send(&mut self, from: SocketAddr, datagrams: Vec<Datagram>) {
        for (to, bytes) in datagrams {
            assert!(bytes.len() <= GOSSIP_DATAGRAM_MAX_BYTES);
            self.sent += 1;
            if self.recorded.len() < 1000 {
                self.recorded.push(bytes.clone());
            }
            let is_cut = self.cut.contains(&from) != self.cut.contains(&to);
            if is_cut || self.random.next() % 100 < self.loss_percent {
                continue;
            }
            let arrival = self.now + DELAY;
            self.wire
                .push(Reverse((arrival, self.sent, from, to, bytes)));
        }
    }

    /// Runs until `end` or until `done` holds, which is checked every 10 ms.
    fn run(&mut self, length: Duration, mut done: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let begun = self.now;
        while self.now < begun + length {
            if done(self) {
                return Some(self.now.saturating_sub(begun));
            }
            self.now += Duration::from_millis(10);
            self.step();
        }
        None
    }

    fn step(&mut self) {
        let now = self.wall();
        while let Some(Reverse((arrival, ..))) = self.wire.peek() {
            if *arrival > self.now {
                break;
            }
            let Some(Reverse((_, _, from, to, mut bytes))) = self.wire.pop() else {
                break;
            };
            let receiver = self.nodes.values_mut().find(|node| node.address == to);
            let Some(receiver) = receiver else {
                continue;
            };
            let out = receiver.node.receive(from, &mut bytes, now);
            self.send(to, out);
        }
        for number in self.nodes.keys().copied().collect::<Vec<_>>() {
            let node = self.nodes.get_mut(&number).unwrap();
            if node.next_tick <= self.now {
                node.next_tick += GOSSIP_INTERVAL;
                let (from, out) = (node.address, node.node.tick(now));
                self.send(from, out);
            }
        }
    }

    fn members(&self, of: u64) -> Vec<GossipMember> {
        self.nodes[&of].node.members(self.wall())
    }

    fn sees(&self, of: u64, other: u64) -> Option<GossipMember> {
        let mut members = self.members(of).into_iter();
        members.find(|member| *member.name == *name(other))
    }

    /// Whether every node sees exactly these nodes alive.
    fn all_see(&self, alive: usize) -> bool {
        let seen = |of| {
            self.members(of)
                .iter()
                .filter(|member| member.is_alive)
                .count()
        };
        self.nodes.keys().all(|of| seen(*of) == alive)
    }

    fn settle(&mut self) {
        let count = self.nodes.len();
        let settled = self.run(Duration::from_mins(2), |world| world.all_see(count));
        assert!(settled.is_some(), "{count} nodes never found each other");
    }
}

const SECONDS_10: Duration = Duration::from_secs(10);

#[test]
fn nodes_find_each_other_from_one_seed_and_all_facts_arrive() {
    for (count, longest) in [(1, 1), (2, 1), (3, 2), (30, 5), (100, 10)] {
        let mut world = World::new(count, 7);
        let size = usize::try_from(count).unwrap();
        let found = world.run(Duration::from_secs(longest), |world| world.all_see(size));
        assert!(found.is_some(), "{count} nodes within {longest} s");
        let member = world.sees(1, count).unwrap();
        assert_eq!(member.facts.node, Some(NodeId(count)));
        assert_eq!(member.facts.peer_address, facts(count, 1).peer_address);
        assert!(count == 1 || member.gossip_address == Some(address(count, 9404)));
    }
}

#[test]
fn a_node_that_comes_back_at_another_address_is_known_everywhere_within_2_s() {
    for seed in 0..10 {
        let mut world = World::new(30, seed);
        world.settle();
        world.loss_percent = 5;
        world.nodes.remove(&7);
        world.run(Duration::from_secs(3), |_| false);
        let moved = address(700, 1234);
        world.start(7, 2, moved);
        let is_known = |world: &World| {
            (1..=30).filter(|of| *of != 7).all(|of| {
                let seen = world.sees(of, 7).unwrap();
                seen.generation == 2 && seen.gossip_address == Some(moved)
            })
        };
        let known = world.run(Duration::from_secs(2), is_known);
        assert!(known.is_some(), "seed {seed}");
    }
}

#[test]
fn a_node_with_a_wiped_disk_replaces_its_former_self() {
    let mut world = World::new(3, 1);
    world.start(2, 40, address(2, 9404));
    world.settle();
    world.start(2, 1, address(222, 9404));
    let moved = |world: &World| {
        [1, 3].iter().all(|of| {
            let seen = world.sees(*of, 2).unwrap();
            seen.facts.incarnation == 1 && seen.gossip_address == Some(address(222, 9404))
        })
    };
    assert!(world.run(Duration::from_secs(3), moved).is_some());
    assert!(world.sees(1, 2).unwrap().generation > 40);
}

#[test]
fn a_silent_node_becomes_unreachable_and_is_forgotten_by_all_for_good() {
    let mut world = World::new(10, 3);
    world.settle();
    world.nodes.remove(&5);
    let noticed = world
        .run(Duration::from_secs(20), |world| world.all_see(9))
        .unwrap();
    assert!(noticed > Duration::from_secs(5), "{noticed:?}");
    // Nodes that restart meanwhile learn of it again from the others: with its age.
    for restarted in [2, 3, 4] {
        world.run(GOSSIP_FORGET_MAX / 4, |_| false);
        world.start(restarted, 2, address(restarted, 9404));
    }
    world.run(GOSSIP_FORGET_MAX / 4 + Duration::from_mins(1), |_| false);
    assert!((1..=10).all(|of| of == 5 || world.sees(of, 5).is_none()));
    world.run(Duration::from_mins(5), |_| false);
    assert!(
        (1..=10).all(|of| of == 5 || world.sees(of, 5).is_none()),
        "resurrected"
    );
}

#[test]
fn halves_of_a_partition_find_each_other_within_10_s_of_healing() {
    let mut world = World::new(10, 4);
    world.settle();
    world.cut = (1..=5).map(|number| address(number, 9404)).collect();
    world.run(Duration::from_mins(5), |_| false);
    assert!(world.all_see(5));
    assert_eq!(world.members(1).len(), 10, "nobody is removed");
    world.cut.clear();
    assert!(world.run(SECONDS_10, |world| world.all_see(10)).is_some());
}

#[test]
fn a_key_rotation_under_loss_never_loses_a_member() {
    let mut world = World::new(10, 5);
    world.settle();
    world.loss_percent = 10;
    let mut old = 1;
    for new in 2..14 {
        for step in [vec![old, new], vec![new, old], vec![new]] {
            for number in 1..=10 {
                // Not all nodes read the file at the same time.
                world.run(Duration::from_millis(100), |world| {
                    assert!(world.all_see(10));
                    false
                });
                let node = &mut world.nodes.get_mut(&number).unwrap().node;
                node.set_keys(keys(&step));
            }
            world.run(Duration::from_millis(2300), |world| {
                assert!(world.all_see(10));
                false
            });
        }
        old = new;
    }
    let unknown = |world: &World| {
        let nodes = world.nodes.values();
        nodes
            .map(|node| node.node.counters().dropped(DropReason::UnknownKey))
            .sum::<u64>()
    };
    assert_eq!(unknown(&world), 0, "each step keeps a common key");
}

#[test]
fn replays_and_foreign_datagrams_are_counted_and_change_nothing() {
    let mut world = World::new(3, 6);
    world.settle();
    let recorded: Vec<Vec<u8>> = world.recorded.clone();
    let stranger = address(99, 1);
    let now = world.wall();
    let node = &mut world.nodes.get_mut(&1).unwrap().node;
    let before = node.members(now);
    for bytes in &recorded {
        let out = node.receive(stranger, &mut bytes.clone(), now);
        assert!(out.is_empty() || node.counters().dropped(DropReason::Replayed) > 0);
    }
    let replayed = node.counters().dropped(DropReason::Replayed);
    assert!(replayed > 0);
    let late = Now {
        wall_ms: now.wall_ms + 61_000,
        elapsed: now.elapsed + Duration::from_secs(61),
    };
    for bytes in &recorded {
        assert!(node.receive(stranger, &mut bytes.clone(), late).is_empty());
    }
    assert!(node.counters().dropped(DropReason::TooOld) > 0);
    let names = |members: &[GossipMember]| -> Vec<_> {
        members
            .iter()
            .map(|m| (Arc::clone(&m.name), m.generation))
            .collect()
    };
    assert_eq!(names(&node.members(now)), names(&before));
    let mut other = GossipNode::new(
        "lograft-main-2".into(),
        facts(2, 900),
        keys(&[1]),
        GossipSeed {
            session: 77,
            choices: 1,
        },
    )
    .unwrap();
    other.set_cluster(Some(ClusterId::from_bytes([2; 16])));
    other.set_seeds(vec![address(1, 9404)]);
    let (_, mut syn) = other.tick(now).remove(0);
    assert!(node.receive(stranger, &mut syn, now).is_empty());
    assert_eq!(node.counters().dropped(DropReason::ForeignCluster), 1);
}

#[test]
fn two_processes_of_one_name_do_not_make_the_others_gossip_more() {
    let rate = |duplicate: bool| {
        let mut world = World::new(5, 8);
        if duplicate {
            world.start(6, 1, address(6, 9404));
            let copy = world.nodes.remove(&6).unwrap();
            world.start(6, 1, address(66, 9404));
            world.nodes.insert(66, copy);
        }
        world.run(Duration::from_mins(1), |_| false);
        let nodes = (1..=5).map(|number| world.nodes[&number].node.counters().sent_count);
        nodes.sum::<u64>()
    };
    let (alone, doubled) = (rate(false), rate(true));
    assert!(
        doubled < 5 * alone,
        "{doubled} datagrams instead of {alone}"
    );
}

/// In a large cluster the newer heartbeats never fit into one answer: that is no reason to ask again.
#[test]
fn heartbeats_alone_do_not_prolong_an_exchange() {
    let mut world = World::new(150, 12);
    world.settle();
    world.run(SECONDS_10, |_| false);
    let sent = |world: &World| world.nodes[&1].node.counters().sent_count;
    let before = sent(&world);
    world.run(SECONDS_10, |_| false);
    let per_round = (sent(&world) - before) / 20;
    // Two exchanges of its own, as many of others, and rare changes.
    assert!(per_round <= 8, "{per_round} datagrams per round");
}

/// The cost of an idle cluster. Run it with `--nocapture` to see the numbers.
#[test]
fn the_cost_of_an_idle_cluster_is_bounded() {
    for (count, bytes_max) in [(3, 6_000), (30, 16_000), (100, 16_000)] {
        let mut world = World::new(count, 9);
        world.settle();
        world.run(SECONDS_10, |_| false);
        let sum = |world: &World| {
            let nodes = world.nodes.values();
            nodes
                .map(|node| node.node.counters().sent_bytes)
                .sum::<u64>()
        };
        let (before, begun) = (sum(&world), Instant::now());
        world.run(SECONDS_10, |_| false);
        let per_node = (sum(&world) - before) / 10 / count;
        let cpu = begun.elapsed() / 10 / u32::try_from(count).unwrap();
        println!("{count} nodes: {per_node} bytes/s and {cpu:?} of CPU per second and node");
        assert!(
            per_node <= bytes_max,
            "{count} nodes: {per_node} bytes/s per node"
        );
        assert!(world.all_see(usize::try_from(count).unwrap()));
    }
}

#[test]
fn a_hundred_thousand_garbage_datagrams_leave_no_trace_but_counters() {
    let mut world = World::new(3, 10);
    world.settle();
    let now = world.wall();
    let mut random = SplitMix64::new(11);
    let authentic = world.recorded[0].clone();
    let node = &mut world.nodes.get_mut(&1).unwrap().node;
    let before = node.members(now).len();
    for at in 0..100_000_u64 {
        let source = address(random.next() % 60_000, 1);
        let mut bytes: Vec<u8> = (0..random.next() % 300)
            .map(|_| random.next().to_le_bytes()[0])
            .collect();
        if at % 2 == 0 {
            // With the header of an authentic one: decryption has to find it out.
            bytes.extend([0; 60]);
            bytes[..19].copy_from_slice(&authentic[..19]);
        }
        assert!(node.receive(source, &mut bytes, now).is_empty());
    }
    let counters = node.counters();
    assert!(counters.dropped(DropReason::Garbage) >= 40_000);
    assert!(
        counters.dropped(DropReason::Forged) <= 500,
        "limited before decryption"
    );
    assert!(counters.dropped(DropReason::RateLimited) >= 40_000);
    assert_eq!(node.members(now).len(), before);
    world.run(SECONDS_10, |_| false);
    assert!(world.all_see(3));
}
