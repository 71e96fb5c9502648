//! Consumers that read from the nearest replica, and clients of a cluster that is gone for a while.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lograft_client::{
    Client, ClientConfig, Consumer, ConsumerConfig, Dial, Dialling, PartitionId, ProducerConfig,
    ReadReplica, Record, StartAt, TcpDialer,
};
use lograft_core::limits::{CLIENT_METADATA_MIN_AGE, CONSUMER_REPLICA_PROBE_INTERVAL};
use lograft_proto::log::v1::ReadConsistency;
use tokio::time::{Instant, timeout};

use crate::fake::{Cluster, TOPIC};

const SOON: Duration = Duration::from_secs(20);

fn nearest() -> ConsumerConfig {
    ConsumerConfig {
        replica: ReadReplica::Nearest,
        ..ConsumerConfig::new(TOPIC, StartAt::Earliest)
    }
}

async fn in_zone(cluster: &Cluster, zone: &str) -> Client {
    let config = ClientConfig {
        zone: zone.to_owned(),
        ..cluster.config()
    };
    Client::connect(config).await.unwrap()
}

/// Writes so many records to each of these partitions.
async fn fill(cluster: &Cluster, partitions: u32, count: u32) {
    let client = cluster.client().await;
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    for partition in 0..partitions {
        for _ in 0..count {
            let record = Record {
                value: Some("v".into()),
                ..Record::default()
            };
            let sent = producer
                .send(TOPIC, record, Some(PartitionId(partition)))
                .await;
            sent.unwrap().await.unwrap();
        }
    }
    producer.close().await.unwrap();
}

/// Takes so many records, each of which is the next one of its partition.
async fn take(consumer: &mut Consumer, next: &mut Vec<u64>, count: u32) {
    for _ in 0..count {
        let received = timeout(SOON, consumer.next()).await;
        let record = received.expect("a record in time").unwrap().unwrap();
        let at = record.partition.get() as usize;
        next.resize(next.len().max(at + 1), 0);
        assert_eq!(record.offset.get(), next[at]);
        next[at] += 1;
    }
}

