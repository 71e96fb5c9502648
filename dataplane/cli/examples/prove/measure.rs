//! Measurements of a load, and the window of requests in flight.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Slots for send times. Larger than any window.
const SLOTS: usize = 1 << 16;

/// A load fails after this time without an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Result of a load.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Number of records acknowledged or read.
    pub(crate) records: u64,
    /// Payload in bytes.
    pub(crate) bytes: u64,
    /// Seconds from the first send to the last acknowledgement.
    pub(crate) seconds: f64,
    /// Median latency in milliseconds; 0 if not measured.
    pub(crate) p50_ms: f64,
    /// 99th percentile of the latency in milliseconds.
    pub(crate) p99_ms: f64,
}

impl Measured {
    /// Computes the result from the counts and the latencies in microseconds.
    pub(crate) fn of(
        records: u64,
        record_bytes: usize,
        elapsed: Duration,
        latencies: &Histogram<u64>,
    ) -> Self {
        let ms = |quantile| to_f64(latencies.value_at_quantile(quantile)) / 1000.0;
        Self {
            records,
            bytes: records * u64::try_from(record_bytes).unwrap_or(0),
            seconds: elapsed.as_secs_f64(),
            p50_ms: ms(0.50),
            p99_ms: ms(0.99),
        }
    }

    /// Records per second.
    pub(crate) fn records_per_second(&self) -> f64 {
        to_f64(self.records) / self.seconds.max(1e-9)
    }

    /// Payload per second in 10^6 bytes.
    pub(crate) fn mb_per_second(&self) -> f64 {
        to_f64(self.bytes) / 1e6 / self.seconds.max(1e-9)
    }
}

/// Converts a count to `f64`: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Microseconds, rounded down.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An empty histogram of microseconds, with three digits, up to one hour.
pub(crate) fn histogram() -> Histogram<u64> {
    let bounds = Histogram::new_with_bounds(1, 3_600_000_000, 3);
    bounds.unwrap_or_else(|_| unreachable!("the bounds are constant and valid"))
}

/// Median of some numbers; 0 if there are none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Incompressible bytes, the same in every run.
pub(crate) fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

/// The requests that an acknowledgement is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InFlight {
    /// One request.
    One(u64),
    /// A request and all before it; 0 if the acknowledgement only changes the window size.
    UpTo(u64),
}

/// Limits the number of requests in flight and measures their latency. Requests are numbered
/// from 1.
#[derive(Clone, Debug)]
pub(crate) struct Window(Arc<WindowState>);

#[derive(Debug)]
struct WindowState {
    size: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
    changed: Notify,
    started: Instant,
    sent_micros: Vec<AtomicU64>,
    latencies: Mutex<Histogram<u64>>,
}

impl Window {
    /// A window of `size` requests.
    pub(crate) fn new(size: u64) -> Self {
        Self(Arc::new(WindowState {
            size: AtomicU64::new(size),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            changed: Notify::new(),
            started: Instant::now(),
            sent_micros: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            latencies: Mutex::new(histogram()),
        }))
    }

    /// Changes the window size.
    pub(crate) fn set_size(&self, size: u64) {
        self.0.size.store(size, Ordering::Relaxed);
    }

    /// Notes that request `number` is sent now.
    pub(crate) fn sent(&self, number: u64) {
        self.slot(number)
            .store(micros(self.0.started.elapsed()), Ordering::Relaxed);
    }

    /// Waits until the window has room and returns how many requests may be sent.
    pub(crate) async fn room(&self, sent: u64) -> Result<u64> {
        loop {
            let changed = self.0.changed.notified();
            let in_flight = sent.saturating_sub(self.0.acked.load(Ordering::Acquire));
            let room = self
                .0
                .size
                .load(Ordering::Relaxed)
                .saturating_sub(in_flight);
            if room > 0 {
                return Ok(room);
            }
            tokio::time::timeout(ACK_TIMEOUT, changed)
                .await
                .context("timed out waiting for acknowledgements")?;
        }
    }

    /// Notes an acknowledgement.
    pub(crate) fn acked(&self, which: InFlight, is_stored: bool) {
        let number = match which {
            InFlight::One(number) => {
                self.0.acked.fetch_add(1, Ordering::AcqRel);
                number
            }
            InFlight::UpTo(number) => {
                self.0.acked.store(number, Ordering::Release);
                number
            }
        };
        if !is_stored {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        if number == 0 {
            self.0.changed.notify_one();
            return;
        }
        let now = micros(self.0.started.elapsed());
        let latency = now.saturating_sub(self.slot(number).load(Ordering::Relaxed));
        if let Ok(mut latencies) = self.0.latencies.lock() {
            latencies.saturating_record(latency);
        }
        self.0.changed.notify_one();
    }

    /// Waits until all `sent` requests are acknowledged.
    pub(crate) async fn finish(&self, sent: u64) -> Result<()> {
        self.set_size(1);
        self.room(sent).await.map(drop)
    }

    /// Number of requests that the server rejected.
    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Latencies so far, in microseconds.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        self.0
            .latencies
            .lock()
            .map_or_else(|_| histogram(), |latencies| latencies.clone())
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        let at = usize::try_from(number).unwrap_or(0) % SLOTS;
        &self.0.sent_micros[at]
    }
}
