//! Reads from any replica while leaders move, nodes restart and links break, checked against what
//! the leaders have in the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use lograft_client::{
    Client, ClientConfig, ConsumerConfig, Offset, PartitionId, ProducerConfig, ReadReplica, Record,
    StartAt, TlsPem,
};
use lograft_core::limits::RAFT_HEARTBEAT_INTERVAL;
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1 as log;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, PATIENCE, earliest, eventually};
use crate::decommission::decommission;
use crate::http_client::HttpClient;
use crate::links::Links;
use crate::pki::uri;

const ZONES: [&str; 3] = ["a", "b", "c"];

/// A record by its place.
type Log = BTreeMap<(PartitionId, Offset), String>;

/// Records that a reader has got.
#[derive(Default)]
struct History {
    name: String,
    log: Log,
    /// Where each partition continues.
    next: BTreeMap<PartitionId, Offset>,
    high_watermarks: BTreeMap<PartitionId, Offset>,
    longest_gap: Duration,
}

impl History {
    /// Each record once, in order, without gaps, and an end of the log that never goes back.
    fn take(&mut self, batch: &lograft_client::ConsumedBatch) {
        let partition = batch.partition();
        let known = self.high_watermarks.entry(partition).or_default();
        let name = &self.name;
        assert!(
            batch.high_watermark() >= *known,
            "{name}: back in {partition}"
        );
        *known = batch.high_watermark();
        for record in batch.iter() {
            let (offset, record) = record.unwrap();
            let next = self.next.entry(partition).or_insert(Offset::ZERO);
            assert_eq!(offset, *next, "{name}: partition {partition}");
            *next = offset.next();
            assert!(offset < *known, "{name}: beyond the end of the log");
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            self.log.insert((partition, offset), value);
        }
    }
}

async fn client(cluster: &Cluster, zone: &str) -> Client {
    let leaf = cluster.ca.issue(&[uri("user/reader")]);
    let tls = TlsPem {
        ca: cluster.ca.pem(),
        cert: Some(leaf.cert),
        key: Some(leaf.key),
    };
    let endpoints = (0..ZONES.len()).map(|at| cluster.addresses(at).client.to_string());
    let config = ClientConfig {
        zone: zone.to_owned(),
        ..ClientConfig::new(endpoints, tls)
    };
    Client::connect(config).await.unwrap()
}

/// Nodes, each in a zone of its own, and a topic with three replicas.
async fn cluster_in_zones(partitions: u32) -> Cluster {
    cluster_in(&ZONES, partitions).await
}

async fn cluster_in(zones: &[&str], partitions: u32) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
    cluster.links = Some(Links::default());
    let cluster = cluster.with_nodes(zones.len()).await;
    cluster.create_topic(0, "t", partitions, 3).await;
    cluster
}

/// Writes until told to stop: `interval` per record and partition. Returns the acknowledged ones.
fn write(
    client: Client,
    partitions: u32,
    interval: Duration,
    stop: watch::Receiver<bool>,
) -> JoinHandle<Log> {
    tokio::spawn(async move {
        let producer = client.producer(ProducerConfig::default()).await.unwrap();
        let of_partition = |partition| {
            let (producer, stop) = (&producer, stop.clone());
            async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    if *stop.borrow() {
                        break;
                    }
                    let value = format!("{partition}-{number}");
                    let record = Record {
                        value: Some(value.clone().into()),
                        ..Record::default()
                    };
                    let at = Some(PartitionId(partition));
                    let sent = producer.send("t", record, at).await.unwrap().await.unwrap();
                    acknowledged.push(((sent.partition, sent.offset.unwrap()), value));
                    sleep(interval).await;
                }
                acknowledged
            }
        };
        let all = join_all((0..partitions).map(of_partition)).await;
        all.into_iter().flatten().collect()
    })
}

