//! Members of a group in this process, and what they were handed out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lograft_client::{Client, GroupBatch, GroupConfig, GroupConsumer, GroupEvent};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Errors that are kept.
const ERRORS_MAX_COUNT: usize = 20;
const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What all members of a group were handed out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivered(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    partitions: BTreeMap<u32, Progress>,
    /// Errors that the application has got.
    errors: Vec<String>,
    /// Partitions that a member has given up or lost.
    moves: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The offset after the last record.
    next: u64,
    /// Records that were handed out again.
    repeated: u64,
}

/// What was delivered in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) repeated: u64,
    pub(crate) moves: u64,
}

impl Delivered {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records so far.
    pub(crate) fn records(&self) -> u64 {
        let state = self.lock();
        state
            .partitions
            .values()
            .map(|progress| progress.next)
            .sum()
    }

    fn add_error(&self, error: String) {
        let errors = &mut self.lock().errors;
        if errors.len() < ERRORS_MAX_COUNT {
            errors.push(error);
        }
    }

    fn add_batch(&self, batch: &GroupBatch) {
        let partition = batch.partition.partition.get();
        let next = batch.batch.next_offset().get();
        let first = next - u64::from(batch.batch.record_count());
        let skipped = {
            let mut state = self.lock();
            let progress = state.partitions.entry(partition).or_default();
            let expected = progress.next;
            progress.repeated += next.min(expected).saturating_sub(first);
            progress.next = next.max(expected);
            (first > expected).then_some(expected)
        };
        if let Some(expected) = skipped {
            self.add_error(format!(
                "records {expected} to {first} (exclusive) of partition {partition} were skipped"
            ));
        }
    }

    /// Waits until all records before these offsets were handed out.
    pub(crate) async fn wait_until(&self, ends: &BTreeMap<u32, u64>) -> Result<()> {
        let (started, total) = (Instant::now(), ends.values().sum::<u64>());
        loop {
            let records = self.records();
            if records >= total {
                return Ok(());
            }
            ensure!(
                started.elapsed() < CATCH_UP_TIMEOUT,
                "{records} of {total} records were handed out: {:?}",
                self.lock().errors
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Checks that all records before these offsets were handed out, and that no call of a member
    /// has failed.
    pub(crate) fn check(&self, ends: &BTreeMap<u32, u64>) -> Result<Totals> {
        let state = self.lock();
        ensure!(state.errors.is_empty(), "members: {:#?}", state.errors);
        for (partition, end) in ends {
            let next = state.partitions.get(partition).map_or(0, |p| p.next);
            ensure!(
                next == *end,
                "{next} records of partition {partition} were handed out, {end} are acknowledged"
            );
        }
        Ok(Totals {
            records: ends.values().sum(),
            repeated: state.partitions.values().map(|p| p.repeated).sum(),
            moves: state.moves,
        })
    }
}

/// A running member.
pub(crate) struct Reader {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Reader {
    /// Joins the group and notes all that it is handed out.
    pub(crate) async fn start(
        client: &Client,
        config: GroupConfig,
        delivered: &Delivered,
    ) -> Result<Self> {
        let consumer = client.group_consumer(config).await?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(read(consumer, delivered.clone(), stopped));
        Ok(Self { stop, task })
    }

    /// Fails if the member has ended.
    pub(crate) fn check_running(&self) -> Result<()> {
        ensure!(!self.task.is_finished(), "a member has ended");
        Ok(())
    }

    /// Commits and leaves the group.
    pub(crate) async fn close(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

async fn read(
    mut consumer: GroupConsumer,
    delivered: Delivered,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    loop {
        let event = tokio::select! {
            event = consumer.next_event() => event,
            _ = stopped.changed() => return Ok(consumer.close().await?),
        };
        match event {
            Ok(GroupEvent::Batch(batch)) => delivered.add_batch(&batch),
            Ok(GroupEvent::Revoked(partitions) | GroupEvent::Lost(partitions)) => {
                delivered.lock().moves += partitions.len() as u64;
            }
            Ok(GroupEvent::Assigned(_)) => {}
            Err(error) => {
                let is_retryable = error.is_retryable();
                let text = format!("{:#}", anyhow::Error::from(error));
                delivered.add_error(text.clone());
                if !is_retryable {
                    bail!(text);
                }
            }
        }
    }
}
