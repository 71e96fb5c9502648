//! The operations that calls on a group queue for its writer. The writer executes them in the order
//! of the calls, so that the disk goes through the same states as the memory did.

use std::sync::Arc;

use lograft_core::{Entry, LogId, LogIndex, Vote};

use crate::checkpoint::Checkpoint;
use crate::error::StorageError;
use crate::segment::{Segment, SegmentExtent};

/// Called exactly once, on the writer thread, when the operation is on disk or has failed. It MUST
/// be quick, and MUST NOT wait for other operations of the writer.
pub type FlushCallback = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// One callback that calls all of these.
pub(crate) fn call_all(mut callbacks: Vec<FlushCallback>) -> Option<FlushCallback> {
    if callbacks.len() <= 1 {
        return callbacks.pop();
    }
    Some(Box::new(move |result| {
        for done in callbacks {
            done(result.clone());
        }
    }))
}

/// One operation of the writer for one group.
pub(crate) enum Op {
    /// Writes entries of one segment at `position`. If an append spans several segments, `done`
    /// belongs to its last part.
    Append {
        segment: Arc<Segment>,
        position: u64,
        entries: Vec<Entry>,
        /// The size of the entries in memory, bytes.
        bytes: usize,
        truncation_epoch: u64,
        done: Option<FlushCallback>,
    },
    /// Writes the index of a segment that gets no more entries.
    Seal(Box<SealedSegment>),
    /// Writes and syncs the vote.
    SaveVote { vote: Vote, done: FlushCallback },
    /// Writes the committed id of the in-memory state, without a sync.
    SaveCommitted,
    /// Removes the end of the log and creates the segment in which it continues.
    Truncate(Box<Truncation>),
    /// Removes these segments, oldest first, and these checkpoints.
    Purge {
        segments: Vec<Arc<Segment>>,
        checkpoints: Vec<LogIndex>,
    },
    /// Replaces the whole log by an empty one that starts after a checkpoint.
    Reset(Box<Reset>),
    /// Writes a checkpoint of the in-memory state.
    PutCheckpoint(Arc<Checkpoint>),
    /// Tries the operations that wait for room on the disk again.
    Retry,
    /// Writes nothing; `done` is called after all earlier operations.
    Barrier(FlushCallback),
    /// The last operation before the group is closed.
    Close(FlushCallback),
}

impl Op {
    /// The size of the entries that it keeps in memory, bytes.
    pub(crate) fn entries_bytes(&self) -> usize {
        match self {
            Self::Append { bytes, .. } => *bytes,
            _ => 0,
        }
    }
}

/// A sealed segment and the contents of its index file.
pub(crate) struct SealedSegment {
    pub(crate) extent: SegmentExtent,
    pub(crate) terms: Vec<LogId>,
}

/// The removal of the end of the log.
pub(crate) struct Truncation {
    /// The segment that loses only its end, with the extent that remains; `None` if the log is cut
    /// before all entries.
    pub(crate) shortened: Option<SealedSegment>,
    /// The segments that are removed completely, newest first.
    pub(crate) removed: Vec<Arc<Segment>>,
    /// Checkpoints of removed entries.
    pub(crate) checkpoints: Vec<LogIndex>,
    /// The new segment in which the log continues.
    pub(crate) next: Arc<Segment>,
    /// The truncation epoch of the log after it.
    pub(crate) epoch: u64,
}

/// The replacement of the whole log by an empty one.
pub(crate) struct Reset {
    /// The checkpoint after which the log continues; `None` after a purge beyond the end.
    pub(crate) checkpoint: Option<Arc<Checkpoint>>,
    /// All old segments, newest first.
    pub(crate) removed: Vec<Arc<Segment>>,
    /// All old checkpoints.
    pub(crate) checkpoints: Vec<LogIndex>,
    /// The new first segment.
    pub(crate) next: Arc<Segment>,
    pub(crate) done: Option<FlushCallback>,
}
