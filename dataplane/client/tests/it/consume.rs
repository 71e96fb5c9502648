//! Consuming with failures: every record once and in order.

use std::time::Duration;

use lograft_client::{
    Client, ClientError, Consumer, ConsumerConfig, Offset, OutOfRange, PartitionId, ProducerConfig,
    Reason, RecordParts, StartAt,
};
use tokio::time::timeout;

use crate::fake::{Cluster, ReadFault, TOPIC, until};

/// Produces numbered records, about ten per batch, with the number as timestamp.
pub(crate) async fn fill(client: &Client, partition: u32, numbers: std::ops::Range<u32>) {
    let config = ProducerConfig {
        batch_max_bytes: 1024,
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).await.unwrap();
    let topic = producer.topic(TOPIC).await.unwrap();
    let values: Vec<(u32, String)> = numbers.map(|n| (n, format!("{n:0>90}"))).collect();
    let records: Vec<_> = values.iter().map(numbered_parts).collect();
    drop(
        topic
            .send_many(records, Some(PartitionId(partition)))
            .await
            .unwrap(),
    );
    producer.close().await.unwrap();
}

fn numbered_parts((n, value): &(u32, String)) -> RecordParts<'_> {
    RecordParts {
        timestamp_ms: Some(i64::from(*n)),
        value: Some(value.as_bytes()),
        ..RecordParts::default()
    }
}

fn to_end(start: StartAt) -> ConsumerConfig {
    ConsumerConfig {
        follow: false,
        reply_max_bytes: 4096,
        ..ConsumerConfig::new(TOPIC, start)
    }
}

/// Numbers and offsets of the remaining records.
async fn drain(consumer: &mut Consumer) -> Vec<(u32, u64)> {
    let mut found = Vec::new();
    while let Some(consumed) = consumer.next().await.unwrap() {
        let value = consumed.record.value.unwrap();
        let number = std::str::from_utf8(&value).unwrap().parse().unwrap();
        found.push((number, consumed.offset.get()));
    }
    found
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<(u32, u64)> {
    numbers.map(|n| (n, u64::from(n))).collect()
}

#[tokio::test]
async fn a_partition_is_read_to_its_end() {
    let cluster = Cluster::start(2, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..500).await;
    let mut consumer = client.consumer(to_end(StartAt::Earliest)).await.unwrap();
    fill(&client, 0, 500..510).await;
    assert_eq!(
        drain(&mut consumer).await,
        numbered(0..500),
        "the end is determined at the start"
    );
    assert_eq!(consumer.positions(), [(PartitionId(0), Offset(500))]);
    let mut empty = client.consumer(to_end(StartAt::Latest)).await.unwrap();
    assert!(empty.next().await.unwrap().is_none());
}

#[tokio::test]
async fn reading_starts_inside_a_batch_or_at_a_timestamp() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..100).await;
    let mut consumer = client
        .consumer(to_end(StartAt::Offset(Offset(57))))
        .await
        .unwrap();
    assert_eq!(drain(&mut consumer).await, numbered(57..100));
    let mut consumer = client
        .consumer(to_end(StartAt::Timestamp(57)))
        .await
        .unwrap();
    let found = drain(&mut consumer).await;
    assert!(
        (40..=57).contains(&found[0].0),
        "{:?} is not the batch of 57",
        found[0]
    );
    assert_eq!(found.last(), Some(&(99, 99)));
    let mut consumer = client
        .consumer(to_end(StartAt::Timestamp(1000)))
        .await
        .unwrap();
    assert!(drain(&mut consumer).await.is_empty());
}

#[tokio::test]
async fn all_or_selected_partitions_are_read() {
    let cluster = Cluster::start(3, 4);
    let client = cluster.client().await;
    for partition in 0..4 {
        fill(&client, partition, 0..50).await;
    }
    let mut consumer = client.consumer(to_end(StartAt::Earliest)).await.unwrap();
    let mut counts = [0; 4];
    while let Some(batch) = consumer.next_batch().await.unwrap() {
        let at = batch.partition().get() as usize;
        for record in batch.iter() {
            let (offset, record) = record.unwrap();
            assert_eq!(offset.get(), counts[at]);
            assert_eq!(record.timestamp_ms, i64::try_from(counts[at]).unwrap());
            counts[at] += 1;
        }
    }
    assert_eq!(counts, [50; 4]);
    let mut config = to_end(StartAt::Earliest);
    config.partitions = vec![PartitionId(2), PartitionId(3)];
    config
        .start_overrides
        .insert(PartitionId(3), StartAt::Offset(Offset(40)));
    let mut consumer = client.consumer(config).await.unwrap();
    assert_eq!(drain(&mut consumer).await.len(), 60);
    let config = ConsumerConfig {
        partitions: vec![PartitionId(9)],
        ..to_end(StartAt::Earliest)
    };
    let error = client.consumer(config).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::UnknownPartition));
}

