//! What a load measures, and the bookkeeping of what is under way.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Slots for the times of what is under way; more than any window.
const SLOTS: usize = 1 << 16;

/// Without any ack for so long, a load gives up.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// What a load came to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Records acknowledged, or read.
    pub(crate) records: u64,
    /// Their payload, bytes.
    pub(crate) bytes: u64,
    /// From the first send to the last ack, seconds.
    pub(crate) seconds: f64,
    /// Median time from send to ack, milliseconds; 0 where it is not measured.
    pub(crate) p50_ms: f64,
    /// 99th percentile of it, milliseconds.
    pub(crate) p99_ms: f64,
}

impl Measured {
    /// From the counts of a load and its latencies in microseconds.
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

    /// Records a second.
    pub(crate) fn records_per_second(&self) -> f64 {
        to_f64(self.records) / self.seconds.max(1e-9)
    }

    /// Payload a second, 10^6 bytes.
    pub(crate) fn mb_per_second(&self) -> f64 {
        to_f64(self.bytes) / 1e6 / self.seconds.max(1e-9)
    }
}

/// A count as a float: exact below 2^53, which no measurement here reaches.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An empty histogram of microseconds, three digits, up to an hour.
pub(crate) fn histogram() -> Histogram<u64> {
    let bounds = Histogram::new_with_bounds(1, 3_600_000_000, 3);
    bounds.unwrap_or_else(|_| unreachable!("the bounds are constant and valid"))
}

/// Bytes that do not compress, the same in every run.
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

/// Which of those under way an ack is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InFlight {
    /// This one alone.
    One(u64),
    /// This one and all before it; 0 where it only says how many may be under way.
    UpTo(u64),
}

/// How many may be under way, and since when each is. Numbers count from 1.
#[derive(Clone, Debug)]
pub(crate) struct Window(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    size: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
    moved: Notify,
    begin: Instant,
    sent_micros: Vec<AtomicU64>,
    latencies: Mutex<Histogram<u64>>,
}

impl Window {
    /// A window for `size` under way.
    pub(crate) fn new(size: u64) -> Self {
        Self(Arc::new(Inner {
            size: AtomicU64::new(size),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            moved: Notify::new(),
            begin: Instant::now(),
            sent_micros: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            latencies: Mutex::new(histogram()),
        }))
    }

    /// Changes the size.
    pub(crate) fn set_size(&self, size: u64) {
        self.0.size.store(size, Ordering::Relaxed);
    }

    /// Notes that `number` goes out now.
    pub(crate) fn sent(&self, number: u64) {
        self.slot(number)
            .store(micros(self.0.begin.elapsed()), Ordering::Relaxed);
    }

    /// Waits until fewer than the window's size are under way; how many more may go.
    pub(crate) async fn room(&self, sent: u64) -> Result<u64> {
        loop {
            let moved = self.0.moved.notified();
            let under_way = sent.saturating_sub(self.0.acked.load(Ordering::Acquire));
            let room = self
                .0
                .size
                .load(Ordering::Relaxed)
                .saturating_sub(under_way);
            if room > 0 {
                return Ok(room);
            }
            tokio::time::timeout(ACK_WAIT, moved)
                .await
                .context("acks are missing")?;
        }
    }

    /// Takes an ack.
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
            self.0.moved.notify_one();
            return;
        }
        let now = micros(self.0.begin.elapsed());
        let latency = now.saturating_sub(self.slot(number).load(Ordering::Relaxed));
        if let Ok(mut latencies) = self.0.latencies.lock() {
            latencies.saturating_record(latency);
        }
        self.0.moved.notify_one();
    }

    /// Waits until all of `sent` are acknowledged.
    pub(crate) async fn finish(&self, sent: u64) -> Result<()> {
        self.set_size(1);
        self.room(sent).await.map(drop)
    }

    /// Acks that were refusals.
    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// The latencies so far, microseconds.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        self.0
            .latencies
            .lock()
            .map_or_else(|_| histogram(), |held| held.clone())
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        let at = usize::try_from(number).unwrap_or(0) % SLOTS;
        &self.0.sent_micros[at]
    }
}
