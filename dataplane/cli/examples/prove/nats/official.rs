//! Loads with the official NATS client for Rust, written as its users would.

use std::time::Instant;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::options::LoadArgs;
use super::stream::Target;
use crate::measure::{Measured, histogram, micros, payload};

async fn connect(target: &Target) -> Result<Context> {
    let client = async_nats::connect(format!("nats://{}", target.leader)).await?;
    Ok(jetstream::new(client))
}

/// Publishes asynchronously: a separate task waits for acknowledgements.
pub(crate) async fn publish(target: &Target, load: LoadArgs) -> Result<Measured> {
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
    let started = Instant::now();
    while started.elapsed() < load.duration() {
        // The capacity of the channel is the window.
        let room = sent.reserve().await.context("acknowledgement task ended")?;
        let now = Instant::now();
        let ack = context
            .publish(target.subject.clone(), body.clone())
            .await?;
        room.send((now, ack));
    }
    drop(sent);
    let latencies = counting.await??;
    Ok(measured(&latencies, load, started))
}

/// Runs producers that share a connection, each with one record in flight.
pub(crate) async fn single(target: &Target, producers: u32, load: LoadArgs) -> Result<Measured> {
    let context = connect(target).await?;
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..producers {
        tasks.spawn(one_by_one(context.clone(), target.subject.clone(), load));
    }
    let mut latencies = histogram();
    while let Some(done) = tasks.join_next().await {
        latencies.add(done??)?;
    }
    Ok(measured(&latencies, load, started))
}

async fn one_by_one(context: Context, subject: String, load: LoadArgs) -> Result<Histogram<u64>> {
    let body = Bytes::from(payload(load.record_bytes));
    let mut latencies = histogram();
    let started = Instant::now();
    while started.elapsed() < load.duration() {
        let sent = Instant::now();
        context
            .publish(subject.clone(), body.clone())
            .await?
            .await?;
        latencies.record(micros(sent.elapsed()))?;
    }
    Ok(latencies)
}

fn measured(latencies: &Histogram<u64>, load: LoadArgs, started: Instant) -> Measured {
    Measured::of(
        latencies.len(),
        load.record_bytes,
        started.elapsed(),
        latencies,
    )
}