/// Follows all partitions until told the count of records to get.
fn read(
    client: Client,
    (name, replica): (&str, ReadReplica),
    mut until: watch::Receiver<Option<usize>>,
) -> JoinHandle<History> {
    let mut history = History {
        name: name.to_owned(),
        ..History::default()
    };
    tokio::spawn(async move {
        let config = ConsumerConfig {
            replica,
            ..ConsumerConfig::new("t", StartAt::Earliest)
        };
        let mut consumer = client.consumer(config).await.unwrap();
        let mut last = Instant::now();
        while until
            .borrow_and_update()
            .is_none_or(|count| history.log.len() < count)
        {
            let next = tokio::select! {
                next = timeout(PATIENCE, consumer.next_batch()) => next,
                changed = until.changed() => {
                    changed.unwrap();
                    continue;
                }
            };
            let name = &history.name;
            let batch = next.unwrap_or_else(|_| panic!("{name}: nothing to read"));
            history.take(&batch.unwrap().unwrap());
            history.longest_gap = history.longest_gap.max(last.elapsed());
            last = Instant::now();
        }
        history
    })
}

/// All records as the leaders have them.
async fn final_log(client: &Client) -> Log {
    let config = ConsumerConfig {
        follow: false,
        ..ConsumerConfig::new("t", StartAt::Earliest)
    };
    let mut consumer = client.consumer(config).await.unwrap();
    let mut history = History::default();
    while let Some(batch) = consumer.next_batch().await.unwrap() {
        history.take(&batch);
    }
    history.log
}

/// Readers of every zone and of the leaders, and a writer, while `disturb` runs.
async fn check_under(
    cluster: Cluster,
    partitions: u32,
    disturb: impl AsyncFnOnce(Cluster) -> Cluster,
) -> Cluster {
    let (stop, stopped) = watch::channel(false);
    let (until, counts) = watch::channel(None);
    let writer = client(&cluster, "").await;
    let writing = write(writer, partitions, Duration::from_millis(5), stopped);
    let mut readers = Vec::new();
    for zone in &cluster.zones {
        let reader = client(&cluster, zone).await;
        readers.push(read(reader, (zone, ReadReplica::Nearest), counts.clone()));
    }
    let reader = client(&cluster, "").await;
    readers.push(read(reader, ("leader", ReadReplica::Leader), counts));
    let cluster = disturb(cluster).await;
    stop.send_replace(true);
    let acknowledged = timeout(PATIENCE, writing).await.unwrap().unwrap();
    let log = final_log(&client(&cluster, "").await).await;
    // With idempotence, nothing is stored twice.
    assert_eq!(log, acknowledged, "the log is what was acknowledged");
    until.send_replace(Some(log.len()));
    for reader in readers {
        let history = timeout(PATIENCE, reader).await.unwrap().unwrap();
        assert!(history.log == log, "{}: another history", history.name);
        println!("{}: longest gap {:?}", history.name, history.longest_gap);
    }
    cluster
}

/// The bytes that each node has read for consumers, by role and zone.
async fn read_bytes(cluster: &Cluster, role: &str, zone: &str) -> Vec<u64> {
    let series = format!("lograft_fetch_replica_bytes_total{{role=\"{role}\",zone=\"{zone}\"}} ");
    let mut bytes = Vec::new();
    for at in 0..ZONES.len() {
        let text = cluster.get(at, "/metrics").await;
        let found = text.lines().find_map(|line| line.strip_prefix(&series));
        bytes.push(found.map_or(0, |value| value.parse().unwrap()));
    }
    bytes
}

