//! The one snapshot a replica offers: the checkpoint at its purge boundary.
//!
//! A snapshot holds derived state only, never the log. It must therefore stand exactly where the
//! log begins: a follower that installs it gets every entry after it as log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::LogIndex;
use lograft_storage::{Checkpoint, GroupLog};
use openraft::storage::{RaftSnapshotBuilder, Snapshot, SnapshotMeta};

use crate::convert::{log_id_to_raft, stored_membership};
use crate::membership::decode_membership;
use crate::types::{RaftStoredMembership, Types};

pub(crate) type RaftSnapshot = openraft::type_config::alias::SnapshotOf<Types, Checkpoint>;
pub(crate) type RaftSnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// The snapshot on offer, and where the next shall stand. Shared by a group, its state machine
/// and the builder.
#[derive(Clone, Default)]
pub(crate) struct Snapshots {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    current: Option<Checkpoint>,
    wanted: Option<LogIndex>,
}

impl Snapshots {
    pub(crate) fn current(&self) -> Option<Checkpoint> {
        self.lock().current.clone()
    }

    pub(crate) fn set_current(&self, checkpoint: Option<Checkpoint>) {
        self.lock().current = checkpoint;
    }

    /// Sets where the next snapshot shall stand.
    pub(crate) fn want(&self, boundary: LogIndex) {
        self.lock().wanted = Some(boundary);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct SnapshotBuilder {
    pub(crate) log: GroupLog,
    pub(crate) snapshots: Snapshots,
    /// Taken instead of what stands at the boundary.
    pub(crate) forced: Option<Checkpoint>,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let mut state = self.snapshots.lock();
        let wanted = state.wanted;
        let at_boundary = self
            .forced
            .take()
            .or_else(|| wanted.and_then(|wanted| self.log.checkpoint_at_or_below(wanted)));
        let newer = match (&state.current, at_boundary) {
            (Some(current), Some(found)) if found.last > current.last => Some(found),
            (None, found) => found,
            _ => None,
        };
        if newer.is_some() {
            state.current = newer;
        }
        // An error would end the raft core, so `snapshot_and_purge` asks for no snapshot before
        // its checkpoint is there.
        match &state.current {
            Some(checkpoint) => to_snapshot(checkpoint.clone()),
            None => Err(io::Error::other(
                "no checkpoint stands at the purge boundary",
            )),
        }
    }
}

pub(crate) fn to_snapshot(checkpoint: Checkpoint) -> io::Result<RaftSnapshot> {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id_to_raft(checkpoint.last)),
        last_membership: membership_of(&checkpoint)?,
    };
    Ok(Snapshot {
        meta,
        snapshot: checkpoint,
    })
}

pub(crate) fn membership_of(checkpoint: &Checkpoint) -> io::Result<RaftStoredMembership> {
    let membership = decode_membership(&checkpoint.membership).map_err(io::Error::other)?;
    Ok(stored_membership(checkpoint.membership_id, &membership))
}
