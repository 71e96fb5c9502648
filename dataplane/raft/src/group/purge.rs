//! Purging the start of the log, after a snapshot was built at the purge boundary.
//!
//! The snapshot is built first, since a follower that needs purged entries can only continue from a
//! snapshot. With the order reversed, the leader would offer the snapshot at the previous boundary
//! for a while, and the entries that follow this snapshot would be gone: a log hole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::limits::{PURGE_HOLD_MAX, RAFT_SNAPSHOT_BUILD_TIMEOUT};
use lograft_core::{LogId, LogIndex, NodeId};
use lograft_storage::Checkpoint;
use tokio::time::Instant;

use super::RaftGroup;
use crate::convert::log_id_to_raft;
use crate::error::RaftError;
use crate::read::read_for_raft;
use crate::status::{GroupStatus, PurgeStatus, Role};

/// The followers that delay a replica's purge. Clones share it.
#[derive(Clone, Default)]
pub(super) struct PurgeState {
    inner: Arc<Mutex<PurgeProgress>>,
}

struct PurgeProgress {
    status: PurgeStatus,
    /// The time at which each follower was first seen behind the boundary.
    behind: BTreeMap<NodeId, Instant>,
    hold_max: Duration,
}

impl Default for PurgeProgress {
    fn default() -> Self {
        Self {
            status: PurgeStatus::default(),
            behind: BTreeMap::new(),
            hold_max: PURGE_HOLD_MAX,
        }
    }
}

/// Whether a purge may proceed.
enum PurgeHold {
    /// A slow follower still has time to catch up.
    Wait,
    /// The purge may proceed. These followers are behind the boundary and will need a snapshot.
    Proceed(Vec<NodeId>),
}

impl PurgeState {
    pub(super) fn status(&self) -> PurgeStatus {
        self.lock().status
    }

    /// Decides whether the log may be purged up to `boundary`. A follower that has been behind it
    /// for less than `hold_max` delays the purge.
    fn hold(&self, status: &GroupStatus, boundary: LogId, now: Instant) -> PurgeHold {
        // A follower that is only slow should catch up from the log: a snapshot empties its log and
        // interrupts its append stream. The time for it is bounded, since a follower that is down
        // must not let the disks of the others fill up.
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
            .filter(|(_, since)| now.duration_since(**since) < state.hold_max);
        let held_by = waiting.next().map(|(node, _)| *node);
        let nodes = behind.keys().copied().collect();
        state.behind = behind;
        state.status.held_by = held_by;
        if held_by.is_some() {
            PurgeHold::Wait
        } else {
            PurgeHold::Proceed(nodes)
        }
    }

    fn request(&self, up_to: LogIndex) {
        self.lock().status.requested = Some(up_to);
    }

    fn lock(&self) -> MutexGuard<'_, PurgeProgress> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftGroup {
    /// Sets the time that a slow follower may delay a purge, for tests. The default is
    /// `limits::PURGE_HOLD_MAX`.
    pub fn set_purge_hold(&self, hold_max: Duration) {
        self.inner.purge.lock().hold_max = hold_max;
    }

    /// Purges the log up to `up_to` (inclusive), or up to the newest checkpoint below it that is
    /// applied. Each replica purges its own log. Followers behind a leader's boundary receive its
    /// snapshot.
    ///
    /// On a leader, followers that are behind the boundary delay the purge for up to
    /// `limits::PURGE_HOLD_MAX`. Until then the call does nothing, [`PurgeStatus`] names the
    /// follower, and the caller must repeat the call later.
    ///
    /// Returns the last entry that is purged or is about to be, if any. Fails with
    /// [`RaftError::Timeout`] or [`RaftError::Read`], after which the caller may retry, or with
    /// [`RaftError::Stopped`].
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
        let log = &self.inner.log;
        let found = read_for_raft(log, move |log| log.checkpoint_at_or_below(bound)).await;
        let group = self.group();
        let found = found
            .and_then(|found| found)
            .map_err(|source| RaftError::Read { group, source })?;
        let Some(checkpoint) = found else {
            return Ok(status.purged);
        };
        let boundary = checkpoint.last;
        if status
            .purged
            .is_some_and(|purged| purged.index >= boundary.index)
        {
            return Ok(status.purged);
        }
        let PurgeHold::Proceed(behind) = self.inner.purge.hold(&status, boundary, Instant::now())
        else {
            return Ok(status.purged);
        };
        self.build_snapshot(checkpoint).await?;
        let trigger = self
            .inner
            .raft
            .trigger()
            .purge_log(boundary.index.get())
            .await;
        trigger.map_err(|_| RaftError::Stopped)?;
        // openraft purges no entry that an open append stream has not sent yet. A stream that hangs
        // would delay the purge indefinitely, so it is aborted; its replacement starts with a
        // snapshot.
        for node in behind {
            tracing::warn!(
                group = %self.group(), node_id = %node, %boundary,
                "purged log entries that a slow follower needs"
            );
            self.inner.append_streams.abort(node);
        }
        Ok(Some(boundary))
    }

    async fn build_snapshot(&self, checkpoint: Checkpoint) -> Result<(), RaftError> {
        let boundary = checkpoint.last;
        self.inner.snapshots.request(checkpoint);
        let trigger = self.inner.raft.trigger().snapshot().await;
        trigger.map_err(|_| RaftError::Stopped)?;
        let mut progress = self.inner.raft.watch_snapshot_progress();
        let target = Some(log_id_to_raft(boundary));
        match tokio::time::timeout(RAFT_SNAPSHOT_BUILD_TIMEOUT, progress.wait_until_ge(&target))
            .await
        {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(RaftError::Stopped),
            Err(_) => Err(RaftError::Timeout {
                what: "the snapshot",
            }),
        }
    }
}