/// Moves the leaders of `count` partitions, each to the next of its replicas. Returns how many of
/// them lead in a new term.
async fn move_leaders(cluster: &Cluster, turn: &AtomicU64, count: usize) -> usize {
    let terms = async || -> Vec<u64> {
        let partitions = cluster.describe(0).await.partitions;
        partitions
            .iter()
            .take(count)
            .map(|p| p.leader_epoch)
            .collect()
    };
    let before = terms().await;
    let described = cluster.describe(0).await.partitions;
    for partition in described.iter().take(count) {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let replicas = &partition.replicas;
        let to = replicas[usize::try_from(turn).unwrap() % replicas.len()].node_id;
        let request = admin::TransferLeadershipRequest {
            group_id: partition.group_id,
            to_node: to,
            ..admin::TransferLeadershipRequest::default()
        };
        // It may be the leader already, or be cut off.
        let mut asked = cluster.admin(0);
        drop(timeout(Duration::from_secs(4), asked.transfer_leadership(request)).await);
    }
    let after = terms().await;
    before
        .iter()
        .zip(after)
        .filter(|(before, after)| after > before)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_each_zone_has_a_replica_nothing_is_read_across_zones() {
    let cluster = cluster_in_zones(6).await;
    let (stop, stopped) = watch::channel(false);
    let (until, counts) = watch::channel(None);
    let writer = client(&cluster, "").await;
    let writing = write(writer, 6, Duration::from_millis(1), stopped);
    let reader = client(&cluster, "b").await;
    let reading = read(reader, ("b", ReadReplica::Nearest), counts);
    sleep(Duration::from_secs(2)).await;
    stop.send_replace(true);
    let acknowledged = writing.await.unwrap();
    until.send_replace(Some(acknowledged.len()));
    let history = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(history.log, acknowledged);
    for role in ["leader", "follower"] {
        assert_eq!(
            read_bytes(&cluster, role, "other").await,
            [0, 0, 0],
            "{role}"
        );
    }
    // Of two partitions the near replica leads.
    for role in ["leader", "follower"] {
        let bytes = read_bytes(&cluster, role, "same").await;
        assert!(
            bytes[1] > 0 && bytes[0] + bytes[2] == 0,
            "{role}: {bytes:?}"
        );
    }
    // Where no zone is near, the streams are spread.
    let far = client(&cluster, "elsewhere").await;
    let (_until, counts) = watch::channel(Some(acknowledged.len()));
    let reading = read(far, ("far", ReadReplica::Nearest), counts);
    let history = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(history.log, acknowledged);
    let mut sums = [0; 3];
    for role in ["leader", "follower"] {
        let bytes = read_bytes(&cluster, role, "other").await;
        sums.iter_mut()
            .zip(bytes)
            .for_each(|(sum, bytes)| *sum += bytes);
    }
    assert!(sums.iter().all(|sum| *sum > 0), "{sums:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_move_every_second_disturb_no_reader_and_no_writer() {
    const PARTITIONS: u32 = 12;
    let cluster = cluster_in_zones(PARTITIONS).await;
    let moves = async |cluster: Cluster| {
        let turn = AtomicU64::new(0);
        let mut moved = 0;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let next = Instant::now() + Duration::from_secs(1);
            moved += move_leaders(&cluster, &turn, PARTITIONS as usize).await;
            // So that each gets another one in the next round.
            turn.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep_until(next).await;
        }
        println!("{moved} leaders moved");
        assert!(moved > 0);
        cluster
    };
    check_under(cluster, PARTITIONS, moves).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reader_sees_another_history_while_links_break_and_nodes_restart() {
    const PARTITIONS: u32 = 4;
    let cluster = cluster_in_zones(PARTITIONS).await;
    let links = cluster.links.clone().unwrap();
    let faults = async |mut cluster: Cluster| {
        let turn = AtomicU64::new(0);
        for round in 0..4 {
            let at = 1 + round % 2;
            links.cut(at);
            // Longer than a follower without a leader may serve.
            sleep(Duration::from_secs(4)).await;
            links.mend(at);
            move_leaders(&cluster, &turn, PARTITIONS as usize).await;
            cluster.stop(3 - at).await;
            cluster.restart(3 - at).await;
            cluster.ready(3 - at).await;
            // The leader of all, with its readers, is cut off.
            if round == 2 {
                links.cut(0);
                sleep(Duration::from_secs(4)).await;
                links.mend(0);
            }
        }
        cluster
    };
    let cluster = check_under(cluster, PARTITIONS, faults).await;
    let followers = read_bytes(&cluster, "follower", "same").await;
    assert!(followers.iter().any(|bytes| *bytes > 0), "{followers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_leave_a_node_that_is_decommissioned() {
    const PARTITIONS: u32 = 4;
    let cluster = cluster_in(&["a", "b", "c", "d"], PARTITIONS).await;
    let leaves = async |mut cluster: Cluster| {
        let leaving = 3;
        // It is read first.
        eventually("the readers of its zone read it", async || {
            let metrics = cluster.get(leaving, "/metrics").await;
            metrics.contains("zone=\"same\"").then_some(())
        })
        .await;
        let node_id = cluster.id_of(leaving).await;
        eventually("the node to be removed", async || {
            let state = decommission(&cluster, 0, node_id).await.unwrap();
            (state == admin::NodeState::Removed).then_some(())
        })
        .await;
        cluster.stop(leaving).await;
        cluster
    };
    check_under(cluster, PARTITIONS, leaves).await;
}

/// How long after its acknowledgement a record reaches the readers of the followers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_record_reaches_followers_without_a_heartbeat() {
    let cluster = cluster_in_zones(1).await;
    let writer = client(&cluster, "").await;
    let producer = writer.producer(ProducerConfig::default()).await.unwrap();
    let mut consumers = Vec::new();
    for zone in ZONES {
        let config = ConsumerConfig {
            replica: ReadReplica::Nearest,
            ..ConsumerConfig::new("t", StartAt::Earliest)
        };
        consumers.push(client(&cluster, zone).await.consumer(config).await.unwrap());
    }
    let mut delays: Vec<Duration> = Vec::new();
    for _ in 0..60 {
        let record = Record {
            value: Some("x".into()),
            ..Record::default()
        };
        let sent = producer
            .send("t", record, Some(PartitionId(0)))
            .await
            .unwrap();
        sent.await.unwrap();
        let acknowledged = Instant::now();
        let mut next = Vec::new();
        for consumer in &mut consumers {
            next.push(async {
                consumer.next().await.unwrap().unwrap();
                acknowledged.elapsed()
            });
        }
        let slowest = timeout(PATIENCE, join_all(next)).await.unwrap();
        delays.extend(slowest.into_iter().max());
        // Idle before each: what is committed is not told with the next entry.
        sleep(Duration::from_millis(20)).await;
    }
    delays.sort();
    let median = delays[delays.len() / 2];
    println!("median {median:?}, longest {:?}", delays.last().unwrap());
    // Told by heartbeats, half of the records would take half of their interval or more.
    assert!(median < RAFT_HEARTBEAT_INTERVAL * 3 / 8, "{median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_a_session_is_answered_by_the_node_that_is_asked() {
    let cluster = Cluster::with_http(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    for n in 0..3 {
        cluster.produce(0, 0, &n.to_string()).await;
    }
    for at in 0..3 {
        let own = cluster.id_of(at).await;
        let client = HttpClient::new(&cluster, (at, "user/admin"));
        for (asked, given, is_own) in [
            ("", "leader", false),
            ("consistency=leader", "leader", false),
            ("consistency=session&seen_high_watermark=3", "session", true),
            ("consistency=linearizable", "linearizable", false),
            // No replica has as much: the leader decides.
            ("consistency=session&seen_high_watermark=4", "leader", false),
        ] {
            let path = format!("/v1/topics/t/partitions/0/records?{asked}");
            // On a busy machine a leader may change meanwhile.
            eventually(asked, async || {
                let leader = cluster.describe(0).await.partitions[0].leader_node;
                let by = if is_own { Some(own) } else { leader };
                let page = client.get(&path).await.json();
                let count = page["records"].as_array()?.len();
                let found = (&page["consistency"], &page["read_by"], count);
                let by = by?.to_string().into();
                (found == (&given.into(), &by, 3)).then_some(())
            })
            .await;
        }
        let stream = "/v1/topics/t/records?consistency=session";
        let lines = client.get_as(stream, "application/x-ndjson").await.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        let wrong = "/v1/topics/t/partitions/0/records?consistency=none";
        assert_eq!(client.get(wrong).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_falls_behind_while_a_fetch_waits_answers_what_was_read() {
    const AT: usize = 2;
    let cluster = cluster_in_zones(1).await;
    for n in 0..3 {
        cluster.produce(0, 0, &n.to_string()).await;
    }
    let request = |min_bytes| log::FetchRequest {
        topic: "t".to_owned(),
        position: Some(earliest()),
        min_bytes,
        max_wait_ms: 20_000,
        format: log::FetchFormat::Batches.into(),
        consistency: log::ReadConsistency::Session.into(),
        no_forward: true,
        ..log::FetchRequest::default()
    };
    let fetch = async |min_bytes| {
        let fetched = cluster.log(AT).fetch(request(min_bytes)).await;
        fetched.map(|reply| reply.into_inner().next_offset)
    };
    eventually("the replica has all", async || {
        (fetch(1).await.ok()? == 3).then_some(())
    })
    .await;
    let links = cluster.links.clone().unwrap();
    let cut = async {
        // The fetch waits for more by then.
        sleep(Duration::from_secs(1)).await;
        links.cut(AT);
    };
    let started = Instant::now();
    let (fetched, ()) = tokio::join!(timeout(PATIENCE, fetch(1_000_000)), cut);
    assert_eq!(fetched.unwrap().unwrap(), 3);
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "it waited for its time only"
    );
    links.mend(AT);
}
