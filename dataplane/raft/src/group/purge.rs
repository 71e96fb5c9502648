//! Purging a log's beginning: a snapshot at the boundary first, so that a follower that is behind
//! it can still be served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::limits::PURGE_HOLD_MAX;
use lograft_core::{LogId, LogIndex, NodeId};
use tokio::time::Instant;

use super::RaftGroup;
use crate::convert::log_id_to_raft;
use crate::error::RaftError;
use crate::status::{GroupStatus, PurgeStatus, Role};

/// Building a snapshot takes the raft core one round, no IO.
const BUILD_TIMEOUT: Duration = Duration::from_secs(10);

/// What a replica's purge waits for.
#[derive(Clone, Default)]
pub(super) struct Purge {
    state: Arc<Mutex<State>>,
}

struct State {
    status: PurgeStatus,
    /// Since when each follower has been behind the boundary.
    behind: BTreeMap<NodeId, Instant>,
    hold_max: Duration,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: PurgeStatus::default(),
            behind: BTreeMap::new(),
            hold_max: PURGE_HOLD_MAX,
        }
    }
}

/// Whether a purge may go on.
enum Hold {
    /// Not yet: a follower is given time.
    Waits,
    /// Yes, whether or not these followers are behind the boundary.
    Passed(Vec<NodeId>),
}

impl Purge {
    pub(super) fn status(&self) -> PurgeStatus {
        self.lock().status
    }

    /// A follower that has been behind `boundary` for less than the time allowed holds back a
    /// purge up to there.
    fn hold(&self, status: &GroupStatus, boundary: LogId, now: Instant) -> Hold {
        let mut state = self.lock();
        let behind = status.followers.iter().filter(|(_, follower)| {
            follower
                .matched
                .is_none_or(|matched| matched.index < boundary.index)
        });
        let behind: BTreeMap<NodeId, Instant> = behind
            .map(|(node, _)| (*node, state.behind.get(node).copied().unwrap_or(now)))
            .collect();
        let mut waiting = behind
            .iter()
            .filter(|(_, s)| now.duration_since(**s) < state.hold_max);
        let held_by = waiting.next().map(|(node, _)| *node);
        let nodes = behind.keys().copied().collect();
        state.behind = behind;
        state.status.held_by = held_by;
        if held_by.is_some() {
            Hold::Waits
        } else {
            Hold::Passed(nodes)
        }
    }

    fn request(&self, up_to: LogIndex) {
        self.lock().status.requested = Some(up_to);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftGroup {
    /// How long a slow follower may hold back a purge of this leader, instead of
    /// `limits::PURGE_HOLD_MAX`.
    pub fn set_purge_hold(&self, hold_max: Duration) {
        self.inner.purge.lock().hold_max = hold_max;
    }

    /// Purges the log up to and including `up_to`, or as far below as a checkpoint stands and
    /// entries are applied. Each replica purges its own log; followers behind a leader's boundary
    /// get its snapshot.
    ///
    /// On a leader, followers that are behind hold the purge back for up to
    /// `limits::PURGE_HOLD_MAX`; until then nothing is done, [`PurgeStatus`] says for whom, and
    /// the call is to be made again later, as retention does anyway.
    ///
    /// Returns the last entry that is or shortly will be purged.
    pub async fn snapshot_and_purge(&self, up_to: LogIndex) -> Result<Option<LogId>, RaftError> {
        self.inner.purge.request(up_to);
        let status = self.status();
        if status.role == Role::Stopped {
            return Err(RaftError::Stopped);
        }
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
        {
            return Ok(status.purged);
        }
        let Hold::Passed(behind) = self.inner.purge.hold(&status, boundary, Instant::now()) else {
            return Ok(status.purged);
        };
        self.build_snapshot(boundary).await?;
        let trigger = self
            .inner
            .raft
            .trigger()
            .purge_log(boundary.index.get())
            .await;
        trigger.map_err(|_| RaftError::Stopped)?;
        // A stream that is still to send what is purged would hold the purge back for ever.
        for node in behind {
            tracing::warn!(group = %self.group(), %node, %boundary, "purging ahead of a follower");
            self.inner.breakers.break_stream(node);
        }
        Ok(Some(boundary))
    }

    async fn build_snapshot(&self, boundary: LogId) -> Result<(), RaftError> {
        self.inner.snapshots.want(boundary.index);
        let trigger = self.inner.raft.trigger().snapshot().await;
        trigger.map_err(|_| RaftError::Stopped)?;
        let mut progress = self.inner.raft.watch_snapshot_progress();
        let target = Some(log_id_to_raft(boundary));
        match tokio::time::timeout(BUILD_TIMEOUT, progress.wait_until_ge(&target)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(RaftError::Stopped),
            Err(_) => Err(RaftError::Timeout {
                what: "the snapshot to be built",
            }),
        }
    }
}
