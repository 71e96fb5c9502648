//! The two kinds of batches of JetStream (ADR-50): fast ingest with flow control by the server, and
//! atomic batches of at most 1000 records.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::options::LoadArgs;
use super::publish::CHUNK_BYTES;
use super::stream::Target;
use super::wire::{self, Reader, put_publish, put_with_headers};
use crate::measure::{InFlight, Measured, Window, payload};

/// Records of an atomic batch, the limit of the server.
const ATOMIC_RECORDS: u64 = 1000;
/// Outstanding flow acknowledgements, as recommended by ADR-50.
const FLOW_ACKS: u64 = 2;
/// Maximum number of records per flow acknowledgement. The server may choose fewer.
const FLOW_RECORDS: u64 = 2000;

/// Publishes one fast-ingest batch for the whole duration, in the mode without gaps.
pub(crate) async fn fast_ingest(target: &Target, load: LoadArgs) -> Result<Measured> {
    let (reader, mut writer) = wire::connect(target.leader).await?;
    let prefix = format!("{}.batch", wire::inbox("f"));
    writer.subscribe(&format!("{prefix}.>")).await?;
    let window = Window::new(1);
    let acks = tokio::spawn(follow_flow(reader, window.clone()));

    let body = payload(load.record_bytes);
    let started = Instant::now();
    let mut out = Vec::with_capacity(CHUNK_BYTES + body.len() + 256);
    let mut sent = 0_u64;
    while started.elapsed() < load.duration() {
        ensure!(!acks.is_finished(), "batch ended early: {:?}", acks.await);
        let room = window.room(sent).await?;
        for _ in 0..room {
            sent += 1;
            window.sent(sent);
            let operation = u8::from(sent > 1);
            let reply = format!("{prefix}.{FLOW_RECORDS}.fail.{sent}.{operation}.$FI");
            put_publish(&mut out, &target.subject, &reply, &body);
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        writer.send(&out).await?;
        out.clear();
    }
    sent += 1;
    window.sent(sent);
    let reply = format!("{prefix}.{FLOW_RECORDS}.fail.{sent}.2.$FI");
    writer.publish(&target.subject, &reply, &body).await?;
    let stored = acks.await??;
    let elapsed = started.elapsed();
    ensure!(
        stored == sent,
        "batch has stored {stored} of {sent} records"
    );
    Ok(Measured::of(
        sent,
        load.record_bytes,
        elapsed,
        &window.latencies(),
    ))
}

/// Handles flow acknowledgements until the batch is acknowledged, and returns the number of stored
/// records.
async fn follow_flow(mut reader: Reader, window: Window) -> Result<u64> {
    loop {
        let ack = reader.next().await?;
        let ack: Value = serde_json::from_slice(&ack.payload)?;
        let kind = ack["type"].as_str().unwrap_or("");
        match (kind, ack["seq"].as_u64(), ack["count"].as_u64()) {
            ("ack", Some(sequence), _) => {
                let flow = ack["msgs"].as_u64().unwrap_or(1).max(1);
                window.set_size(flow * FLOW_ACKS);
                window.acked(InFlight::UpTo(sequence), true);
            }
            ("", _, Some(count)) if ack.get("error").is_none() => {
                window.acked(InFlight::UpTo(count), true);
                return Ok(count);
            }
            _ => bail!("server rejected the batch: {ack}"),
        }
    }
}

/// Publishes atomic batches, four in flight, each acknowledged as a whole.
pub(crate) async fn atomic(target: &Target, load: LoadArgs) -> Result<Measured> {
    let (reader, mut writer) = wire::connect(target.leader).await?;
    let inbox = wire::inbox("a");
    writer.subscribe(&format!("{inbox}.*")).await?;
    let window = Window::new(4);
    let acks = tokio::spawn(count_batches(reader, window.clone(), inbox.len() + 1));

    let body = payload(load.record_bytes);
    let started = Instant::now();
    let mut batches = 0_u64;
    while started.elapsed() < load.duration() {
        ensure!(!acks.is_finished(), "batch failed: {:?}", acks.await);
        window.room(batches).await?;
        batches += 1;
        window.sent(batches);
        writer
            .send(&atomic_batch(&target.subject, &inbox, batches, &body))
            .await?;
    }
    window.finish(batches).await?;
    let elapsed = started.elapsed();
    acks.abort();
    Ok(Measured::of(
        batches * ATOMIC_RECORDS,
        load.record_bytes,
        elapsed,
        &window.latencies(),
    ))
}

fn atomic_batch(subject: &str, inbox: &str, batch: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1000 * (body.len() + 160));
    let id = format!("{}-{batch}", inbox.trim_start_matches("_INBOX."));
    for sequence in 1..=ATOMIC_RECORDS {
        let is_last = sequence == ATOMIC_RECORDS;
        let commit = if is_last {
            "Nats-Batch-Commit:1\r\n"
        } else {
            ""
        };
        let reply = match (sequence == 1, is_last) {
            (true, _) => format!("{inbox}.first"),
            (_, true) => format!("{inbox}.{batch}"),
            _ => String::new(),
        };
        let headers = format!(
            "NATS/1.0\r\nNats-Batch-Id:{id}\r\nNats-Batch-Sequence:{sequence}\r\n{commit}\r\n"
        );
        put_with_headers(&mut out, subject, &reply, &headers, body);
    }
    out
}

async fn count_batches(mut reader: Reader, window: Window, prefix_bytes: usize) -> Result<()> {
    loop {
        let ack = reader.next().await?;
        let number = ack.subject.get(prefix_bytes..).unwrap_or_default();
        let is_error = ack.payload.starts_with(b"{\"error\"");
        ensure!(!is_error, "{}", String::from_utf8_lossy(&ack.payload));
        let Ok(batch) = std::str::from_utf8(number).unwrap_or_default().parse() else {
            continue;
        };
        window.acked(InFlight::One(batch), true);
    }
}
