//! Processes the topic with the members of a consumer group while it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lograft_client::group_wire::PartitionOffset;
use lograft_client::{
    Client, ClientError, GroupBatch, GroupConfig, GroupConsumer, GroupEvent, Offset, PartitionId,
};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::reader::{CATCH_UP_MAX, Ends};
use super::value::parse_value;
use crate::output::plural;
use crate::units::count;

/// Maximum number of members.
pub(super) const MEMBERS_MAX_COUNT: u32 = 64;
/// Interval at which is checked whether everything was processed.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The members of a group to run.
pub(super) struct Members {
    pub(super) client: Client,
    pub(super) topic: String,
    pub(super) count: u32,
    /// Id of the run.
    pub(super) run: u64,
    /// Where each partition starts.
    pub(super) starts: Ends,
}

/// Result of a group.
#[derive(Debug, Serialize)]
pub(super) struct GroupReport {
    pub(super) members: u32,
    pub(super) processed: u64,
    /// Records that were processed more than once: those between a commit and the loss of a partition.
    pub(super) repeated: u64,
    /// Records before the end that no member has processed in time.
    pub(super) missing: u64,
    /// Records that a member has processed after a later one of the same assignment.
    pub(super) disordered: u64,
    /// Records that were processed and whose offset was not committed in the end.
    pub(super) uncommitted: u64,
    /// Number of times that a partition was lost: to another member, before its own one knew.
    pub(super) lost_partitions: u64,
    /// Longest time of a partition without a record.
    pub(super) longest_pause_seconds: f64,
}

impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processed by {}, {} more than once, longest pause {:.2} s",
            count(self.processed),
            plural(self.members as usize, "member"),
            count(self.repeated),
            self.longest_pause_seconds
        )
    }
}

/// What was processed of one partition.
#[derive(Debug, Default)]
struct Processed {
    /// How often each record of the run was processed, by its number.
    times: Vec<u8>,
    /// The generation of the last assignment, and the smallest record number that may follow in it.
    since: u64,
    next_number: u64,
    /// End of what was processed.
    next_offset: Offset,
    last: Option<Instant>,
}

/// What all members have processed.
#[derive(Debug, Default)]
struct Tally {
    run: u64,
    partitions: BTreeMap<PartitionId, Processed>,
    disordered: u64,
    lost_partitions: u64,
    longest_pause: Duration,
}

impl Members {
    /// Processes records until the ends, which are sent after the last write.
    pub(super) async fn run(
        self,
        mut ends: watch::Receiver<Option<Ends>>,
    ) -> Result<GroupReport, ClientError> {
        let group = format!("soak-{:016x}", self.run);
        self.commit_starts(&group).await?;
        let starts = self.starts.iter();
        let unread = |start: &Offset| Processed {
            next_offset: *start,
            ..Processed::default()
        };
        let tally = Arc::new(Mutex::new(Tally {
            run: self.run,
            partitions: starts.map(|(at, start)| (*at, unread(start))).collect(),
            ..Tally::default()
        }));
        let (stop, stopped) = watch::channel(false);
        let mut members = Vec::new();
        for _ in 0..self.count {
            let config = GroupConfig::new(&group, [&self.topic]);
            let consumer = self.client.group_consumer(config).await?;
            let member = process(consumer, Arc::clone(&tally), stopped.clone());
            members.push(tokio::spawn(member));
        }
        let known = match ends.wait_for(Option::is_some).await {
            Ok(known) => known.clone().unwrap_or_default(),
            Err(_) => Ends::new(),
        };
        let deadline = Instant::now() + CATCH_UP_MAX;
        while lock(&tally).missing(&known) > 0 && Instant::now() < deadline {
            sleep(CHECK_INTERVAL).await;
        }
        stop.send_replace(true);
        for ended in join_all(members).await {
            // A member that panics fails the run by what it has not processed.
            ended.unwrap_or(Ok(()))?;
        }
        let uncommitted = self.uncommitted(&group, &tally).await?;
        self.client.groups().delete(&group).await?;
        let report = lock(&tally).report(self.count, &known, uncommitted);
        Ok(report)
    }

    /// Sets where the group starts.
    async fn commit_starts(&self, group: &str) -> Result<(), ClientError> {
        let offsets: Vec<_> = self
            .starts
            .iter()
            .map(|(partition, start)| PartitionOffset {
                topic: self.topic.clone(),
                partition: partition.get(),
                offset: start.get(),
                ..PartitionOffset::default()
            })
            .collect();
        let set = self.client.groups().set_offsets(group, &offsets).await?;
        set.into_iter().collect()
    }

