//! Workers under a stopwatch: warm-up, measuring by the second, stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use lograft_client::ClientError;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::cost::{Cost, Meter};
use crate::contexts_file::Context;
use crate::error::CliError;
use crate::output::Status;
use crate::units;

/// Longest latency told apart, microseconds.
const LATENCY_MAX_US: u64 = 120_000_000;
/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 3;

/// What workers and stopwatch share.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    records: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// Why the last of those that failed did.
    why: Mutex<Option<ClientError>>,
    measuring: AtomicBool,
    stopped: AtomicBool,
}

impl Gauge {
    /// So many records more are done.
    pub(crate) fn done(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many records were not stored, as far as is known, and why.
    pub(crate) fn failed(&self, records: u64, why: ClientError) {
        self.failed.fetch_add(records, Ordering::Relaxed);
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Bytes done so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends the workers.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the worker goes on.
    pub(crate) fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Whether latencies count now.
    pub(crate) fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }
}

/// The latencies that one worker saw.
pub(crate) type Latencies = Histogram<u64>;

/// An empty histogram, microseconds.
pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS)
        .expect("the bounds are constants in order")
}

/// Counts one acknowledgement for `records` records.
pub(crate) fn note(latencies: &mut Latencies, after: Duration, records: u64) {
    let micros = u64::try_from(after.as_micros()).unwrap_or(LATENCY_MAX_US);
    latencies.saturating_record_n(micros.max(1), records);
}

/// What a measurement found.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
    /// Why the last of those that failed did, also before or after the time measured.
    pub(crate) why: Option<ClientError>,
    pub(crate) time: Duration,
    /// Records in each full second.
    pub(crate) per_second: Vec<u64>,
    pub(crate) latencies: Latencies,
    pub(crate) cost: Cost,
    pub(crate) interrupted: bool,
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// Lets the workers run for the time given, and tells what they did in it.
pub(crate) async fn measure(
    gauge: Arc<Gauge>,
    mut workers: JoinSet<Result<Latencies, ClientError>>,
    times: Times,
    context: &Context,
) -> Result<Measured, CliError> {
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut status = Status::new();
    let begun = Instant::now();
    let mut interrupted = false;
    let mut finished = latencies();
    tokio::select! {
        () = sleep_until(begun + times.warm_up) => {}
        _ = &mut interrupt => interrupted = true,
        done = first_done(&mut workers) => merge(&mut finished, done)?,
    }
    let meter = Meter::start(context);
    let read = || {
        (
            gauge.records.load(Ordering::Relaxed),
            gauge.bytes.load(Ordering::Relaxed),
        )
    };
    let failed_before = gauge.failed.load(Ordering::Relaxed);
    let (records_before, bytes_before) = read();
    gauge.measuring.store(true, Ordering::Relaxed);
    let from = Instant::now();
    let mut per_second = Vec::new();
    let mut last = records_before;
    while !interrupted && from.elapsed() < times.duration {
        let tick = from + Duration::from_secs(per_second.len() as u64 + 1);
        let end = from + times.duration;
        tokio::select! {
            () = sleep_until(tick.min(end)) => {
                let (records, _) = read();
                if tick <= end {
                    per_second.push(records - last);
                    let rate = units::rate(units::float(records - last));
                    status.show(&format!("{} s: {rate} records/s", per_second.len()));
                    last = records;
                }
            }
            _ = &mut interrupt => interrupted = true,
            done = first_done(&mut workers) => merge(&mut finished, done)?,
        }
    }
    let (records, bytes) = read();
    let time = from.elapsed();
    let cost = meter.stop();
    gauge.measuring.store(false, Ordering::Relaxed);
    gauge.stop();
    status.clear();
    while let Some(worker) = workers.join_next().await {
        merge(&mut finished, worker)?;
    }
    Ok(Measured {
        records: records - records_before,
        bytes: bytes - bytes_before,
        failed: gauge.failed.load(Ordering::Relaxed) - failed_before,
        why: gauge
            .why
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
        time,
        per_second,
        latencies: finished,
        cost,
        interrupted,
    })
}

/// The first worker to end, which none does before it is stopped unless it failed.
async fn first_done(
    workers: &mut JoinSet<Result<Latencies, ClientError>>,
) -> Result<Result<Latencies, ClientError>, JoinError> {
    match workers.join_next().await {
        Some(done) => done,
        None => std::future::pending().await,
    }
}

fn merge(
    all: &mut Latencies,
    worker: Result<Result<Latencies, ClientError>, JoinError>,
) -> Result<(), CliError> {
    let seen = worker.map_err(|source| CliError::Worker { source })?;
    let seen = seen.map_err(CliError::call("running the benchmark"))?;
    // Both have the same bounds.
    let _ = all.add(&seen);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            endpoints: Vec::new(),
            endpoints_only: false,
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
            dev_data_dir: None,
        }
    }

    const TIMES: Times = Times {
        warm_up: Duration::from_millis(500),
        duration: Duration::from_millis(2500),
    };

    #[tokio::test(start_paused = true)]
    async fn only_what_is_done_while_measuring_counts() {
        let gauge = Arc::new(Gauge::default());
        let mut workers = JoinSet::new();
        let worker = Arc::clone(&gauge);
        workers.spawn(async move {
            let mut seen = latencies();
            while worker.goes_on() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                worker.done(10, 1000);
                if worker.is_measuring() {
                    note(&mut seen, Duration::from_millis(100), 10);
                }
            }
            Ok(seen)
        });
        let found = measure(Arc::clone(&gauge), workers, TIMES, &context())
            .await
            .unwrap();
        assert_eq!(found.per_second.len(), 2);
        assert!((240..=260).contains(&found.records), "{}", found.records);
        assert_eq!(found.bytes, found.records * 100);
        assert!(
            (240..=260).contains(&found.latencies.len()),
            "{}",
            found.latencies.len()
        );
        assert!(!found.interrupted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_fails_ends_the_measurement() {
        let mut workers = JoinSet::new();
        workers.spawn(async { Err(ClientError::Closed) });
        let failed = measure(Arc::default(), workers, TIMES, &context()).await;
        assert!(matches!(failed, Err(CliError::Call { .. })));
    }
}
