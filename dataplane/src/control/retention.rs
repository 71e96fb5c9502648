//! Retention: the leader of a partition moves the log start forward through raft, and each replica
//! deletes its own whole segments below it. The meta group's log is purged in the same way.

use std::sync::Arc;

use lograft_core::check::ClockState;
use lograft_core::cluster_time::ClusterTime;
use lograft_core::limits::APPEND_TIMES_READ_MAX_COUNT;
use lograft_core::retention::{RetentionPolicy, SegmentSummary, oldest_kept, trim_to};
use lograft_core::{EntryKind, LogIndex, Offset, PartitionState, Proposal, Term};
use lograft_raft::RaftGroup;
use lograft_storage::{GroupLog, SegmentInfo};
use tracing::{debug, warn};

use super::task_registry::{TaskKind, TaskRegistry};
use crate::blocking::run_blocking;
use crate::error_text::error_chain;
use crate::exchange::NodeExchange;
use crate::serving::replica::Replica;

/// The next step of a partition's retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Propose this log start in this term.
    Trim(Offset, Term),
    /// Delete the segments up to this entry, inclusive.
    Purge(LogIndex),
    /// Read the append times of the oldest segments, up to one of this time or later.
    ReadTimes(i64),
}

/// The last entry of the last whole segment below the log start, if it has not been purged.
fn purgeable(
    segments: &[SegmentInfo],
    log_start: Offset,
    purged: Option<LogIndex>,
) -> Option<LogIndex> {
    let below = segments
        .iter()
        .take_while(|s| s.sealed && s.next_offset <= log_start);
    let last = below.last()?.last?.index;
    purged.is_none_or(|purged| purged < last).then_some(last)
}

/// The last entry of the sealed segments of a log whose snapshots are the whole state, if it has
/// not been purged.
pub(crate) fn state_purgeable(
    segments: &[SegmentInfo],
    purged: Option<LogIndex>,
) -> Option<LogIndex> {
    let last = segments.iter().take_while(|s| s.sealed).last()?.last?.index;
    purged.is_none_or(|purged| purged < last).then_some(last)
}

fn summary(segment: &SegmentInfo) -> SegmentSummary {
    let SegmentInfo {
        base_offset,
        next_offset,
        bytes,
        append_time_ms,
        sealed,
        ..
    } = *segment;
    SegmentSummary {
        base_offset,
        next_offset,
        bytes,
        append_time_ms,
        sealed,
    }
}

/// Applies the retention of partitions.
#[derive(Clone)]
pub(crate) struct Retention {
    pub(crate) exchange: NodeExchange,
    pub(crate) tasks: TaskRegistry,
}

impl Retention {
    /// Starts a trim or a purge if one is due.
    pub(crate) fn check(&self, policy: RetentionPolicy, replica: &Arc<Replica>) {
        let Some(step) = self.next_step(policy, replica) else {
            return;
        };
        let (this, replica) = (self.clone(), Arc::clone(replica));
        self.tasks
            .spawn_once(TaskKind::Retention(replica.group), async move {
                match step {
                    Step::Trim(to, term) => this.trim(&replica, to, term).await,
                    Step::Purge(up_to) => {
                        purge(&replica.raft, up_to).await;
                        false
                    }
                    Step::ReadTimes(oldest_kept) => {
                        let log = replica.log.clone();
                        let read = run_blocking(move || read_append_times(&log, oldest_kept));
                        read.await.unwrap_or(false)
                    }
                }
            });
    }

    /// Purges the log of a coordinator up to its active segment if it has others: its snapshot is
    /// its whole state.
    pub(crate) fn check_coordinator(&self, replica: &Replica) {
        let purged = replica.raft.watch().borrow().purged.map(|id| id.index);
        let Some(up_to) = state_purgeable(&replica.log.segments(), purged) else {
            return;
        };
        let (raft, kind) = (replica.raft.clone(), TaskKind::Retention(replica.group));
        self.tasks.spawn_once(kind, async move {
            purge(&raft, up_to).await;
            false
        });
    }

    fn next_step(&self, policy: RetentionPolicy, replica: &Replica) -> Option<Step> {
        let keeps_all = policy == RetentionPolicy::default();
        let log_start = replica.state.watermarks().log_start_offset;
        if keeps_all && log_start == Offset::ZERO {
            return None;
        }
        let segments = replica.log.segments();
        let status = replica.raft.watch();
        let status = status.borrow();
        let mut unknown = None;
        if status.ready {
            let summaries: Vec<SegmentSummary> = segments.iter().map(summary).collect();
            let now_ms = self.known_time();
            unknown = oldest_kept(policy, now_ms);
            let due = trim_to(&summaries, policy, now_ms);
            // Never beyond the high watermark: records above it are not committed. They may still
            // be replaced by another leader's, or acknowledged later.
            let to = due.map(|to| to.min(replica.state.watermarks().high_watermark));
            if let Some(to) = to.filter(|to| *to > log_start) {
                return Some(Step::Trim(to, status.term));
            }
        }
        let purged = status.purged.map(|id| id.index);
        // Last, because it may fail again and again: a disk that cannot be read must not hold up
        // the retention by size.
        let unknown = unknown.filter(|_| has_unknown_time(&segments, log_start));
        let purge = purgeable(&segments, log_start, purged).map(Step::Purge);
        purge.or(unknown.map(Step::ReadTimes))
    }