    /// Records that were processed but not committed.
    async fn uncommitted(&self, group: &str, tally: &Mutex<Tally>) -> Result<u64, ClientError> {
        let topics = [self.topic.clone()];
        let found = self.client.groups().fetch_offsets(group, &topics).await?;
        let committed: BTreeMap<PartitionId, u64> = found
            .into_iter()
            .map(|at| (PartitionId(at.partition), at.offset))
            .collect();
        let tally = lock(tally);
        let open = tally.partitions.iter().map(|(partition, processed)| {
            let committed = committed.get(partition).copied().unwrap_or(0);
            processed.next_offset.get().saturating_sub(committed)
        });
        Ok(open.sum())
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One member, until it is stopped.
async fn process(
    mut consumer: GroupConsumer,
    tally: Arc<Mutex<Tally>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ClientError> {
    loop {
        let event = tokio::select! {
            event = consumer.next_event() => Some(event?),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        };
        match event {
            Some(GroupEvent::Batch(batch)) => lock(&tally).take(&batch)?,
            Some(GroupEvent::Lost(lost)) => lock(&tally).lost_partitions += lost.len() as u64,
            Some(GroupEvent::Assigned(_) | GroupEvent::Revoked(_)) => {}
            None => return consumer.close().await,
        }
    }
}

impl Tally {
    fn take(&mut self, batch: &GroupBatch) -> Result<(), ClientError> {
        let mut numbers = Vec::new();
        for record in batch.batch.iter() {
            let (_, record) = record?;
            let value = parse_value(record.value.unwrap_or_default());
            numbers.extend(value.filter(|(run, _)| *run == self.run).map(|(_, at)| at));
        }
        self.add(
            (batch.partition.partition, batch.since_generation()),
            batch.batch.next_offset(),
            &numbers,
            Instant::now(),
        );
        Ok(())
    }

    /// Adds records with these numbers, which were processed together by the member that has the
    /// partition since a generation.
    fn add(
        &mut self,
        (partition, since): (PartitionId, u64),
        next_offset: Offset,
        numbers: &[u64],
        now: Instant,
    ) {
        let processed = self.partitions.entry(partition).or_default();
        let pause = processed
            .last
            .replace(now)
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.longest_pause = self.longest_pause.max(pause);
        processed.next_offset = processed.next_offset.max(next_offset);
        if since > processed.since {
            processed.since = since;
            processed.next_number = 0;
        }
        for number in numbers {
            let index = usize::try_from(*number).unwrap_or(usize::MAX);
            // The numbers are those of the writer of this process, which the options limit.
            if processed.times.len() <= index {
                processed.times.resize(index + 1, 0);
            }
            processed.times[index] = processed.times[index].saturating_add(1);
            if since == processed.since {
                self.disordered += u64::from(*number < processed.next_number);
                processed.next_number = number + 1;
            }
        }
    }

    /// Records between what was processed and the ends, and those that were skipped.
    fn missing(&self, ends: &Ends) -> u64 {
        let missing = ends.iter().map(|(partition, end)| {
            let Some(processed) = self.partitions.get(partition) else {
                return end.get();
            };
            let skipped = processed
                .times
                .iter()
                .filter(|times| matches!(times, 0))
                .count();
            let behind = end.get().saturating_sub(processed.next_offset.get());
            behind.saturating_add(skipped as u64)
        });
        missing.sum()
    }

    fn report(&self, members: u32, ends: &Ends, uncommitted: u64) -> GroupReport {
        let times = || self.partitions.values().flat_map(|part| &part.times);
        GroupReport {
            members,
            processed: times().filter(|times| **times > 0).count() as u64,
            repeated: times().filter(|times| **times > 1).count() as u64,
            missing: self.missing(ends),
            disordered: self.disordered,
            uncommitted,
            lost_partitions: self.lost_partitions,
            longest_pause_seconds: self.longest_pause.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_repeated_and_disordered_records_are_distinguished() {
        let (now, partition) = (Instant::now(), PartitionId(0));
        let ends = Ends::from([(partition, Offset(4))]);
        let tally = |batches: &[(u64, u64, &[u64])]| {
            let mut tally = Tally::default();
            for (since, next, numbers) in batches {
                tally.add((partition, *since), Offset(*next), numbers, now);
            }
            let report = tally.report(1, &ends, 0);
            (report.missing, report.repeated, report.disordered)
        };
        assert_eq!(tally(&[(1, 2, &[0, 1]), (1, 4, &[2, 3])]), (0, 0, 0));
        assert_eq!(tally(&[(1, 2, &[0, 1])]), (2, 0, 0), "not to the end");
        assert_eq!(
            tally(&[(1, 2, &[0]), (1, 4, &[2, 3])]),
            (1, 0, 0),
            "skipped"
        );
        // The next owner starts at the last commit.
        assert_eq!(tally(&[(1, 2, &[0, 1]), (3, 4, &[1, 2, 3])]), (0, 1, 0));
        assert_eq!(tally(&[(1, 2, &[0, 1]), (1, 4, &[1, 2, 3])]), (0, 1, 1));
        // A former owner that does not know it yet.
        let late: [(u64, u64, &[u64]); 3] = [(1, 2, &[0, 1]), (3, 4, &[2, 3]), (1, 3, &[2])];
        assert_eq!(tally(&late), (0, 1, 0));
    }
}
