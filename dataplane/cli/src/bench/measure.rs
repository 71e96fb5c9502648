//! Runs load workers for a fixed time and measures what they do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use lograft_client::ClientError;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::cost::{Cost, Meter};
use super::error::BenchError;
use crate::call_error::cannot;
use crate::contexts_file::ClusterContext;
use crate::error::CliError;
use crate::output::StatusLine;
use crate::units;

/// Largest latency that the histogram can tell apart, in microseconds.
const LATENCY_MAX_US: u64 = 120_000_000;
/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 3;

/// Counters of the workers, and the flags that control them.
#[derive(Debug, Default)]
pub(crate) struct LoadCounters {
    records: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// Error of the last failed record.
    last_error: Mutex<Option<ClientError>>,
    measuring: AtomicBool,
    stopped: AtomicBool,
}

/// Values of the counters at one time.
#[derive(Clone, Copy, Debug)]
struct Counts {
    records: u64,
    bytes: u64,
    failed: u64,
}

impl LoadCounters {
    /// Adds records that were acknowledged or read.
    pub(crate) fn add_done(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds records that were not acknowledged, with their error.
    pub(crate) fn add_failed(&self, records: u64, error: ClientError) {
        self.failed.fetch_add(records, Ordering::Relaxed);
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Bytes done so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Tells the workers to end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the workers continue.
    pub(crate) fn is_running(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Whether latencies are recorded.
    pub(crate) fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    fn read(&self) -> Counts {
        Counts {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes(),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    fn take_last_error(&self) -> Option<ClientError> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Latencies of one worker, in microseconds.
pub(crate) type Latencies = Histogram<u64>;

/// An empty histogram.
pub(crate) fn new_latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS)
        .expect("the bounds are valid constants")
}

/// Records the latency of one acknowledgement for `records` records.
pub(crate) fn record_latency(latencies: &mut Latencies, latency: Duration, records: u64) {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US);
    latencies.saturating_record_n(micros.max(1), records);
}

/// Result of a measurement.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
    /// Error of the last failed record, including records that failed outside of the measured
    /// time.
    pub(crate) last_error: Option<ClientError>,
    pub(crate) time: Duration,
    /// Records in each full second.
    pub(crate) per_second: Vec<u64>,
    pub(crate) latencies: Latencies,
    pub(crate) cost: Cost,
    pub(crate) interrupted: bool,
}

/// Timing of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// Lets the workers run for the warm-up and the duration, stops them, and returns what they did
/// during the duration. Ctrl-C ends the measurement early.
pub(crate) async fn measure(
    counters: Arc<LoadCounters>,
    mut workers: JoinSet<Result<Latencies, ClientError>>,
    schedule: Schedule,
    context: &ClusterContext,
) -> Result<Measured, CliError> {
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut interrupted = false;
    let mut latencies = new_latencies();
    tokio::select! {
        () = sleep_until(Instant::now() + schedule.warm_up) => {}
        _ = &mut interrupt => interrupted = true,
        ended = next_ended(&mut workers) => merge(&mut latencies, ended)?,
    }
    let meter = Meter::start(context);
    let before = counters.read();
    counters.measuring.store(true, Ordering::Relaxed);
    let mut seconds = Seconds::start(schedule.duration, before.records);
    while !interrupted && !seconds.is_over() {
        tokio::select! {
            () = sleep_until(seconds.next_tick()) => seconds.tick(counters.read().records),
            _ = &mut interrupt => interrupted = true,
            ended = next_ended(&mut workers) => merge(&mut latencies, ended)?,
        }
    }
    let after = counters.read();
    let (time, cost) = (seconds.started.elapsed(), meter.stop());
    counters.measuring.store(false, Ordering::Relaxed);
    counters.stop();
    seconds.status.clear();
    while let Some(ended) = workers.join_next().await {
        merge(&mut latencies, ended)?;
    }
    Ok(Measured {
        records: after.records - before.records,
        bytes: after.bytes - before.bytes,
        // Read again: records in flight at the end of the duration may have failed since.
        failed: counters.read().failed - before.failed,
        last_error: counters.take_last_error(),
        time,
        per_second: seconds.per_second,
        latencies,
        cost,
        interrupted,
    })
}

/// Splits the measured time into seconds and shows the rate of each.
struct Seconds {
    started: Instant,
    end: Instant,
    /// Records in each full second.
    per_second: Vec<u64>,
    /// Value of the record counter at the start of the current second.
    records_before: u64,
    status: StatusLine,
}

impl Seconds {
    fn start(duration: Duration, records: u64) -> Self {
        let started = Instant::now();
        Self {
            started,
            end: started + duration,
            per_second: Vec::new(),
            records_before: records,
            status: StatusLine::new(),
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// End of the current second.
    fn second_end(&self) -> Instant {
        self.started + Duration::from_secs(self.per_second.len() as u64 + 1)
    }

    /// Time of the next call of `tick`: at the end of the current second or of the duration.
    fn next_tick(&self) -> Instant {
        self.second_end().min(self.end)
    }

    /// Ends the current second, if it is a full one. `records` is the value of the counter now.
    fn tick(&mut self, records: u64) {
        if self.second_end() > self.end {
            return;
        }
        let in_second = records - self.records_before;
        self.per_second.push(in_second);
        self.records_before = records;
        let rate = units::rate(units::float(in_second));
        self.status
            .show(&format!("{} s: {rate} records/s", self.per_second.len()));
    }
}

/// The next worker that ends. Before the workers are stopped, only a failure ends one.
async fn next_ended(
    workers: &mut JoinSet<Result<Latencies, ClientError>>,
) -> Result<Result<Latencies, ClientError>, JoinError> {
    match workers.join_next().await {
        Some(ended) => ended,
        None => std::future::pending().await,
    }
}

fn merge(
    total: &mut Latencies,
    ended: Result<Result<Latencies, ClientError>, JoinError>,
) -> Result<(), CliError> {
    let latencies = ended
        .map_err(|source| BenchError::Task { source })?
        .map_err(cannot("run the benchmark"))?;
    // Fails only for different bounds; all histograms have the same.
    let _ = total.add(&latencies);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> ClusterContext {
        ClusterContext {
            endpoints: Vec::new(),
            endpoints_only: false,
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
            dev_data_dir: None,
        }
    }

    const SCHEDULE: Schedule = Schedule {
        warm_up: Duration::from_millis(500),
        duration: Duration::from_millis(2500),
    };

    #[tokio::test(start_paused = true)]
    async fn only_the_measured_time_counts() {
        let counters = Arc::new(LoadCounters::default());
        let mut workers = JoinSet::new();
        let worker = Arc::clone(&counters);
        workers.spawn(async move {
            let mut latencies = new_latencies();
            while worker.is_running() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                worker.add_done(10, 1000);
                if worker.is_measuring() {
                    record_latency(&mut latencies, Duration::from_millis(100), 10);
                }
            }
            Ok(latencies)
        });
        let found = measure(Arc::clone(&counters), workers, SCHEDULE, &context())
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
    async fn a_failed_worker_ends_the_measurement() {
        let mut workers = JoinSet::new();
        workers.spawn(async { Err(ClientError::Closed) });
        let failed = measure(Arc::default(), workers, SCHEDULE, &context()).await;
        let line = failed.unwrap_err().line().unwrap();
        assert_eq!(line, "cannot run the benchmark: producer is closed");
    }
}