#[tokio::test]
async fn a_following_consumer_gets_new_records() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..10).await;
    let config = ConsumerConfig::new(TOPIC, StartAt::Latest);
    let mut consumer = client.consumer(config).await.unwrap();
    assert!(
        timeout(Duration::from_millis(100), consumer.next())
            .await
            .is_err()
    );
    fill(&client, 0, 10..13).await;
    for n in 10..13 {
        assert_eq!(consumer.next().await.unwrap().unwrap().offset.get(), n);
    }
}

#[tokio::test]
async fn dropped_futures_lose_no_record() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    let mut consumer = client
        .consumer(ConsumerConfig::new(TOPIC, StartAt::Earliest))
        .await
        .unwrap();
    let filling = tokio::spawn({
        let client = client.clone();
        async move { fill(&client, 0, 0..300).await }
    });
    let mut next = 0;
    while next < 300 {
        if let Ok(consumed) = timeout(Duration::from_micros(200), consumer.next()).await {
            assert_eq!(consumed.unwrap().unwrap().offset.get(), next);
            next += 1;
        }
    }
    filling.await.unwrap();
}

#[tokio::test]
async fn broken_streams_and_corrupt_batches_are_read_again() {
    let cluster = Cluster::start(2, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..1000).await;
    let faults = [
        ReadFault::None,
        ReadFault::Drop,
        ReadFault::None,
        ReadFault::Corrupt,
    ];
    cluster
        .state()
        .read_faults
        .extend(faults.iter().cycle().take(16));
    let mut consumer = client.consumer(to_end(StartAt::Earliest)).await.unwrap();
    assert_eq!(drain(&mut consumer).await, numbered(0..1000));
    assert!(cluster.state().read_faults.is_empty());
}

#[tokio::test]
async fn a_newer_reason_is_retried_if_it_says_so_and_else_reaches_the_caller() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..100).await;
    let newer = |retryable| ReadFault::Newer { retryable };
    cluster.state().read_faults.extend([newer(true); 2]);
    let mut consumer = client.consumer(to_end(StartAt::Earliest)).await.unwrap();
    assert_eq!(drain(&mut consumer).await, numbered(0..100));
    cluster.state().read_faults.push_back(newer(false));
    let mut consumer = client.consumer(to_end(StartAt::Earliest)).await.unwrap();
    let error = consumer.next().await.unwrap_err();
    assert_eq!(error.to_string(), "not today (OF_A_LATER_VERSION)");
    let reason = error.received_reason().unwrap();
    assert_eq!((reason.code(), reason.is_retryable()), (8, false));
}

