//! The same loads through NATS's official client for Rust, as its users write them.

use std::time::Instant;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Stream;
use super::stream::Target;
use crate::measure::{Measured, histogram, micros, payload};

async fn connect(target: &Target) -> Result<Context> {
    let client = async_nats::connect(format!("nats://{}", target.leader)).await?;
    Ok(jetstream::new(client))
}

/// Asynchronous publishing: acknowledgements are waited for beside the sending.
pub(crate) async fn publish(target: &Target, load: Stream) -> Result<Measured> {
    let context = connect(target).await?;
    let in_flight = usize::try_from(load.in_flight)?;
    let (sent, mut acks) = mpsc::channel(in_flight);
    let counting = tokio::spawn(async move {
        let mut latencies = histogram();
        while let Some((at, ack)) = acks.recv().await {
            let ack: jetstream::context::PublishAckFuture = ack;
            ack.await?;
            let at: Instant = at;
            latencies.record(micros(at.elapsed()))?;
        }
        anyhow::Ok(latencies)
    });
    let body = Bytes::from(payload(load.record_bytes));
    let begin = Instant::now();
    while begin.elapsed() < load.length() {
        // The channel's room is the window.
        let room = sent.reserve().await.context("acks are missing")?;
        let now = Instant::now();
        let ack = context
            .publish(target.subject.clone(), body.clone())
            .await?;
        room.send((now, ack));
    }
    drop(sent);
    let latencies = counting.await??;
    Ok(measured(&latencies, load, begin))
}

/// Producers that share a connection, each with one record under way.
pub(crate) async fn single(target: &Target, producers: u32, load: Stream) -> Result<Measured> {
    let context = connect(target).await?;
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..producers {
        tasks.spawn(one_by_one(context.clone(), target.subject.clone(), load));
    }
    let mut latencies = histogram();
    while let Some(done) = tasks.join_next().await {
        latencies.add(done??)?;
    }
    Ok(measured(&latencies, load, begin))
}

async fn one_by_one(context: Context, subject: String, load: Stream) -> Result<Histogram<u64>> {
    let body = Bytes::from(payload(load.record_bytes));
    let mut latencies = histogram();
    let begin = Instant::now();
    while begin.elapsed() < load.length() {
        let sent = Instant::now();
        context
            .publish(subject.clone(), body.clone())
            .await?
            .await?;
        latencies.record(micros(sent.elapsed()))?;
    }
    Ok(latencies)
}

fn measured(latencies: &Histogram<u64>, load: Stream, begin: Instant) -> Measured {
    Measured::of(
        latencies.len(),
        load.record_bytes,
        begin.elapsed(),
        latencies,
    )
}
