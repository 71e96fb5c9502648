//! What the calls on a group leave to its writer. The writer does them in this order, so that
//! the disk goes through the same states as memory did.

use std::sync::Arc;

use lograft_core::{Entry, LogId, LogIndex, Vote};

use crate::checkpoint::Checkpoint;
use crate::error::StorageError;
use crate::segment::{Filled, Segment};

/// Called once, on the writer's thread, when what it stands for is on disk or cannot get there.
/// Must be quick and must not wait for anything that the writer does.
pub type FlushCallback = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// One task of a writer for one group.
pub(crate) enum Op {
    /// Entries for one segment, from `position` on. `done` goes with the last part of a call.
    Append {
        segment: Arc<Segment>,
        position: u64,
        entries: Vec<Entry>,
        era: u64,
        done: Option<FlushCallback>,
    },
    /// The segment gets no more entries: write its index.
    Seal(Box<Sealed>),
    /// Write the vote and sync it.
    SaveVote { vote: Vote, done: FlushCallback },
    /// Write the committed id noted in the group's state; no sync.
    SaveCommitted,
    /// The log ends after `keep` and goes on in `next`.
    Truncate(Box<Truncation>),
    /// Remove these segments, oldest first, and these checkpoints.
    Purge {
        segments: Vec<Arc<Segment>>,
        checkpoints: Vec<LogIndex>,
    },
    /// The log begins anew, after the checkpoint.
    Reset(Box<Reset>),
    /// Write a checkpoint that the group's state holds.
    PutCheckpoint(Arc<Checkpoint>),
    /// Nothing to write, but `done` comes after what stands before it.
    Barrier(FlushCallback),
    /// The last task before the group is closed.
    Close(FlushCallback),
}

/// A segment that was sealed, with all that its index file holds.
pub(crate) struct Sealed {
    pub(crate) filled: Filled,
    pub(crate) terms: Vec<LogId>,
}

/// A cut of the log's end.
pub(crate) struct Truncation {
    /// The segment that holds it, as far as it stays, when the cut goes through it.
    pub(crate) cut: Option<Sealed>,
    /// Segments of which nothing stays, newest first.
    pub(crate) removed: Vec<Arc<Segment>>,
    /// Checkpoints of what goes.
    pub(crate) checkpoints: Vec<LogIndex>,
    /// Where the log goes on.
    pub(crate) next: Arc<Segment>,
    pub(crate) era: u64,
}

/// A new beginning of the log.
pub(crate) struct Reset {
    pub(crate) checkpoint: Option<Arc<Checkpoint>>,
    /// All segments there were, newest first.
    pub(crate) removed: Vec<Arc<Segment>>,
    /// All older checkpoints.
    pub(crate) checkpoints: Vec<LogIndex>,
    pub(crate) next: Arc<Segment>,
    pub(crate) done: Option<FlushCallback>,
}