/// The nodes that got requests since the last call.
fn asked(cluster: &Cluster) -> Vec<usize> {
    let requests = std::mem::take(&mut cluster.state().consumes);
    requests.into_iter().map(|(node, _)| node).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_of_the_same_zone_is_read_else_the_least_loaded() {
    let cluster = Cluster::start(4, 4);
    cluster.state().zones = [(0, "a"), (1, "b"), (2, "b"), (3, "c")].into();
    fill(&cluster, 4, 5).await;
    for (zone, nodes) in [("b", [1, 2].as_slice()), ("c", &[3]), ("z", &[0, 1, 2, 3])] {
        let client = in_zone(&cluster, zone).await;
        let mut consumer = client.consumer(nearest()).await.unwrap();
        take(&mut consumer, &mut Vec::new(), 20).await;
        let requests = cluster.state().consumes.clone();
        for (node, request) in &requests {
            assert_eq!(request.consistency(), ReadConsistency::Session);
            assert!(
                request.no_forward && request.zone == zone,
                "{request:?} to {node}"
            );
        }
        let mut asked = asked(&cluster);
        asked.sort_unstable();
        let each = 4 / nodes.len();
        let expected: Vec<usize> = nodes.iter().flat_map(|n| vec![*n; each]).collect();
        assert_eq!(asked, expected, "{zone}");
    }
    let client = cluster.client().await;
    let config = ConsumerConfig::new(TOPIC, StartAt::Earliest);
    take(
        &mut client.consumer(config).await.unwrap(),
        &mut Vec::new(),
        20,
    )
    .await;
    let mut leaders = asked(&cluster);
    leaders.sort_unstable();
    assert_eq!(leaders, [0, 1, 2, 3], "the leaders by default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_behind_is_left_for_another_and_the_leader_is_the_last_resort() {
    let cluster = Cluster::start(3, 1);
    cluster.state().zones = [(0, "a"), (1, "b"), (2, "c")].into();
    fill(&cluster, 1, 5).await;
    let client = in_zone(&cluster, "b").await;
    let mut consumer = client.consumer(nearest()).await.unwrap();
    let mut next = Vec::new();
    take(&mut consumer, &mut next, 5).await;
    assert_eq!(asked(&cluster), [1]);
    cluster.state().behind = [1, 2].into();
    fill(&cluster, 1, 5).await;
    take(&mut consumer, &mut next, 5).await;
    let tried: BTreeSet<usize> = asked(&cluster).into_iter().collect();
    assert!(tried.contains(&0), "the leader: {tried:?}");
    // It goes back to its zone by itself.
    cluster.state().behind.clear();
    cluster.state().served_by.clear();
    let deadline = Instant::now() + 2 * SOON;
    while !cluster.state().served_by.contains(&1) {
        assert!(Instant::now() < deadline);
        fill(&cluster, 1, 1).await;
        take(&mut consumer, &mut next, 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_an_older_version_is_noticed_by_its_reply() {
    let cluster = Cluster::start(3, 1);
    cluster.state().zones = [(0, "a"), (1, "b"), (2, "c")].into();
    cluster.state().former = [1].into();
    fill(&cluster, 1, 5).await;
    let client = in_zone(&cluster, "b").await;
    let mut consumer = client.consumer(nearest()).await.unwrap();
    let mut next = Vec::new();
    take(&mut consumer, &mut next, 5).await;
    fill(&cluster, 1, 5).await;
    take(&mut consumer, &mut next, 5).await;
    let asked = asked(&cluster);
    assert_eq!((asked.len(), asked[0]), (2, 1), "{asked:?}");
    assert_ne!(asked[1], 1, "it only forwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_log_never_goes_back() {
    let cluster = Cluster::start(3, 1);
    cluster.state().zones = [(0, "a"), (1, "b"), (2, "c")].into();
    fill(&cluster, 1, 6).await;
    let client = in_zone(&cluster, "b").await;
    let mut consumer = client.consumer(nearest()).await.unwrap();
    let mut next = Vec::new();
    take(&mut consumer, &mut next, 6).await;
    // A node that breaks its word.
    cluster.state().old_ends = [(1, 2)].into();
    fill(&cluster, 1, 6).await;
    let mut end = 6;
    for _ in 0..6 {
        let batch = timeout(SOON, consumer.next_batch()).await.unwrap().unwrap();
        let batch = batch.unwrap();
        assert!(
            batch.high_watermark().get() >= end,
            "{:?}",
            batch.high_watermark()
        );
        end = batch.high_watermark().get();
        if batch.next_offset().get() == 12 {
            break;
        }
    }
    let requests = cluster.state().consumes.clone();
    let (node, last) = requests.last().unwrap();
    assert_ne!(*node, 1);
    let seen = last.seen.unwrap();
    assert!(
        seen.high_watermark >= 6 && seen.leader_epoch == 1,
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_hangs_is_left_and_not_chosen_again() {
    let cluster = Cluster::start(3, 1);
    cluster.state().zones = [(0, "a"), (1, "b"), (2, "c")].into();
    fill(&cluster, 1, 5).await;
    let client = in_zone(&cluster, "b").await;
    let mut consumer = client.consumer(nearest()).await.unwrap();
    let mut next = Vec::new();
    take(&mut consumer, &mut next, 5).await;
    let _hung = cluster.hang(1);
    fill(&cluster, 1, 5).await;
    let started = Instant::now();
    take(&mut consumer, &mut next, 5).await;
    // Keepalive pings would find it after 10 s.
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    let second = client.consumer(nearest());
    let mut second = timeout(SOON, second).await.unwrap().unwrap();
    take(&mut second, &mut Vec::new(), 10).await;
    assert!(asked(&cluster)[1..].iter().all(|node| *node != 1));
}

/// Leads every connection to one of the current addresses of a name.
#[derive(Clone)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Dial for Names {
    fn dial(&self, address: &str) -> Dialling {
        if !address.starts_with("nodes.invalid:") {
            return TcpDialer.dial(address);
        }
        let addresses = self.0.lock().unwrap().clone();
        Box::pin(async move {
            let mut failed = std::io::ErrorKind::NotFound.into();
            for address in addresses {
                match TcpDialer.dial(&address.to_string()).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        })
    }
}

/// As with the headless Service of the ready nodes: the addresses behind the name change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_looked_up_again_when_all_known_nodes_are_gone() {
    let mut cluster = Cluster::start(2, 1);
    let addresses = cluster.state().addresses.clone();
    let closed: SocketAddr = ([127, 0, 0, 1], 1).into();
    let names = Names(Arc::new(Mutex::new(vec![closed, addresses[0]])));
    let config = ClientConfig {
        endpoints: vec!["nodes.invalid:9400".to_owned()],
        server_name: Some("127.0.0.1".to_owned()),
        dialer: Arc::new(names.clone()),
        ..cluster.config()
    };
    let client = Client::connect(config).await.unwrap();
    assert_eq!(client.metadata().await.unwrap().nodes.len(), 2);
    cluster.kill(0);
    cluster.kill(1);
    let error = client.metadata().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let text = error.to_string();
    let has_all = addresses
        .iter()
        .all(|address| text.contains(&address.to_string()));
    assert!(has_all && text.contains("nodes.invalid:9400"), "{text}");
    // The same nodes at other addresses.
    for node in [0, 1] {
        cluster.restart_elsewhere(node);
    }
    let moved = cluster.state().addresses[1];
    *names.0.lock().unwrap() = vec![closed, moved];
    let metadata = client.metadata().await.unwrap();
    assert_eq!(metadata.nodes.len(), 2, "{metadata:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_cluster_that_is_down_share_their_questions_and_continue() {
    const PARTITIONS: u32 = 40;
    let mut cluster = Cluster::start(2, PARTITIONS);
    fill(&cluster, PARTITIONS, 1).await;
    let client = cluster.client().await;
    let mut consumer = client.consumer(nearest()).await.unwrap();
    let mut next = Vec::new();
    take(&mut consumer, &mut next, PARTITIONS).await;
    cluster.kill(0);
    cluster.kill(1);
    // They retry meanwhile.
    assert!(
        timeout(Duration::from_secs(2), consumer.next())
            .await
            .is_err()
    );
    // No partition has a leader, and no replica answers: all readers ask for the metadata.
    let nodes = [0, 1];
    cluster.state().behind = nodes.into();
    for partition in 0..PARTITIONS {
        cluster.state().partition(TOPIC, partition).unwrap().leader = None;
    }
    for node in nodes {
        cluster.restart(node);
    }
    cluster.state().metadata_by.clear();
    let started = Instant::now();
    assert!(
        timeout(Duration::from_secs(2), consumer.next())
            .await
            .is_err()
    );
    let rounds = started.elapsed().as_millis() / CLIENT_METADATA_MIN_AGE.as_millis();
    let count = cluster.state().metadata_by.len();
    // A round asks both nodes, as the first one knows no leader.
    let most = usize::try_from(rounds).unwrap() * nodes.len() + 2;
    assert!(
        count > 0 && count <= most,
        "{count} questions, {most} expected"
    );
    cluster.state().behind.clear();
    for partition in 0..PARTITIONS {
        let mut state = cluster.state();
        let partition = state.partition(TOPIC, partition).unwrap();
        (partition.leader, partition.epoch) = (Some(0), 2);
    }
    fill(&cluster, PARTITIONS, 1).await;
    take(&mut consumer, &mut next, PARTITIONS).await;
    assert_eq!(next, [2; PARTITIONS as usize]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streams_from_a_silent_node_share_its_probes() {
    const PARTITIONS: u32 = 16;
    let cluster = Cluster::start(1, PARTITIONS);
    fill(&cluster, PARTITIONS, 1).await;
    let client = in_zone(&cluster, "").await;
    let mut consumer = client.consumer(nearest()).await.unwrap();
    take(&mut consumer, &mut Vec::new(), PARTITIONS).await;
    let wait = 2 * CONSUMER_REPLICA_PROBE_INTERVAL + CONSUMER_REPLICA_PROBE_INTERVAL / 2;
    assert!(timeout(wait, consumer.next()).await.is_err());
    let probes = cluster.state().probes;
    // Two intervals; without sharing 16 in each.
    assert!((1..=6).contains(&probes), "{probes}");
}
