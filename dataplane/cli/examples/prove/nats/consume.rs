//! Reads a stream from its start with a pull consumer without acknowledgements and two outstanding
//! pulls.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::stream::{Target, call};
use super::wire;
use crate::measure::{Measured, histogram};

/// Number of records per pull.
const PULL_RECORDS: u64 = 5000;

/// Reads for the duration or to the end of the stream.
pub(crate) async fn run(target: &Target, seconds: u64) -> Result<Measured> {
    let stream = &target.stream;
    let consumer = format!("reader{}", std::process::id());
    let config = json!({ "stream_name": stream, "config": {
        "name": consumer, "deliver_policy": "all", "ack_policy": "none", "mem_storage": true,
        "num_replicas": 1, "inactive_threshold": 60_000_000_000_u64,
    }});
    let created = call(
        target.leader,
        &format!("CONSUMER.CREATE.{stream}.{consumer}"),
        &config,
    )
    .await?;
    let pending = created["num_pending"]
        .as_u64()
        .context("reply has no num_pending")?;

    let (mut reader, mut writer) = wire::connect(target.leader).await?;
    let inbox = wire::inbox("c");
    writer.subscribe(&inbox).await?;
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    let pull =
        serde_json::to_vec(&json!({ "batch": PULL_RECORDS, "expires": 30_000_000_000_u64 }))?;
    let (started, length) = (Instant::now(), Duration::from_secs(seconds));
    writer.publish(&subject, &inbox, &pull).await?;
    writer.publish(&subject, &inbox, &pull).await?;
    let (mut records, mut bytes) = (0_u64, 0_usize);
    while records < pending && started.elapsed() < length {
        let delivery = reader.next().await?;
        if delivery.status().is_some() {
            continue;
        }
        records += 1;
        bytes += delivery.payload.len();
        if records.is_multiple_of(PULL_RECORDS) {
            writer.publish(&subject, &inbox, &pull).await?;
        }
    }
    let record_bytes = bytes / usize::try_from(records.max(1))?;
    Ok(Measured::of(
        records,
        record_bytes,
        started.elapsed(),
        &histogram(),
    ))
}
