//! Producing with failures: no record is lost, duplicated or reordered.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lograft_client::{
    ClientError, Compression, PartitionId, Producer, ProducerConfig, Reason, Record, RecordParts,
};
use tokio::time::timeout;

use crate::fake::{Cluster, Fault, Other, TOPIC, until};

/// Batches of about ten records, so that many are in flight.
fn small_batches() -> ProducerConfig {
    ProducerConfig {
        batch_max_bytes: 1024,
        ..ProducerConfig::default()
    }
}

async fn open(cluster: &Cluster, config: ProducerConfig) -> Producer {
    cluster.client().await.producer(config).await.unwrap()
}

fn record(key: Option<String>, value: String) -> Record {
    Record {
        key: key.map(Bytes::from),
        value: Some(Bytes::from(value)),
        ..Record::default()
    }
}

/// Sends `count` numbered records for each of `keys` keys. Each must be stored once, in order, and
/// at its acknowledged offset.
async fn produce_and_check(cluster: &Cluster, producer: &Producer, keys: usize, count: usize) {
    let mut deliveries = Vec::new();
    for n in 0..count {
        for key in 0..keys {
            let value = format!("{key}:{n}");
            let record = record(Some(format!("{key:0>60}")), value.clone());
            let delivery = producer.send(TOPIC, record, None).await.unwrap();
            deliveries.push((value, delivery));
        }
    }
    producer.flush().await.unwrap();
    let partitions = u32::try_from(cluster.state().topics[TOPIC].len()).unwrap();
    let logs: Vec<_> = (0..partitions).map(|p| cluster.values(p)).collect();
    assert_eq!(
        logs.iter().map(Vec::len).sum::<usize>(),
        keys * count,
        "lost or duplicated"
    );
    for (value, delivery) in deliveries {
        let stored = delivery.await.unwrap();
        let log = &logs[stored.partition.get() as usize];
        assert_eq!(
            log[usize::try_from(stored.offset.unwrap().get()).unwrap()],
            value
        );
    }
    check_order(&logs);
}

