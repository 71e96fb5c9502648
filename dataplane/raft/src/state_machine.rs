//! What a group does with its committed entries.

use bytes::Bytes;
use lograft_core::{Entry, LogId, Offset};

use crate::error::BoxError;

/// The state machine of a group. Deterministic: the same entries give the same state on every
/// replica. It does no IO and never blocks: it is called on the replication path.
pub trait StateMachine: Send + 'static {
    /// Applies the next committed entry. Called once for every entry in log order, blank and
    /// membership entries included.
    ///
    /// The payload of a `Records` entry may be left out (empty): its length is no part of the
    /// state. All else of the entry is as it was proposed.
    fn apply(&mut self, entry: &Entry) -> Response;

    /// Called after a run of `apply` calls, before their proposers are answered, and after a
    /// `restore`: the place to publish watermarks, so that whoever was answered also sees them.
    fn batch_done(&mut self, applied: LogId);

    /// The whole state after the last applied entry, for [`StateMachine::restore`].
    fn checkpoint(&self) -> Bytes;

    /// Replaces the state by a checkpoint, an empty one meaning the state before the first entry.
    /// May be called at any time, also to go back or ahead.
    fn restore(&mut self, state: &[u8]) -> Result<(), BoxError>;
}

/// What applying an entry gave, for its proposer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// Nothing.
    #[default]
    None,
    /// A record batch got its offsets.
    Records {
        /// The offset of its first record.
        base_offset: Offset,
        /// Its records.
        record_count: u32,
    },
    /// What a command of the meta group gave, in the machine's own encoding.
    Command(Bytes),
}
