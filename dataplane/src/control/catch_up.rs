//! Whether the metadata view is at least as new as before the node's last stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lograft_core::LogId;
use lograft_raft::GroupStatus;
use tokio::sync::watch;

/// Set once the view has replayed everything that this node may have applied before it stopped.
///
/// Before that the view shows an old state: a loop that acted on it would delete replicas that were
/// moved here later, or recreate replicas that were moved away. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct CatchUp(Arc<AtomicBool>);

impl CatchUp {
    /// Whether the view may be acted on.
    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Marks the view as caught up.
    pub(crate) fn set_done(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Marks the view as caught up once the replica has applied everything that it may have applied
    /// before its start, where its log ended at `last`. Returns whether that happened, and not the
    /// end of the replica.
    pub(crate) async fn follow(
        self,
        mut status: watch::Receiver<GroupStatus>,
        last: LogId,
    ) -> bool {
        let has_replayed = status.wait_for(|now| has_replayed(now.applied, last)).await;
        let is_done = has_replayed.is_ok();
        if is_done {
            self.set_done();
        }
        is_done
    }
}

/// Whether all that was committed up to `last`, the end of the log at the start, is applied.
///
/// The log may have ended with entries that were never committed: those of a leader that restarted
/// before a majority had them. Another leader then replaces them, and its log may be shorter: the
/// index of `last` may not be reached until somebody changes the metadata, which can take days. But
/// terms never decrease along a log, so an applied entry of a later term is behind all entries up
/// to the term of `last` that were committed. That is the order of log ids: by term, then by index.
fn has_replayed(applied: Option<LogId>, last: LogId) -> bool {
    applied.is_some_and(|applied| applied >= last)
}

#[cfg(test)]
mod tests {
    use lograft_core::{LogIndex, Term};

    use super::*;
    use crate::control::test_status;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            term: Term(term),
            index: LogIndex(index),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_restarted_with_an_uncommitted_tail_catches_up_with_a_shorter_log() {
        let mut status = test_status::leading(2, &[1, 2, 3]);
        status.applied = None;
        let (statuses, watched) = watch::channel(status);
        let catch_up = CatchUp::default();
        // It had appended up to 109 in term 2; up to 104 is committed.
        let following = tokio::spawn(catch_up.clone().follow(watched, id(2, 109)));
        for applied in [id(1, 90), id(2, 104), id(2, 108)] {
            statuses.send_modify(|status| status.applied = Some(applied));
            tokio::task::yield_now().await;
            assert!(!catch_up.is_done(), "{applied}");
        }
        // The first entry of the next leader.
        statuses.send_modify(|status| status.applied = Some(id(3, 105)));
        let done = tokio::time::timeout(std::time::Duration::from_secs(1), following).await;
        assert!(done.expect("it waits for an index").unwrap());
        assert!(catch_up.is_done());
    }

    #[tokio::test]
    async fn a_replica_that_stops_has_not_caught_up() {
        let (statuses, watched) = watch::channel(test_status::leading(2, &[2]));
        let catch_up = CatchUp::default();
        drop(statuses);
        assert!(!catch_up.clone().follow(watched, id(9, 9)).await);
        assert!(!catch_up.is_done());
    }
}
