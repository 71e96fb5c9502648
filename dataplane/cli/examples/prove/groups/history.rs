//! The history of a group, from what its members have printed, and the rules that it must follow.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Records that a member has processed.
#[derive(Clone, Copy, Debug)]
struct Batch {
    at_us: i64,
    first: u64,
    next: u64,
    since: u64,
    /// The position of the member among all.
    member: usize,
}

/// The records that all members have processed, by partition.
#[derive(Debug, Default)]
pub(super) struct History {
    partitions: BTreeMap<u32, Vec<Batch>>,
    members: Vec<String>,
    /// The number of times that a member learned that it had lost partitions.
    pub(super) lost_count: usize,
}

/// The figures of a history that follows the rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) processed: u64,
    /// Records that were processed more than once.
    pub(super) repeated: u64,
    /// The number of times that a partition moved to another member.
    pub(super) moves: usize,
    /// The pauses of partitions that moved, from the last record of the former member to the first
    /// one of the next.
    pub(super) moved: Vec<Duration>,
    /// The longest pause of partitions that did not.
    pub(super) stayed_max: Duration,
}

impl History {
    /// Adds what a member has printed.
    pub(super) fn read(&mut self, member: &str, output: &Path) -> Result<()> {
        let text = fs::read_to_string(output)
            .with_context(|| format!("cannot read {}", output.display()))?;
        let position = self.members.len();
        self.members.push(member.to_owned());
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in complete.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                [at, "batch", partition, first, next, since] => {
                    let batch = Batch {
                        at_us: at.parse()?,
                        first: first.parse()?,
                        next: next.parse()?,
                        since: since.parse()?,
                        member: position,
                    };
                    self.partitions
                        .entry(partition.parse()?)
                        .or_default()
                        .push(batch);
                }
                [_, "lost", _] => self.lost_count += 1,
                [_, "assigned" | "revoked", ..] | [_, "lost"] => {}
                _ => bail!("member {member} has printed {line:?}"),
            }
        }
        Ok(())
    }

    /// Checks the history against what was acknowledged and committed in the end, both the next
    /// offset of each partition.
    pub(super) fn judge(
        mut self,
        acknowledged: &BTreeMap<u32, u64>,
        committed: &BTreeMap<u32, u64>,
    ) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for (partition, end) in acknowledged {
            let batches = self.partitions.remove(partition).unwrap_or_default();
            let committed = committed.get(partition).copied().unwrap_or(0);
            ensure!(
                committed <= *end,
                "partition {partition}: {committed} is committed, {end} records are in the log"
            );
            self.judge_partition(*partition, *end, batches, &mut verdict)?;
        }
        let unknown: Vec<_> = self.partitions.keys().collect();
        ensure!(unknown.is_empty(), "partitions {unknown:?} do not exist");
        Ok(verdict)
    }

    fn judge_partition(
        &self,
        partition: u32,
        end: u64,
        mut batches: Vec<Batch>,
        verdict: &mut Verdict,
    ) -> Result<()> {
        batches.sort_by_key(|batch| batch.at_us);
        let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
        let mut times = vec![0_u8; usize::try_from(end)?];
        let mut last: Option<Batch> = None;
        for batch in batches {
            let owner = *owners.entry(batch.since).or_insert(batch.member);
            ensure!(
                owner == batch.member,
                "partition {partition} had two owners since generation {}: {} and {}",
                batch.since,
                self.members[owner],
                self.members[batch.member]
            );
            for offset in batch.first..batch.next.min(end) {
                let count = &mut times[usize::try_from(offset)?];
                *count = count.saturating_add(1);
            }
            if last.is_some_and(|last| last.since > batch.since) {
                // Of a former owner that does not know it yet.
                continue;
            }
            if let Some(last) = last {
                let pause_us = u64::try_from(batch.at_us - last.at_us).unwrap_or(0);
                let pause = Duration::from_micros(pause_us);
                if last.since == batch.since {
                    verdict.stayed_max = verdict.stayed_max.max(pause);
                } else {
                    verdict.moves += 1;
                    verdict.moved.push(pause);
                }
            }
            last = Some(batch);
        }
        if let Some(missed) = times.iter().position(|count| *count == 0) {
            bail!("record {missed} of partition {partition} was not processed");
        }
        verdict.processed += end;
        verdict.repeated += times.iter().filter(|count| **count > 1).count() as u64;
        Ok(())
    }

    /// The number of records at the start of a partition that were all processed by a time.
    pub(super) fn processed_until(&self, partition: u32, at_us: i64) -> u64 {
        let batches = self.partitions.get(&partition).into_iter().flatten();
        let mut spans: Vec<(u64, u64)> = batches
            .filter(|batch| batch.at_us <= at_us)
            .map(|batch| (batch.first, batch.next))
            .collect();
        spans.sort_unstable();
        let mut end = 0;
        for (first, next) in spans {
            if first > end {
                break;
            }
            end = end.max(next);
        }
        end
    }
}