#[tokio::test]
async fn persistent_corruption_is_an_error_and_never_returned() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..100).await;
    cluster.state().read_faults.extend([ReadFault::Corrupt; 20]);
    let mut consumer = client.consumer(to_end(StartAt::Earliest)).await.unwrap();
    let error = consumer.next().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BatchCorrupt));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_follows_the_leader() {
    let mut cluster = Cluster::start(3, 1);
    let client = cluster.client().await;
    let config = ConsumerConfig::new(TOPIC, StartAt::Earliest);
    let mut consumer = client.consumer(config).await.unwrap();
    let mut next = 0;
    for round in 0..3_u32 {
        fill(&client, 0, round * 50..(round + 1) * 50).await;
        for _ in 0..50 {
            assert_eq!(consumer.next().await.unwrap().unwrap().offset.get(), next);
            next += 1;
        }
        cluster.state().move_leader(TOPIC, 0);
        if round == 1 {
            cluster.kill(1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_leaves_a_leader_that_hangs() {
    let cluster = Cluster::start(3, 1);
    let client = cluster.client().await;
    let config = ConsumerConfig::new(TOPIC, StartAt::Earliest);
    let mut consumer = client.consumer(config).await.unwrap();
    fill(&client, 0, 0..1).await;
    assert_eq!(consumer.next().await.unwrap().unwrap().offset.get(), 0);
    let _hung = cluster.hang(0);
    cluster.state().move_leader(TOPIC, 0);
    let other = cluster.client().await;
    let filling = fill(&other, 0, 1..2);
    let reading = timeout(Duration::from_secs(6), consumer.next());
    let (read, ()) = tokio::join!(reading, filling);
    let record = read.expect("the consumer went to the new leader");
    assert_eq!(record.unwrap().unwrap().offset.get(), 1);
}

#[tokio::test]
async fn a_consumer_leaves_a_node_that_forwards() {
    let cluster = Cluster::start(2, 1);
    cluster.state().forwards_reads = true;
    let client = cluster.client().await;
    let config = ConsumerConfig::new(TOPIC, StartAt::Earliest);
    let mut consumer = client.consumer(config).await.unwrap();
    for round in 0..3_u32 {
        fill(&client, 0, round * 5..(round + 1) * 5).await;
        for n in round * 5..(round + 1) * 5 {
            let offset = consumer.next().await.unwrap().unwrap().offset;
            assert_eq!(offset.get(), u64::from(n));
        }
        if round == 0 {
            cluster.state().move_leader(TOPIC, 0);
        }
    }
    assert_eq!(
        cluster.state().served_by.len(),
        2,
        "the new leader served no reads"
    );
}

#[tokio::test]
async fn an_offset_outside_the_log_fails_with_the_valid_range_or_is_reset() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..100).await;
    {
        let mut state = cluster.state();
        let partition = state.partition(TOPIC, 0).unwrap();
        partition.log.drain(..4);
        partition.start = partition.log[0].base_offset;
    }
    let start = cluster.state().partition(TOPIC, 0).unwrap().start;
    let config = |out_of_range| ConsumerConfig {
        out_of_range,
        ..to_end(StartAt::Offset(Offset(1)))
    };
    let mut consumer = client.consumer(config(OutOfRange::Error)).await.unwrap();
    let error = consumer.next().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OffsetOutOfRange));
    assert_eq!(error.valid_offsets(), Some((Offset(start), Offset(100))));
    let mut consumer = client.consumer(config(OutOfRange::Earliest)).await.unwrap();
    assert_eq!(
        drain(&mut consumer)
            .await
            .first()
            .map(|(_, offset)| *offset),
        Some(start)
    );
    let mut consumer = client.consumer(config(OutOfRange::Latest)).await.unwrap();
    assert!(drain(&mut consumer).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_does_not_read_applies_backpressure() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..200).await;
    {
        // 64 MiB of log from a few batches.
        let mut state = cluster.state();
        let partition = state.partition(TOPIC, 0).unwrap();
        let first = partition.log.clone();
        while partition.log.iter().map(|b| b.data.len()).sum::<usize>() < 64 * 1024 * 1024 {
            for mut again in first.clone() {
                again.base_offset = partition.end();
                partition.log.push(again);
            }
        }
    }
    let total: u64 = cluster.state().partition(TOPIC, 0).unwrap().end();
    let config = ConsumerConfig {
        reply_max_bytes: 256 * 1024,
        ..to_end(StartAt::Earliest)
    };
    let mut consumer = client.consumer(config).await.unwrap();
    let mut read = u64::from(consumer.next_batch().await.unwrap().unwrap().record_count());
    let served = || cluster.state().served_bytes;
    let mut before = served();
    let stalled = until("the node stops serving", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = served();
        (std::mem::replace(&mut before, now) == now).then_some(now)
    });
    assert!(
        stalled < 12 * 1024 * 1024,
        "{stalled} bytes for a consumer that does not read"
    );
    while let Some(batch) = consumer.next_batch().await.unwrap() {
        read += u64::from(batch.record_count());
    }
    assert_eq!(read, total);
}

#[tokio::test]
async fn partitions_added_later_are_read_too() {
    let cluster = Cluster::start(1, 1);
    let mut config = cluster.config();
    config.metadata_max_age = Duration::from_millis(30);
    let client = Client::connect(config).await.unwrap();
    let mut consumer = client
        .consumer(ConsumerConfig::new(TOPIC, StartAt::Latest))
        .await
        .unwrap();
    let new = crate::fake::Partition {
        leader: Some(0),
        epoch: 1,
        ..Default::default()
    };
    cluster.state().topics.get_mut(TOPIC).unwrap().push(new);
    let other = cluster.client().await;
    fill(&other, 1, 0..5).await;
    let first = timeout(Duration::from_secs(10), consumer.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((first.partition, first.offset), (PartitionId(1), Offset(0)));
}

#[tokio::test]
async fn a_partition_without_progress_times_out() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..10).await;
    let retry_timeout = Duration::from_millis(200);
    let config = ConsumerConfig {
        retry_timeout,
        ..ConsumerConfig::new(TOPIC, StartAt::Earliest)
    };
    let mut consumer = client.consumer(config).await.unwrap();
    cluster.state().partition(TOPIC, 0).unwrap().leader = None;
    let error = consumer.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
    assert_eq!(error.reason(), Some(Reason::NoLeader));
}
