//! Nodes that find each other by gossip, without any seed for the join.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lograft_discovery::gossip::key_file_text;
use lograft_node::config::RaftSettings;
use lograft_proto::admin::v1::{DiscoveredMember, GossipedNode};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Names, eventually};
use crate::process::get;

impl Cluster {
    /// A node as another one sees it by gossip.
    async fn gossiped(&self, by: usize, name: &str) -> Option<GossipedNode> {
        let found = self.describe(by).await.discovered.into_iter();
        let mut named = found.filter(|member| member.name == name);
        named.next()?.gossip
    }

    /// The other nodes that a node sees alive.
    async fn alive(&self, by: usize) -> usize {
        let found = self.describe(by).await.discovered;
        let is_alive = |member: &&DiscoveredMember| {
            member
                .gossip
                .as_ref()
                .is_some_and(|gossip| gossip.reachable)
        };
        found.iter().filter(is_alive).count()
    }

    async fn all_alive(&self, nodes: usize) {
        for by in 0..nodes {
            eventually("all nodes to see each other", async || {
                (self.alive(by).await == nodes - 1).then_some(())
            })
            .await;
        }
    }
}

async fn three() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.gossip = true;
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    for _ in 1..3 {
        cluster.add().await;
    }
    for at in 0..3 {
        cluster.ready(at).await;
    }
    cluster.all_alive(3).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_without_seeds_form_a_cluster_by_gossip_from_one_address() {
    let mut cluster = Cluster::new();
    cluster.gossip = true;
    let first = cluster.add_process(RaftSettings::default(), &[]).await;
    cluster.bootstrap(0).await.unwrap();
    let mut others = Vec::new();
    for _ in 1..3 {
        others.push(cluster.add_process(RaftSettings::default(), &[]).await);
    }
    cluster.healthy(0, 3).await;
    cluster.all_alive(3).await;
    let seen = cluster.gossiped(1, "n2").await.unwrap();
    assert_eq!(seen.node_id, Some(cluster.id_of(2).await));
    assert_eq!(seen.incarnation, 1);
    assert_eq!(seen.version, env!("CARGO_PKG_VERSION"));
    assert!(seen.ready && seen.disk_total_bytes > 0);
    let described = cluster.describe(1).await;
    let sightings = &described.discovered[0].sightings;
    assert_eq!(sightings[0].source, "gossip");
    drop((first, others));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_on_other_ports_is_reached_within_2_s() {
    let mut cluster = three().await;
    cluster.create_topic(0, "t", 1, 3).await;
    let node = cluster.id_of(2).await;
    cluster.stop(2).await;
    let before = cluster.addresses(2);
    cluster.restart_elsewhere(2).await;
    assert_ne!(cluster.addresses(2).peer, before.peer);
    let begun = Instant::now();
    eventually("the node to be reached", async || {
        let nodes = cluster.describe(0).await.nodes;
        let reached = |seen: &&_| {
            let seen: &lograft_proto::admin::v1::NodeDescription = seen;
            seen.node_id == node && seen.reachable
        };
        nodes.iter().find(reached).map(drop)
    })
    .await;
    let took = begun.elapsed();
    println!("reached after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(cluster.gossiped(0, "n2").await.unwrap().incarnation > 1);
}

/// The metadata have none of the addresses, and no quorum can change them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_whose_addresses_have_all_changed_forms_again_by_gossip() {
    let mut cluster = three().await;
    cluster.create_topic(0, "t", 1, 3).await;
    cluster.produce(0, 0, "before").await;
    for at in 0..3 {
        cluster.stop(at).await;
    }
    // The first keeps its gossip address alone, which is the seed of the others.
    cluster.restart(0).await;
    cluster.restart_elsewhere(1).await;
    cluster.restart_elsewhere(2).await;
    cluster.healthy(0, 3).await;
    cluster.produce(1, 0, "after").await;
    let read = cluster.read_all(2, 0).await;
    assert_eq!(read, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_gossip_and_with_it_are_one_cluster() {
    let mut cluster = Cluster::new();
    cluster.gossip = true;
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.gossip = false;
    cluster.add().await;
    cluster.gossip = true;
    cluster.add().await;
    cluster.healthy(1, 3).await;
    assert!(cluster.gossiped(0, "n1").await.is_none());
    assert!(cluster.gossiped(0, "n2").await.is_some());
    assert_eq!(cluster.alive(1).await, 0);
    cluster.create_topic(1, "t", 1, 3).await;
    cluster.produce(2, 0, "x").await;
    assert_eq!(cluster.read_all(1, 0).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_rotation_in_three_steps_loses_no_member() {
    let cluster = three().await;
    let key = |key: u8| key_file_text(&[key; 32]);
    let steps = [[key(7), key(8)].concat(), [key(8), key(7)].concat(), key(8)];
    for text in steps {
        let lines = text.lines().count();
        std::fs::write(cluster.gossip_keys(), text).unwrap();
        let mut loaded = None;
        eventually("all nodes to load the keys", async || {
            assert_eq!(cluster.alive(0).await, 2, "a member was lost");
            let nodes = cluster.describe(1).await.nodes;
            let first = nodes[0].gossip_key_ids.clone();
            let is_same = nodes.iter().all(|node| node.gossip_key_ids == first);
            loaded = (is_same && first.len() == lines).then_some(first);
            loaded.clone().map(drop)
        })
        .await;
    }
    sleep(Duration::from_secs(2)).await;
    for by in 0..3 {
        assert_eq!(cluster.alive(by).await, 2);
    }
}

/// The name of one service is the only seed of all nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_form_a_cluster_by_a_host_name_alone() {
    let mut cluster = Cluster::new();
    let names = Names::default();
    cluster.names = Some(names.clone());
    for at in 0..3 {
        cluster.add().await;
        let peer = cluster.addresses(at).peer;
        names.0.lock().unwrap().push(peer);
    }
    cluster.bootstrap(0).await.unwrap();
    cluster.healthy(0, 3).await;
    let discovered = cluster.describe(1).await.discovered;
    assert!(
        discovered
            .iter()
            .all(|member| member.sightings[0].source == "seeds")
    );
}

/// Sends garbage to a port until told to stop, and returns the number of datagrams.
fn flood(to: SocketAddr, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sent = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            let bytes = sent.to_le_bytes().repeat(20);
            // The receiver's buffer may be full.
            sent += u64::from(socket.send_to(&bytes, to).is_ok());
        }
        sent
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_garbage_loses_no_member_and_no_record() {
    let cluster = three().await;
    cluster.create_topic(0, "t", 1, 3).await;
    let stop = Arc::<AtomicBool>::default();
    let flooding = flood(cluster.addresses(0).gossip.unwrap(), Arc::clone(&stop));
    let begun = Instant::now();
    // Longer than it takes to call a silent node unreachable.
    let longest = Duration::from_secs(14);
    let mut produced = 0_u32;
    while begun.elapsed() < longest {
        cluster.produce(1, 0, "x").await;
        produced += 1;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(cluster.alive(0).await, 2, "a member was lost");
    }
    stop.store(true, Ordering::Relaxed);
    let sent = flooding.join().unwrap();
    let metrics = get(&cluster, 0, "/metrics").await.unwrap();
    let line = "lograft_gossip_dropped_datagrams_total{reason=\"GARBAGE\"} ";
    let dropped = metrics.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    println!("{sent} datagrams sent, {dropped} dropped, {produced} records");
    assert!(dropped.parse::<u64>().unwrap() > 1000);
    assert!(produced > 20, "{produced}");
}
