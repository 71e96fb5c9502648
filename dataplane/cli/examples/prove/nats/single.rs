//! One record at a time: each producer waits for the acknowledgement before it sends the next.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::options::LoadArgs;
use super::stream::Target;
use super::wire;
use crate::measure::{Measured, histogram, micros, payload};

/// Runs the producers concurrently.
pub(crate) async fn run(target: &Target, producers: u32, load: LoadArgs) -> Result<Measured> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..producers {
        tasks.spawn(produce(target.leader, target.subject.clone(), load));
    }
    let mut latencies = histogram();
    while let Some(done) = tasks.join_next().await {
        latencies.add(done??)?;
    }
    Ok(Measured::of(
        latencies.len(),
        load.record_bytes,
        started.elapsed(),
        &latencies,
    ))
}

async fn produce(server: SocketAddr, subject: String, load: LoadArgs) -> Result<Histogram<u64>> {
    let (mut reader, mut writer) = wire::connect(server).await?;
    let inbox = wire::inbox("s");
    writer.subscribe(&inbox).await?;
    let body = payload(load.record_bytes);
    let mut latencies = histogram();
    let started = Instant::now();
    while started.elapsed() < load.duration() {
        let sent = Instant::now();
        writer.publish(&subject, &inbox, &body).await?;
        let ack = reader.next().await?;
        let text = String::from_utf8_lossy(&ack.payload);
        ensure!(text.starts_with("{\"stream\""), "publish failed: {text}");
        latencies.record(micros(sent.elapsed()))?;
    }
    Ok(latencies)
}
