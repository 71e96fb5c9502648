//! The snapshot that a replica offers: the checkpoint at its purge boundary.
//!
//! A snapshot contains derived state only, never the log: the log is the data. A follower that
//! installs it has the records from the snapshot's end on, and no earlier ones. The snapshot must
//! therefore be at the start of the log: one further on would leave a log hole, records that the
//! leader still serves and the follower can never get.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use lograft_storage::Checkpoint;
use openraft::storage::{RaftSnapshotBuilder, Snapshot, SnapshotMeta};

use crate::convert::{log_id_to_raft, stored_membership};
use crate::membership::decode_membership;
use crate::types::{RaftStoredMembership, Types};

pub(crate) type RaftSnapshot = openraft::type_config::alias::SnapshotOf<Types, Checkpoint>;
pub(crate) type RaftSnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// The current snapshot and the position of the next one. Shared by a group, its state machine
/// adapter and the snapshot builder.
#[derive(Clone, Default)]
pub(crate) struct Snapshots {
    state: Arc<Mutex<SnapshotState>>,
}

#[derive(Default)]
struct SnapshotState {
    current: Option<Checkpoint>,
    /// The checkpoint at the purge boundary, from which the next snapshot is built.
    requested: Option<Checkpoint>,
}

impl Snapshots {
    pub(crate) fn current(&self) -> Option<Checkpoint> {
        self.lock().current.clone()
    }

    pub(crate) fn set_current(&self, checkpoint: Option<Checkpoint>) {
        self.lock().current = checkpoint;
    }

    /// Requests that the next snapshot is built from the checkpoint at a purge boundary.
    pub(crate) fn request(&self, boundary: Checkpoint) {
        self.lock().requested = Some(boundary);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SnapshotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct SnapshotBuilder {
    pub(crate) snapshots: Snapshots,
    /// Used instead of the checkpoint at the boundary.
    pub(crate) forced: Option<Checkpoint>,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let mut state = self.snapshots.lock();
        let at_boundary = self.forced.take().or_else(|| state.requested.clone());
        let newer = match (&state.current, at_boundary) {
            (Some(current), Some(found)) if found.last > current.last => Some(found),
            (None, found) => found,
            _ => None,
        };
        if newer.is_some() {
            state.current = newer;
        }
        // An error would stop openraft's core, and with it the replica. `snapshot_and_purge` reads
        // the checkpoint before it requests a snapshot, so that nothing is read here.
        match &state.current {
            Some(checkpoint) => to_snapshot(checkpoint.clone()),
            None => Err(io::Error::other("no checkpoint at the purge boundary")),
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
