//! A producer that writes to all partitions at a steady rate, whatever fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lograft_client::{Client, PartitionId, ProducerConfig, RecordParts};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::member::TOPIC;

/// A running producer.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<Result<BTreeMap<u32, u64>>>,
}

impl Load {
    /// Writes `rate` records a second, each partition in turn.
    pub(crate) fn start(client: Client, partitions: u32, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn(write(client, partitions, rate, Arc::clone(&stop)));
        Self { stop, writing }
    }

    /// Stops. Returns the end of each partition, by what was acknowledged.
    pub(crate) async fn finish(self) -> Result<BTreeMap<u32, u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await?
    }
}

async fn write(
    client: Client,
    partitions: u32,
    rate: u32,
    stop: Arc<AtomicBool>,
) -> Result<BTreeMap<u32, u64>> {
    let producer = client.producer(ProducerConfig::default()).await?;
    let topic = producer.topic(TOPIC).await?;
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut deliveries = JoinSet::new();
    let mut number: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let partition = PartitionId(u32::try_from(number % u64::from(partitions))?);
        let value = number.to_string();
        let record = RecordParts {
            value: Some(value.as_bytes()),
            ..RecordParts::default()
        };
        for delivery in topic.send_many(vec![record], Some(partition)).await? {
            deliveries.spawn(delivery);
        }
        number += 1;
    }
    let (mut ends, mut count) = (BTreeMap::new(), 0);
    while let Some(delivery) = deliveries.join_next().await {
        let stored = delivery??;
        let end = ends.entry(stored.partition.get()).or_insert(0);
        let base = stored.base_offset.context("a record has no offset")?;
        let next = base.get() + u64::from(stored.record_count);
        *end = next.max(*end);
        count += u64::from(stored.record_count);
    }
    // Nothing else writes to the topic, and nothing is stored twice.
    let total: u64 = ends.values().sum();
    ensure!(
        total == count,
        "{count} records were acknowledged, the log has {total}"
    );
    Ok(ends)
}
