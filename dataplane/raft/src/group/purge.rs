//! Purging a log's beginning: a snapshot at the boundary first, so that a follower that is behind
//! it can still be served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lograft_core::limits::PURGE_HOLD_MAX;
use lograft_core::{LogId, LogIndex, NodeId};
use tokio::time::Instant;

use super::RaftGroup;
use crate::convert::log_id_to_raft;
use crate::error::RaftError;
use crate::status::{GroupStatus, PurgeStatus};

/// Building a snapshot takes the raft core one round, no IO.
const BUILD_TIMEOUT: Duration = Duration::from_secs(10);

/// What a replica's purge waits for.
#[derive(Clone, Default)]
pub(super) struct Purge {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    status: PurgeStatus,
    /// Since when each follower has been behind the boundary.
    behind: BTreeMap<NodeId, Instant>,
}

impl Purge {
    pub(super) fn status(&self) -> PurgeStatus {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .status
    }

    /// Who holds back a purge up to `boundary`: a follower that has been behind it for less than
    /// `PURGE_HOLD_MAX`.
    fn hold(&self, status: &GroupStatus, boundary: LogId, now: Instant) -> Option<NodeId> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = status.followers.iter().filter(|(_, follower)| {
            follower
                .matched
                .is_none_or(|matched| matched.index < boundary.index)
        });
        let behind: BTreeMap<NodeId, Instant> = behind
            .map(|(node, _)| (*node, state.behind.get(node).copied().unwrap_or(now)))
            .collect();
        let held_by = behind
            .iter()
            .find(|(_, since)| now.duration_since(**since) < PURGE_HOLD_MAX)
            .map(|(node, _)| *node);
        state.behind = behind;
        state.status.held_by = held_by;
        held_by
    }

    fn request(&self, up_to: LogIndex) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.status.requested = Some(up_to);
    }
}

impl RaftGroup {
    /// Purges the log up to and including `up_to`, or as far below as a checkpoint stands and
    /// entries are applied. Each replica purges its own log; followers behind a leader's boundary
    /// get its snapshot.
    ///
    /// On a leader, followers that are behind hold the purge back for up to
    /// `limits::PURGE_HOLD_MAX`; then nothing is done, [`PurgeStatus`] says for whom, and the call
    /// is to be made again later, as retention does anyway.
    ///
    /// Returns the last entry that is or shortly will be purged.
    pub async fn snapshot_and_purge(&self, up_to: LogIndex) -> Result<Option<LogId>, RaftError> {
        self.inner.purge.request(up_to);
        let status = self.status();
        let Some(applied) = status.applied else {
            return Ok(None);
        };
        let bound = up_to.min(applied.index);
        let Some(checkpoint) = self.inner.log.checkpoint_at_or_below(bound) else {
            return Ok(status.purged);
        };
        let boundary = checkpoint.last;
        if status
            .purged
            .is_some_and(|purged| purged.index >= boundary.index)
            || self
                .inner
                .purge
                .hold(&status, boundary, Instant::now())
                .is_some()
        {
            return Ok(status.purged);
        }
        self.inner.snapshots.want(boundary.index);
        let trigger = self.inner.raft.trigger();
        trigger.snapshot().await.map_err(|_| RaftError::Stopped)?;
        let mut built = self.inner.raft.watch_snapshot_progress();
        let target = Some(log_id_to_raft(boundary));
        let built = built.wait_until_ge(&target);
        match tokio::time::timeout(BUILD_TIMEOUT, built).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(RaftError::Stopped),
            Err(_) => {
                return Err(RaftError::Timeout {
                    what: "the snapshot to be built",
                });
            }
        }
        trigger
            .purge_log(boundary.index.get())
            .await
            .map_err(|_| RaftError::Stopped)?;
        Ok(Some(boundary))
    }
}
