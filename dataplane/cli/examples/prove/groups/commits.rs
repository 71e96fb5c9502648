//! Commits of many groups at a steady rate.
//!
//! An open loop: each commit is due at its time, whether or not former ones are answered, and its
//! latency counts from then. A group has at most one commit in flight, so that an older one does not
//! overtake a newer one: a commit that is due before is left out and counted as late.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use lograft_proto::log::v1 as log;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::direct::{Caller, Direct};
use super::wire::{CALL_TIMEOUT, TOPIC, WireMember, bounded};
use crate::measure::{histogram, micros};

const TICK: Duration = Duration::from_millis(1);
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
const CHECKS_MAX_COUNT: usize = 64;

/// A group with its only member, which has the only partition.
struct Group {
    member: WireMember,
    /// A connection to the coordinator.
    caller: Caller,
    topic_id: u64,
    is_busy: AtomicBool,
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

/// What was measured since the last time.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub(super) answered: u64,
    pub(super) late: u64,
    /// The number of each error.
    pub(super) failed: BTreeMap<String, u64>,
    /// Microseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Default for Committed {
    fn default() -> Self {
        Self {
            answered: 0,
            late: 0,
            failed: BTreeMap::new(),
            latencies: histogram(),
        }
    }
}

/// The groups, and their commits so far.
#[derive(Clone)]
pub(super) struct Commits {
    groups: Arc<[Group]>,
    measured: Arc<Mutex<Committed>>,
}

/// Commits that go on.
pub(super) struct Running {
    commits: Commits,
    stop: Arc<AtomicBool>,
    pacing: JoinHandle<()>,
}

impl Commits {
    /// The only members of their groups. Fails if one has no partition.
    pub(super) fn of(members: Vec<WireMember>, direct: &Direct) -> Result<Self> {
        let mut groups = Vec::new();
        for (turn, member) in members.into_iter().enumerate() {
            let assigned = member.reply.partitions.first();
            let assigned =
                assigned.with_context(|| format!("{} has no partition", member.group))?;
            groups.push(Group {
                topic_id: assigned.topic_id,
                caller: direct.to(member.reply.coordinator_node, turn)?,
                member,
                is_busy: AtomicBool::new(false),
                sent: AtomicU64::new(0),
                acknowledged: AtomicU64::new(0),
            });
        }
        Ok(Self {
            groups: groups.into(),
            measured: Arc::default(),
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Committed) -> T) -> T {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut measured)
    }

    /// What was measured since the last call.
    pub(super) fn take(&self) -> Committed {
        self.with(std::mem::take)
    }

    /// Starts to commit, `rate` commits per second, each group in turn.
    pub(super) fn start(&self, rate: u64) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let pacing = tokio::spawn(pace(self.clone(), rate.max(1), Arc::clone(&stop)));
        Running {
            commits: self.clone(),
            stop,
            pacing,
        }
    }

    async fn commit(&self, at: usize, due: Instant) {
        let group = &self.groups[at];
        let offset = group.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let request = log::CommitOffsetsRequest {
            group: group.member.group.clone(),
            member_id: group.member.id.clone(),
            generation: group.member.reply.generation,
            offsets: vec![log::PartitionOffset {
                topic: TOPIC.to_owned(),
                topic_id: Some(group.topic_id),
                offset,
                ..log::PartitionOffset::default()
            }],
            ..log::CommitOffsetsRequest::default()
        };
        let call = group.caller.call("CommitOffsets", &request);
        let outcome = timeout(CALL_TIMEOUT, call).await;
        let outcome = outcome.unwrap_or_else(|_| Err("no reply in time".to_owned()));
        let error = match outcome {
            Ok(log::CommitOffsetsReply { results }) => {
                results.into_iter().find_map(|result| result.error)
            }
            Err(text) => Some(log::Error {
                text,
                ..log::Error::default()
            }),
        };
        if error.is_none() {
            group.acknowledged.store(offset, Ordering::Relaxed);
        }
        group.is_busy.store(false, Ordering::Release);
        let latency = micros(due.elapsed());
        self.with(|measured| match error {
            None => {
                measured.answered += 1;
                measured.latencies.saturating_record(latency);
            }
            Some(error) => {
                let text = format!("{}: {}", error.reason, error.text);
                *measured.failed.entry(text).or_default() += 1;
            }
        });
    }

    /// Compares what the coordinators have with what was acknowledged.
    pub(super) async fn check(&self) -> Result<()> {
        let mut checks = JoinSet::new();
        for at in 0..self.groups.len() {
            if checks.len() >= CHECKS_MAX_COUNT
                && let Some(done) = checks.join_next().await
            {
                done??;
            }
            let commits = self.clone();
            checks.spawn(async move { commits.groups[at].check().await });
        }
        while let Some(done) = checks.join_next().await {
            done??;
        }
        Ok(())
    }
}

impl Group {
    async fn check(&self) -> Result<()> {
        let request = log::FetchOffsetsRequest {
            group: self.member.group.clone(),
            ..log::FetchOffsetsRequest::default()
        };
        let mut client = self.member.client.clone();
        let reply = bounded(client.fetch_offsets(request), CALL_TIMEOUT).await?;
        let committed = reply.offsets.first().map_or(0, |found| found.offset);
        let bounds = self.acknowledged.load(Ordering::Relaxed)..=self.sent.load(Ordering::Relaxed);
        ensure!(
            bounds.contains(&committed),
            "{} has committed {committed}, must be in {bounds:?}",
            self.member.group
        );
        Ok(())
    }

    fn is_idle(&self) -> bool {
        !self.is_busy.load(Ordering::Acquire)
    }
}

impl Running {
    /// Stops, and waits until all commits are answered.
    pub(super) async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.pacing.await?;
        while !self.commits.groups.iter().all(Group::is_idle) {
            // Bounded by the time of a call.
            sleep(DRAIN_INTERVAL).await;
        }
        Ok(())
    }
}

async fn pace(commits: Commits, rate: u64, stop: Arc<AtomicBool>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (started, mut number) = (Instant::now(), 0_u64);
    let mut groups = (0..commits.groups.len()).cycle();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due_count = micros(started.elapsed()) * rate / 1_000_000;
        while number < due_count {
            let due = started + Duration::from_micros(number * 1_000_000 / rate);
            number += 1;
            let Some(at) = groups.next() else { return };
            if commits.groups[at].is_busy.swap(true, Ordering::AcqRel) {
                commits.with(|measured| measured.late += 1);
                continue;
            }
            let commits = commits.clone();
            tokio::spawn(async move { commits.commit(at, due).await });
        }
    }
}
