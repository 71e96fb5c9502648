//! The committed offsets of the group, looked at all the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lograft_client::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::history::History;
use super::member::{GROUP, now_us};

const INTERVAL: Duration = Duration::from_millis(50);
const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(1);

/// Committed offsets at a time.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// After they were read.
    at_us: i64,
    pub(crate) offsets: BTreeMap<u32, u64>,
}

/// Follows the committed offsets until the end of a case.
pub(crate) struct Following {
    client: Client,
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Seen>>,
}

impl Following {
    pub(crate) fn start(client: Client) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(follow(client.clone(), stopped));
        Self { client, stop, task }
    }

    /// Waits until everything is committed, and checks that no offset went back. Returns the
    /// offsets that were seen.
    pub(crate) async fn finish(self, ends: &BTreeMap<u32, u64>) -> Result<Vec<Seen>> {
        wait_until(&self.client, ends).await?;
        self.stop.send_replace(true);
        let seen = self.task.await?;
        never_back(&seen)?;
        Ok(seen)
    }
}

/// Reads the committed offsets until told to stop. Calls that fail, while a coordinator is elected,
/// are made again.
async fn follow(client: Client, stopped: watch::Receiver<bool>) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    while !*stopped.borrow() {
        if let Ok(offsets) = read(&client).await
            && seen.last().is_none_or(|last| last.offsets != offsets)
        {
            let at_us = now_us();
            seen.push(Seen { at_us, offsets });
        }
        sleep(INTERVAL).await;
    }
    seen
}

/// The committed offsets of the group, by partition.
pub(crate) async fn read(client: &Client) -> Result<BTreeMap<u32, u64>> {
    let found = client.groups().fetch_offsets(GROUP, &[]).await?;
    Ok(found.into_iter().map(|o| (o.partition, o.offset)).collect())
}

/// Waits until the group has committed these offsets.
async fn wait_until(client: &Client, ends: &BTreeMap<u32, u64>) -> Result<()> {
    let started = Instant::now();
    loop {
        let committed = read(client).await.unwrap_or_default();
        if committed == *ends {
            return Ok(());
        }
        ensure!(
            started.elapsed() < CATCH_UP_TIMEOUT,
            "{committed:?} are committed, {ends:?} are in the log"
        );
        sleep(INTERVAL).await;
    }
}

/// Checks that no offset went back.
fn never_back(seen: &[Seen]) -> Result<()> {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for (partition, offset) in seen.iter().flat_map(|seen| &seen.offsets) {
        let before = last.insert(*partition, *offset).unwrap_or(0);
        ensure!(
            *offset >= before,
            "the committed offset of partition {partition} went from {before} to {offset}"
        );
    }
    Ok(())
}

/// Checks that all records before an offset were processed when it was seen.
pub(super) fn check(seen: &[Seen], history: &History) -> Result<()> {
    for Seen { at_us, offsets } in seen {
        for (partition, offset) in offsets {
            let processed = history.processed_until(*partition, *at_us);
            ensure!(
                *offset <= processed,
                "{offset} of partition {partition} was committed when {processed} were processed"
            );
        }
    }
    Ok(())
}