    /// The time by which records expire; `None` while this node's clock differs from those of the
    /// others, or is not compared with them: nothing expires by age then.
    fn known_time(&self) -> Option<i64> {
        let ClusterTime { now_ms, state } = self.exchange.time();
        (state == ClockState::Agreed).then_some(now_ms)
    }

    async fn trim(&self, replica: &Replica, to: Offset, term: Term) -> bool {
        let group = replica.group;
        let payload = PartitionState::trim_payload(to);
        let proposal = Proposal::control(EntryKind::Trim, self.exchange.time().now_ms, payload);
        let committed = async { replica.raft.propose(proposal, term).await?.await };
        match committed.await {
            Ok(_) => {
                debug!(%group, log_start_offset = %to, "log start moved");
                true
            }
            Err(error) => {
                debug!(%group, error = error_chain(&error), "cannot move the log start, will retry");
                false
            }
        }
    }
}

/// Whether the append time of the oldest segment with readable records is not known: after a
/// restart, that of a sealed segment has to be read from it, since its index file does not have it.
fn has_unknown_time(segments: &[SegmentInfo], log_start: Offset) -> bool {
    let readable = |s: &&SegmentInfo| s.next_offset > s.base_offset.max(log_start);
    let mut with_records = segments.iter().filter(readable);
    with_records
        .next()
        .is_some_and(|segment| segment.append_time_ms.is_none())
}

/// Reads the append times of the oldest segments, up to the first that is not older. Returns
/// whether all of them could be read.
fn read_append_times(log: &GroupLog, oldest_kept: i64) -> bool {
    let segments = log.segments();
    for segment in segments.iter().take(APPEND_TIMES_READ_MAX_COUNT) {
        match log.read_append_time(segment.base_index) {
            Ok(Some(time_ms)) if time_ms >= oldest_kept => return true,
            Ok(_) => {}
            Err(error) => {
                let (group, error) = (log.id(), error_chain(&error));
                warn!(%group, error, "cannot read the append time of a segment, will retry");
                return false;
            }
        }
    }
    true
}

/// Takes a snapshot of the group's state and deletes its log up to `up_to`, inclusive.
pub(crate) async fn purge(raft: &RaftGroup, up_to: LogIndex) {
    if let Err(error) = raft.snapshot_and_purge(up_to).await {
        let error = error_chain(&error);
        warn!(group = %raft.group(), index = %up_to, error, "cannot purge the log, will retry");
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::LogId;

    use super::*;

    fn segment(base: u64, next: u64, last_index: u64, sealed: bool) -> SegmentInfo {
        SegmentInfo {
            base_index: LogIndex(0),
            last: Some(LogId {
                term: Term(1),
                index: LogIndex(last_index),
            }),
            base_offset: Offset(base),
            next_offset: Offset(next),
            bytes: 1000,
            max_time_ms: 0,
            append_time_ms: Some(0),
            sealed,
        }
    }

    #[test]
    fn only_whole_sealed_segments_below_the_log_start_are_purged() {
        let segments = [
            segment(0, 10, 4, true),
            segment(10, 20, 9, true),
            segment(20, 30, 14, false),
        ];
        let up_to = |start, purged| purgeable(&segments, Offset(start), purged);
        assert_eq!(up_to(9, None), None);
        assert_eq!(up_to(10, None), Some(LogIndex(4)));
        assert_eq!(up_to(19, None), Some(LogIndex(4)));
        assert_eq!(up_to(19, Some(LogIndex(4))), None, "purged already");
        assert_eq!(
            up_to(30, Some(LogIndex(4))),
            Some(LogIndex(9)),
            "the active segment stays"
        );
        assert_eq!(purgeable(&[], Offset(30), None), None);
    }

    #[test]
    fn only_the_oldest_segment_with_records_needs_its_append_time() {
        let mut segments = [
            segment(0, 0, 1, true),
            segment(0, 10, 4, true),
            segment(10, 20, 9, true),
        ];
        segments[0].append_time_ms = None;
        segments[2].append_time_ms = None;
        let has_unknown = |segments: &[_], start| has_unknown_time(segments, Offset(start));
        assert!(!has_unknown(&segments, 0));
        assert!(
            has_unknown(&segments, 10),
            "the one before is below the log start"
        );
        segments[1].append_time_ms = None;
        assert!(has_unknown(&segments, 0));
        assert!(!has_unknown(&[], 0));
    }

    #[test]
    fn a_log_with_whole_snapshots_keeps_its_active_segment() {
        let segments = [segment(0, 0, 4, true), segment(0, 0, 9, false)];
        assert_eq!(state_purgeable(&segments, None), Some(LogIndex(4)));
        assert_eq!(state_purgeable(&segments, Some(LogIndex(4))), None);
        assert_eq!(state_purgeable(&segments[1..], None), None);
    }
}
