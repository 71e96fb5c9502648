//! Asynchronous publishing: every record has a reply subject for its acknowledgement.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::options::LoadArgs;
use super::stream::Target;
use super::wire::{self, Reader, put_publish};
use crate::measure::{InFlight, Measured, Window, payload};

/// Bytes to collect before a write to the socket.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// Publishes for the duration and waits for the last acknowledgement.
pub(crate) async fn run(target: &Target, load: LoadArgs) -> Result<Measured> {
    let (reader, mut writer) = wire::connect(target.leader).await?;
    let inbox = wire::inbox("p");
    writer.subscribe(&format!("{inbox}.*")).await?;
    let window = Window::new(load.in_flight);
    let acks = tokio::spawn(count_acks(reader, window.clone(), inbox.len() + 1));

    let body = payload(load.record_bytes);
    let started = Instant::now();
    let mut out = Vec::with_capacity(CHUNK_BYTES + body.len() + 256);
    let mut sent = 0_u64;
    while started.elapsed() < load.duration() {
        let room = window.room(sent).await?;
        for _ in 0..room {
            sent += 1;
            window.sent(sent);
            put_publish(&mut out, &target.subject, &format!("{inbox}.{sent}"), &body);
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        writer.send(&out).await?;
        out.clear();
    }
    window.finish(sent).await?;
    let elapsed = started.elapsed();
    acks.abort();
    ensure!(
        window.failed() * 100 <= sent,
        "{} of {sent} publishes failed",
        window.failed()
    );
    Ok(Measured::of(
        sent - window.failed(),
        load.record_bytes,
        elapsed,
        &window.latencies(),
    ))
}

/// Counts acknowledgements. The last part of their subject is the record number.
async fn count_acks(mut reader: Reader, window: Window, prefix_bytes: usize) -> Result<()> {
    loop {
        let ack = reader.next().await?;
        let number = ack.subject.get(prefix_bytes..).unwrap_or_default();
        let Ok(sequence) = std::str::from_utf8(number).unwrap_or_default().parse() else {
            continue;
        };
        let is_stored = ack.payload.starts_with(b"{\"stream\"");
        window.acked(InFlight::One(sequence), is_stored);
    }
}
