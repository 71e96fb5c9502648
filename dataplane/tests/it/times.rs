//! Positions by time over restarts: several segments, timestamps in any order, retention.

use lograft_core::{BatchBuilder, Compression};
use lograft_node::clock::{Clock, SystemClock};
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1 as log;

use crate::cluster::{Cluster, eventually};

/// The records of each batch.
const RECORDS: usize = 10;

/// The timestamps of batch `nth`: they rise from batch to batch and fall within each, and each
/// seventh batch is late.
fn times_of(nth: usize, start_ms: i64) -> Vec<i64> {
    let nth = i64::try_from(nth).unwrap();
    let late = if nth % 7 == 3 { 9000 } else { 0 };
    let falling = (0..10).map(|n| 100 * (10 - n));
    falling
        .map(|within| start_ms + 300 * nth + late + within)
        .collect()
}

fn batch(times: &[i64], nth: usize) -> log::ProduceRequest {
    let compression = match nth % 3 {
        0 => Compression::None,
        1 => Compression::Lz4,
        _ => Compression::Zstd,
    };
    let mut builder = BatchBuilder::new(compression);
    let mut state = nth as u64 + 1;
    for time_ms in times {
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        // Half of it is compressible.
        let mut value: Vec<u8> = words.take(1500).flatten().collect();
        value.resize(24_000, 0);
        builder
            .push_parts(*time_ms, None, Some(&value), [])
            .unwrap();
    }
    let batch = builder.finish().unwrap();
    log::ProduceRequest {
        topic: "t".to_owned(),
        batch: Some(log::EncodedBatch {
            data: batch.bytes,
            crc32c: batch.crc32c,
            record_count: batch.record_count,
        }),
        ..log::ProduceRequest::default()
    }
}

async fn offsets(cluster: &Cluster, timestamp_ms: i64) -> log::PartitionOffsets {
    let request = log::ListOffsetsRequest {
        topic: "t".to_owned(),
        timestamp_ms: Some(timestamp_ms),
        ..log::ListOffsetsRequest::default()
    };
    let reply = cluster.log(0).list_offsets(request).await.unwrap();
    let found = reply.into_inner().partitions.remove(0);
    assert_eq!(found.error, None);
    found
}

/// The offset of the first record that a read from the time returns.
async fn read_from(cluster: &Cluster, timestamp_ms: i64) -> Option<u64> {
    let at = Some(log::position::At::TimestampMs(timestamp_ms));
    let request = log::FetchRequest {
        topic: "t".to_owned(),
        position: Some(log::Position { at }),
        max_bytes: 1,
        ..log::FetchRequest::default()
    };
    let reply = cluster.log(0).fetch(request).await.unwrap();
    let records = reply.into_inner().records;
    records.first().map(|record| record.offset)
}

/// The offset found for a time, twice, with the start of the log, which retention may move meanwhile.
async fn found_from(cluster: &Cluster, time_ms: i64) -> (usize, [Option<u64>; 2]) {
    loop {
        let found = offsets(cluster, time_ms).await;
        let read = read_from(cluster, time_ms).await;
        let log_start = offsets(cluster, time_ms).await.log_start_offset;
        if log_start == found.log_start_offset {
            let log_start = usize::try_from(log_start).unwrap();
            return (log_start, [found.offset_at_timestamp, read]);
        }
    }
}

/// Compares each time in steps with a scan of the timestamps of all records.
async fn check(cluster: &Cluster, times: &[i64]) {
    assert!(offsets(cluster, 0).await.log_start_offset > 0);
    let (first, last) = (times[0], times.iter().max().unwrap() + 300);
    for time_ms in (first - 300..last).step_by(250) {
        let (log_start, found) = found_from(cluster, time_ms).await;
        let mut readable = times.iter().enumerate().skip(log_start);
        let expected = readable.find(|(_, found)| **found >= time_ms);
        let expected = expected.map(|(offset, _)| offset as u64);
        let after_ms = time_ms - first;
        assert_eq!(found, [expected; 2], "{after_ms} ms after the first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_is_found_as_by_a_scan_before_and_after_a_restart() {
    let mut cluster = Cluster::of(1).await;
    let request = admin::CreateTopicRequest {
        name: "t".to_owned(),
        retention: Some(admin::Retention {
            bytes: Some(3 << 20),
            ms: None,
        }),
        timeout_ms: 30_000,
        ..admin::CreateTopicRequest::default()
    };
    cluster.admin(0).create_topic(request).await.unwrap();
    let start_ms = SystemClock.now_ms() - 3_600_000;
    let mut times = Vec::new();
    for nth in 0..40 {
        let added = times_of(nth, start_ms);
        assert_eq!(added.len(), RECORDS);
        cluster.log(0).produce(batch(&added, nth)).await.unwrap();
        times.extend(added);
    }
    eventually("the retention to delete records", async || {
        (offsets(&cluster, 0).await.log_start_offset > 0).then_some(())
    })
    .await;
    check(&cluster, &times).await;
    cluster.stop(0).await;
    cluster.restart(0).await;
    cluster.ready(0).await;
    check(&cluster, &times).await;
}
