//! Clocks that are wrong: those of clients, and that of a leader.

use std::time::Duration;

use bytes::Bytes;
use lograft_core::Reason;
use lograft_core::limits::CLOCK_DIFFERENCE_MAX_MS;
use lograft_node::clock::{Clock, SystemClock};
use lograft_proto::admin::v1 as admin;
use lograft_proto::admin::v1::topic_setting::Value;
use lograft_proto::log::v1 as log;
use tonic::Status;

use crate::cluster::{Cluster, eventually};
use crate::control::reason;

const YEAR_MS: i64 = 365 * 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Some rounds of the control loop, which applies the retention.
const ROUNDS: Duration = Duration::from_secs(4);

async fn create(cluster: &Cluster, (name, replicas): (&str, u32), settings: &[(&str, u64)]) {
    let setting = |(key, number): &(&str, u64)| admin::TopicSetting {
        key: (*key).to_owned(),
        value: Some(Value::Number(*number)),
    };
    let request = admin::CreateTopicRequest {
        name: name.to_owned(),
        partitions: 1,
        replication_factor: replicas,
        timeout_ms: 30_000,
        settings: settings.iter().map(setting).collect(),
        ..admin::CreateTopicRequest::default()
    };
    let reply = cluster.admin(0).create_topic(request).await.unwrap();
    assert!(reply.into_inner().ready);
}

async fn produce(
    cluster: &Cluster,
    topic: &str,
    timestamp_ms: i64,
) -> Result<log::ProduceReply, Status> {
    let record = log::Record {
        value: Some(Bytes::from_static(b"v")),
        timestamp_ms: Some(timestamp_ms),
        ..log::Record::default()
    };
    let request = log::ProduceRequest {
        topic: topic.to_owned(),
        records: vec![record],
        timeout_ms: 5000,
        ..log::ProduceRequest::default()
    };
    Ok(cluster.log(0).produce(request).await?.into_inner())
}

async fn offsets(cluster: &Cluster, topic: &str) -> log::PartitionOffsets {
    eventually("the offsets", async || {
        let request = log::ListOffsetsRequest {
            topic: topic.to_owned(),
            ..log::ListOffsetsRequest::default()
        };
        let reply = cluster.log(0).list_offsets(request).await.ok()?;
        let offsets = reply.into_inner().partitions.pop()?;
        offsets.error.is_none().then_some(offsets)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timestamps_of_clients_neither_expire_nor_retain_records() {
    let cluster = Cluster::of(1).await;
    let now_ms = SystemClock.now_ms();
    create(&cluster, ("kept", 1), &[("retention.ms", 60_000)]).await;
    // Not set, in seconds, two hours old.
    for timestamp_ms in [0, now_ms / 1000, now_ms - 2 * HOUR_MS] {
        produce(&cluster, "kept", timestamp_ms).await.unwrap();
    }
    // In microseconds, of the year 2100.
    let late = [now_ms * 1000, 4_102_444_800_000];
    for timestamp_ms in late {
        let refused = produce(&cluster, "kept", timestamp_ms).await.unwrap_err();
        assert_eq!(reason(&refused), Some(Reason::InvalidTimestamp));
        assert!(refused.message().contains("timestamp.after.max.ms"));
    }
    let settings = [
        ("retention.ms", 1000),
        ("timestamp.after.max.ms", u64::MAX),
        ("timestamp.before.max.ms", 60_000),
    ];
    create(&cluster, ("short", 1), &settings).await;
    for timestamp_ms in late {
        produce(&cluster, "short", timestamp_ms).await.unwrap();
    }
    let refused = produce(&cluster, "short", 0).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidTimestamp));
    eventually("the records of late times to expire", async || {
        let start = offsets(&cluster, "short").await.log_start_offset;
        (start == 2).then_some(())
    })
    .await;
    tokio::time::sleep(ROUNDS).await;
    let kept = offsets(&cluster, "kept").await;
    assert_eq!((kept.log_start_offset, kept.high_watermark), (0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_jumps_expires_nothing_and_is_named() {
    let cluster = Cluster::of(3).await;
    cluster.healthy(0, 3).await;
    create(&cluster, ("kept", 3), &[("retention.ms", 60_000)]).await;
    let first = eventually("a produce", async || {
        produce(&cluster, "kept", SystemClock.now_ms()).await.ok()
    })
    .await;
    let described = cluster.describe(0).await;
    let leader = described.partitions[0].leader_node.unwrap();
    let mut places = [0, 1, 2].into_iter();
    let at = loop {
        let at = places.next().unwrap();
        if cluster.id_of(at).await == leader {
            break at;
        }
    };
    cluster.shift_clock(at, YEAR_MS);
    let later = produce(&cluster, "kept", SystemClock.now_ms())
        .await
        .unwrap();
    let bound = SystemClock.now_ms() + CLOCK_DIFFERENCE_MAX_MS + 1000;
    assert!(later.append_time_ms <= bound, "{later:?}");
    eventually("the node to be named", async || {
        let described = cluster.describe(0).await;
        let mut problems = described.problems.iter();
        let clock = problems.find(|problem| problem.kind == "CLOCK_OFF")?;
        assert_eq!(clock.node_id, Some(leader), "{clock:?}");
        assert!(!described.healthy);
        Some(())
    })
    .await;
    tokio::time::sleep(ROUNDS).await;
    let kept = offsets(&cluster, "kept").await;
    assert_eq!((kept.log_start_offset, kept.high_watermark), (0, 2));
    // Back again, with a time that is right: nothing goes back.
    cluster.shift_clock(at, 0);
    let last = produce(&cluster, "kept", SystemClock.now_ms())
        .await
        .unwrap();
    assert!(first.append_time_ms <= later.append_time_ms);
    assert!(later.append_time_ms <= last.append_time_ms);
}