/// Values are `key:number`; the numbers of a key are consecutive.
fn check_order(logs: &[Vec<Bytes>]) {
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for value in logs.iter().flatten() {
        let text = std::str::from_utf8(value).unwrap();
        let (key, n) = text.split_once(':').unwrap();
        let next = next.entry(key.to_owned()).or_default();
        assert_eq!(n.parse::<usize>().unwrap(), *next, "key {key} out of order");
        *next += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_stored_at_their_acknowledged_offsets() {
    let cluster = Cluster::start(3, 12);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let cluster = if compression == Compression::None {
            &cluster
        } else {
            &Cluster::start(1, 2)
        };
        let config = ProducerConfig {
            compression,
            ..small_batches()
        };
        let producer = open(cluster, config).await;
        produce_and_check(cluster, &producer, 20, 50).await;
        let stats = producer.stats();
        assert_eq!((stats.acked_records, stats.failed_records), (1000, 0));
        assert_eq!(stats.buffered_bytes, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_gets_the_remaining_batches_in_order() {
    let cluster = Cluster::start(3, 2);
    for n in 0..60 {
        let fault = if n % 9 == 4 {
            Fault::AppendThenMoveLeader
        } else {
            Fault::None
        };
        cluster.state().faults.push_back(fault);
    }
    let producer = open(&cluster, small_batches()).await;
    produce_and_check(&cluster, &producer, 4, 500).await;
    assert!(cluster.state().faults.is_empty());
    assert!(producer.stats().resent_batches > 0);
}

/// The batches behind it fail the same way if the client believes the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ack_of_another_batch_is_not_believed() {
    for other in [
        Other::Request,
        Other::Topic,
        Other::Partition,
        Other::RecordCount,
    ] {
        let cluster = Cluster::start(2, 2);
        let faults = [Fault::None, Fault::AckAnother(other), Fault::None];
        cluster.state().faults.extend(faults.repeat(3));
        let producer = open(&cluster, small_batches()).await;
        produce_and_check(&cluster, &producer, 4, 100).await;
        assert!(cluster.state().faults.is_empty(), "{other:?}");
        assert!(producer.stats().resent_batches > 0, "{other:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_lost_before_the_ack_causes_no_duplicate() {
    let cluster = Cluster::start(2, 2);
    for n in 0..60 {
        let fault = match n % 10 {
            3 => Fault::AppendThenDrop,
            7 => Fault::Drop,
            _ => Fault::None,
        };
        cluster.state().faults.push_back(fault);
    }
    let producer = open(&cluster, small_batches()).await;
    produce_and_check(&cluster, &producer, 4, 500).await;
    assert!(cluster.state().faults.is_empty());
    assert!(
        producer.stats().duplicate_batches > 0,
        "no appended batch was sent again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retryable_errors_are_retried_in_order() {
    let cluster = Cluster::start(2, 2);
    let reasons = [
        Reason::Timeout,
        Reason::DiskFull,
        Reason::NotReady,
        Reason::BatchCorrupt,
        Reason::NoLeader,
    ];
    for reason in reasons {
        let faults = [
            Fault::None,
            Fault::Reject(reason),
            Fault::None,
            Fault::AppendThen(Reason::Timeout),
        ];
        cluster.state().faults.extend(faults);
    }
    let producer = open(&cluster, small_batches()).await;
    produce_and_check(&cluster, &producer, 4, 300).await;
    assert!(cluster.state().faults.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_keeps_its_order_with_random_faults() {
    for seed in 0..8_u64 {
        let cluster = Cluster::start(3, 3);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..120 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            cluster.state().faults.push_back(match random % 24 {
                0 => Fault::Drop,
                1 => Fault::AppendThenDrop,
                2 => Fault::AppendThenMoveLeader,
                3 => Fault::AppendThen(Reason::Timeout),
                4 => Fault::Reject(Reason::NotReady),
                5 => Fault::AppendThen(Reason::NotLeader),
                _ => Fault::None,
            });
        }
        let producer = open(&cluster, small_batches()).await;
        produce_and_check(&cluster, &producer, 6, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_restarts() {
    let mut cluster = Cluster::start(3, 3);
    let producer = open(&cluster, small_batches()).await;
    for round in 0..2 {
        let mut deliveries = Vec::new();
        for n in 0..300 {
            if n == 100 {
                cluster.kill(round);
                let mut state = cluster.state();
                for partition in 0..3 {
                    let dead = state.partition(TOPIC, partition).unwrap().leader == Some(round);
                    if dead {
                        state.move_leader(TOPIC, partition);
                    }
                }
            }
            let partition = Some(PartitionId(n % 3));
            let record = record(
                None,
                format!("{}:{}", n % 3, n / 3 + 100 * round_u32(round)),
            );
            deliveries.push(producer.send(TOPIC, record, partition).await.unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        cluster.restart(round);
    }
    let logs: Vec<_> = (0..3).map(|p| cluster.values(p)).collect();
    assert!(
        logs.iter().all(|log| log.len() == 200),
        "lost or duplicated"
    );
    check_order(&logs);
}

/// Less than the keepalive of HTTP/2 and than the request timeout need to notice.
const LEFT_WITHIN: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hangs_is_left_for_the_next_one() {
    let cluster = Cluster::start(3, 3);
    let producer = open(&cluster, small_batches()).await;
    let mut deliveries = Vec::new();
    let mut send = async |numbers: std::ops::Range<u32>| {
        for n in numbers {
            let record = record(None, format!("{}:{}", n % 3, n / 3));
            let partition = Some(PartitionId(n % 3));
            deliveries.push(producer.send(TOPIC, record, partition).await.unwrap());
        }
    };
    send(0..60).await;
    producer.flush().await.unwrap();
    let hung = cluster.hang(0);
    send(60..120).await;
    cluster.state().move_leader(TOPIC, 0);
    timeout(LEFT_WITHIN, producer.flush())
        .await
        .expect("the batches went to the new leader")
        .unwrap();
    drop(hung);
    send(120..180).await;
    producer.flush().await.unwrap();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let logs: Vec<_> = (0..3).map(|p| cluster.values(p)).collect();
    assert!(logs.iter().all(|log| log.len() == 60), "lost or duplicated");
    check_order(&logs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_leader_that_still_leads_is_not_left() {
    let cluster = Cluster::start(3, 1);
    let producer = open(&cluster, small_batches()).await;
    let first = producer.send(TOPIC, record(None, "0:0".to_owned()), None);
    first.await.unwrap().await.unwrap();
    let hung = cluster.hang(0);
    let second = producer.send(TOPIC, record(None, "0:1".to_owned()), None);
    let delivery = second.await.unwrap();
    // Several times as long as it takes until the other nodes are asked.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = cluster.state().metadata_by.iter().any(|node| *node != 0);
    drop(hung);
    assert_eq!(delivery.await.unwrap().offset.unwrap().get(), 1);
    assert!(asked, "no other node was asked who leads");
    assert_eq!(producer.stats().resent_batches, 0);
}

fn round_u32(round: usize) -> u32 {
    u32::try_from(round).unwrap()
}

#[tokio::test]
async fn a_newer_reason_is_retried_if_it_says_so_and_else_reaches_the_caller() {
    let cluster = Cluster::start(1, 1);
    let reject = |retryable| Fault::RejectNewer { retryable };
    cluster
        .state()
        .faults
        .extend([reject(true), reject(true), Fault::None, reject(false)]);
    let producer = open(&cluster, small_batches()).await;
    let send = async |n| {
        let sent = producer.send(TOPIC, record(None, format!("0:{n}")), None);
        sent.await.unwrap().await
    };
    assert_eq!(
        send(0).await.unwrap().offset.unwrap().get(),
        0,
        "after two retries"
    );
    let error = send(1).await.unwrap_err();
    assert_eq!(error.to_string(), "not today (OF_A_LATER_VERSION)");
    let reason = error.received_reason().unwrap();
    assert_eq!((reason.as_str(), reason.code()), ("OF_A_LATER_VERSION", 8));
    assert!(!reason.is_retryable() && !error.is_retryable());
    assert_eq!(error.metadata("hint"), Some("later"));
    assert!(cluster.state().faults.is_empty());
}

#[tokio::test]
async fn a_call_that_no_node_knows_fails_at_once() {
    let cluster = Cluster::start(2, 1);
    let client = cluster.client().await;
    let started = std::time::Instant::now();
    // The fake nodes have no admin service.
    let error = client.admin().list_topics().await.unwrap_err();
    assert!(
        matches!(
            &error,
            ClientError::UnknownCall {
                action: "list topics",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.reason(), Some(Reason::VersionTooOld));
    assert!(started.elapsed() < std::time::Duration::from_secs(3));
}

#[tokio::test]
async fn batches_are_closed_at_the_limit_of_the_topic() {
    let cluster = Cluster::start(1, 1);
    cluster.state().batch_max_bytes = Some(1024);
    let config = ProducerConfig {
        linger: Duration::from_millis(50),
        ..ProducerConfig::default()
    };
    let producer = open(&cluster, config).await;
    let mut deliveries = Vec::new();
    for n in 0..40 {
        let value = format!("0:{n:0>200}");
        let sent = producer.send(TOPIC, record(None, value), None).await;
        deliveries.push(sent.unwrap());
    }
    producer.flush().await.unwrap();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let largest = {
        let mut state = cluster.state();
        let log = &state.partition(TOPIC, 0).unwrap().log;
        log.iter().map(|batch| batch.data.len()).max().unwrap()
    };
    assert!((400..=1024).contains(&largest), "{largest}");
}

#[tokio::test]
async fn a_refused_batch_fails_alone() {
    let cluster = Cluster::start(1, 1);
    cluster
        .state()
        .faults
        .extend([Fault::None, Fault::Reject(Reason::BatchMalformed)]);
    let producer = open(&cluster, small_batches()).await;
    let mut results = Vec::new();
    for n in 0..4 {
        let delivery = producer
            .send(TOPIC, record(None, format!("0:{n}")), None)
            .await
            .unwrap();
        results.push(delivery.await);
    }
    let stored: Vec<_> = results
        .iter()
        .map(|r| {
            r.as_ref()
                .map(|m| m.offset.unwrap().get())
                .map_err(ClientError::reason)
        })
        .collect();
    assert_eq!(
        stored,
        [Ok(0), Err(Some(Reason::BatchMalformed)), Ok(1), Ok(2)]
    );
    let error = producer.flush().await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(Reason::BatchMalformed),
        "flush reports it once"
    );
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn a_forgotten_producer_continues() {
    let cluster = Cluster::start(1, 1);
    let producer = open(&cluster, small_batches()).await;
    for n in 0..3 {
        producer
            .send(TOPIC, record(None, format!("0:{n}")), None)
            .await
            .unwrap()
            .await
            .unwrap();
        cluster
            .state()
            .partition(TOPIC, 0)
            .unwrap()
            .producers
            .clear();
    }
    check_order(&[cluster.values(0)]);
}

#[tokio::test]
async fn an_undelivered_record_fails_and_reports_that_it_is_not_stored() {
    let cluster = Cluster::start(1, 1);
    cluster.state().partition(TOPIC, 0).unwrap().leader = None;
    let config = ProducerConfig {
        delivery_timeout: Duration::from_secs(1),
        ..small_batches()
    };
    let producer = open(&cluster, config).await;
    let delivery = producer
        .send(TOPIC, record(None, "0:0".into()), None)
        .await
        .unwrap();
    let error = delivery.await.unwrap_err();
    let ClientError::Undelivered { maybe_appended, .. } = error else {
        panic!("{error}")
    };
    assert!(!maybe_appended);
    assert_eq!(error.reason(), Some(Reason::NoLeader));
    cluster.state().partition(TOPIC, 0).unwrap().leader = Some(0);
    // On a busy machine the delivery timeout of one second may pass without an attempt.
    for _ in 0..20 {
        let record = record(None, "0:0".into());
        let delivery = producer.send(TOPIC, record, None).await.unwrap();
        if let Ok(stored) = delivery.await {
            assert_eq!(stored.offset.unwrap().get(), 0);
            return;
        }
    }
    panic!("the partition does not recover");
}

#[tokio::test]
async fn sending_waits_while_the_buffer_is_full() {
    let cluster = Cluster::start(1, 1);
    cluster.state().partition(TOPIC, 0).unwrap().leader = None;
    let config = ProducerConfig {
        buffer_max_bytes: 4096,
        ..small_batches()
    };
    let producer = open(&cluster, config).await;
    // Fetches the metadata first, so that only sending can wait below.
    producer.topic(TOPIC).await.unwrap();
    let mut taken = 0;
    let wait = Duration::from_millis(200);
    let send = || producer.send(TOPIC, record(None, "0".repeat(100)), None);
    while let Ok(sent) = timeout(wait, send()).await {
        drop(sent.unwrap());
        taken += 1;
        assert!(taken < 100, "no back pressure");
    }
    assert!(
        (30..=45).contains(&taken),
        "{taken} records of 100 bytes in 4096"
    );
    let waiting = tokio::spawn({
        let producer = producer.clone();
        async move {
            producer
                .send(TOPIC, record(None, "last".into()), None)
                .await
        }
    });
    cluster.state().partition(TOPIC, 0).unwrap().leader = Some(0);
    waiting.await.unwrap().unwrap().await.unwrap();
    assert_eq!(cluster.values(0).len(), taken + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_bytes_at_a_leader_are_bounded() {
    let cluster = Cluster::start(1, 4);
    cluster.state().hold = true;
    let config = ProducerConfig {
        in_flight_max_bytes: 8 * 1024,
        ..small_batches()
    };
    let producer = open(&cluster, config).await;
    let topic = producer.topic(TOPIC).await.unwrap();
    let value = [0; 100];
    let records = (0..2000).map(|_| RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    });
    let _runs = topic.send_many(records, None).await.unwrap();
    let received = || cluster.state().produce_bytes;
    until("the bound is reached", || {
        (received() >= 8 * 1024).then_some(())
    });
    // Time in which more bytes would arrive.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(received() < 10 * 1024, "{} bytes in flight", received());
}

#[tokio::test]
async fn records_sent_together_share_batches_and_deliveries() {
    let cluster = Cluster::start(2, 4);
    let producer = open(&cluster, ProducerConfig::default()).await;
    let topic = producer.topic(TOPIC).await.unwrap();
    assert_eq!(topic.partition_count(), 4);
    let values: Vec<String> = (0..5000).map(|n| format!("0:{n}")).collect();
    let records = values.iter().map(|value| RecordParts {
        value: Some(value.as_bytes()),
        ..RecordParts::default()
    });
    let runs = topic
        .send_many(records, Some(PartitionId(3)))
        .await
        .unwrap();
    assert!(
        runs.len() < 50,
        "{} deliveries for 5000 records",
        runs.len()
    );
    let mut next = 0;
    for run in runs {
        let expected = run.record_count();
        let stored = run.await.unwrap();
        assert_eq!(stored.base_offset.unwrap().get(), next);
        assert_eq!(stored.record_count, expected);
        next += u64::from(expected);
    }
    assert_eq!(cluster.values(3), values);
}

#[tokio::test]
async fn records_without_a_key_are_distributed_by_batches() {
    let cluster = Cluster::start(2, 4);
    let producer = open(&cluster, small_batches()).await;
    let topic = producer.topic(TOPIC).await.unwrap();
    let value = [7; 100];
    let records = (0..800).map(|_| RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    });
    let _runs = topic.send_many(records, None).await.unwrap();
    producer.close().await.unwrap();
    let counts: Vec<usize> = (0..4).map(|p| cluster.values(p).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 800);
    assert!(counts.iter().all(|n| *n >= 150), "{counts:?}");
    let requests = cluster.state().produce_requests;
    assert!(requests < 120, "{requests} batches for 800 records");
}

#[tokio::test]
async fn unknown_partitions_and_topics_and_large_records_are_refused() {
    let cluster = Cluster::start(1, 2);
    let producer = open(&cluster, small_batches()).await;
    let sent = producer
        .send(TOPIC, record(None, "x".into()), Some(PartitionId(2)))
        .await;
    assert_eq!(sent.unwrap_err().reason(), Some(Reason::UnknownPartition));
    // The topic grows, which the producer reads when it is sent to.
    let new = crate::fake::Partition {
        leader: Some(0),
        epoch: 1,
        ..Default::default()
    };
    cluster.state().topics.get_mut(TOPIC).unwrap().push(new);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let sent = producer
        .send(TOPIC, record(None, "x".into()), Some(PartitionId(2)))
        .await;
    let stored = sent.unwrap().await.unwrap();
    assert_eq!(stored.partition, PartitionId(2));
    let sent = producer
        .send("nowhere", record(None, "x".into()), None)
        .await;
    assert_eq!(sent.unwrap_err().reason(), Some(Reason::UnknownTopic));
    let huge = record(None, "x".repeat(lograft_core::limits::RECORD_MAX_BYTES + 1));
    let sent = producer.send(TOPIC, huge, None).await;
    assert_eq!(sent.unwrap_err().reason(), Some(Reason::BatchTooLarge));
}

#[tokio::test]
async fn a_deleted_topic_fails_undelivered_records() {
    let cluster = Cluster::start(1, 1);
    let producer = open(&cluster, small_batches()).await;
    producer
        .send(TOPIC, record(None, "0:0".into()), None)
        .await
        .unwrap()
        .await
        .unwrap();
    cluster.state().topics.clear();
    let delivery = producer
        .send(TOPIC, record(None, "0:1".into()), None)
        .await
        .unwrap();
    assert_eq!(
        delivery.await.unwrap_err().reason(),
        Some(Reason::UnknownTopic)
    );
}

#[tokio::test]
async fn a_closed_producer_accepts_no_record() {
    let cluster = Cluster::start(1, 1);
    let producer = open(&cluster, small_batches()).await;
    let clone = producer.clone();
    let delivery = producer
        .send(TOPIC, record(None, "0:0".into()), None)
        .await
        .unwrap();
    producer.close().await.unwrap();
    delivery.await.unwrap();
    let sent = clone.send(TOPIC, record(None, "0:1".into()), None).await;
    assert!(matches!(sent.unwrap_err(), ClientError::Closed));
}

#[tokio::test]
async fn lingering_packs_slow_records() {
    let cluster = Cluster::start(1, 1);
    let linger = Duration::from_millis(100);
    let producer = open(
        &cluster,
        ProducerConfig {
            linger,
            ..ProducerConfig::default()
        },
    )
    .await;
    let mut deliveries = Vec::new();
    for n in 0..20 {
        let record = record(None, format!("0:{n}"));
        deliveries.push(producer.send(TOPIC, record, None).await.unwrap());
        tokio::task::yield_now().await;
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert!(cluster.state().produce_requests <= 2);
    check_order(&[cluster.values(0)]);
}
