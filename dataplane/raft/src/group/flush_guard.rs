//! A leader whose own disk does not flush, or does not answer reads, gives up its leadership.
//!
//! Raft commits an entry once a majority has it on disk, and the leader need not be part of it. A
//! leader with a disk that hangs could therefore lead on through its followers' disks: it would
//! collect entries in memory that it can neither flush nor drop, and no replica that it stops
//! being ready for would notice, since its heartbeats still arrive.
//!
//! Reads are the same: a leader that cannot read the entries that its followers or its own state
//! machine need commits nothing more, and its heartbeats still arrive.
//!
//! The successor is a voter that has nearly all of the log on disk, which proves that its disk
//! works. If there is none, the leader stops its heartbeats, and any voter may be elected.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::NodeId;
use lograft_core::limits::{FLUSH_LAG_GRACE, FLUSH_LAG_INTERVAL, TRANSFER_LAG_MAX_COUNT};
use tokio::sync::watch;
use tokio::time::timeout;

use super::RaftGroup;
use crate::error::RaftError;
use crate::status::{GroupStatus, Role};

/// Steps between the checks of different groups, so that not all give up at the same moment.
const JITTER_STEPS: u32 = 16;

/// Checks the disk of a replica while it leads, until it stops. `stalled` says whether they
/// lag.
// The task keeps the replica alive only while it checks it: a node that stops closes its logs as
// soon as the replicas have stopped.
pub(super) fn spawn(group: &RaftGroup, stalled: watch::Sender<bool>) {
    let inner = Arc::downgrade(&group.inner);
    let (id, mut status) = (group.group(), group.watch());
    tokio::spawn(async move {
        let step = u32::try_from(id.get() % u64::from(JITTER_STEPS)).unwrap_or(0);
        let jitter: Duration = FLUSH_LAG_INTERVAL * step / JITTER_STEPS;
        loop {
            let now = status.wait_for(|now| now.is_leader() || now.role == Role::Stopped);
            match now.await {
                Ok(now) if now.is_leader() => {}
                Ok(_) | Err(_) => return,
            }
            let changed = status.wait_for(|now| !now.is_leader());
            if timeout(FLUSH_LAG_INTERVAL + jitter, changed).await.is_ok() {
                continue;
            }
            let Some(inner) = inner.upgrade() else {
                return;
            };
            let group = RaftGroup { inner };
            let is_stalled = group.log().disk_lags();
            stalled.send_if_modified(|known| std::mem::replace(known, is_stalled) != is_stalled);
            if is_stalled {
                group.give_up_leadership().await;
            }
        }
    });
}

impl RaftGroup {
    /// Waits until the disk of this leader has lagged for so long that another leader has probably
    /// taken over. A proposal may stay without an answer then: this replica notices its successor
    /// only once its disk has written the vote for it.
    pub async fn disk_hangs(&self) {
        let mut stalled = self.inner.stalled.clone();
        while stalled.wait_for(|stalled| *stalled).await.is_ok() {
            let over = stalled.wait_for(|stalled| !*stalled);
            if timeout(FLUSH_LAG_GRACE, over).await.is_err() {
                return;
            }
        }
        // The replica has stopped, and its proposals are answered.
        std::future::pending::<()>().await;
    }

    /// Hands the leadership over to a voter that has nearly all of the log on disk; if there is
    /// none, stops the heartbeats so that the others elect a leader. Does nothing if this replica
    /// does not lead or is the only voter.
    pub async fn give_up_leadership(&self) {
        let status = self.status();
        if !status.is_leader()
            || status
                .followers
                .keys()
                .all(|node| !is_voter(&status, *node))
        {
            return;
        }
        let group = self.group();
        let lag_ms = self.log().flush_lag().as_millis();
        let handed = match successor(&status) {
            Some(to) => {
                tracing::warn!(%group, to_node_id = %to, lag_ms, "disk lags, giving up leadership");
                self.transfer_leader(to).await
            }
            None => Err(RaftError::NoQuorum),
        };
        // A transfer that timed out has stepped down already.
        if let Err(RaftError::NotCaughtUp { .. } | RaftError::NoQuorum) = handed {
            self.step_down("the disk lags and no follower has caught up")
                .await;
        }
    }
}

fn is_voter(status: &GroupStatus, node: NodeId) -> bool {
    let joint = status.joint.as_ref();
    status.voters.contains(&node) || joint.is_some_and(|joint| joint.contains(&node))
}

/// The voter with the smallest lag, if it can take over.
fn successor(status: &GroupStatus) -> Option<NodeId> {
    let node = status.closest_follower(|node| is_voter(status, node))?;
    status
        .is_caught_up(node, TRANSFER_LAG_MAX_COUNT)
        .then_some(node)
}
