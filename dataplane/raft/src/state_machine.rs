//! The state machine that a group drives with its committed entries.

use bytes::Bytes;
use lograft_core::{Entry, LogId, Offset};

use crate::error::BoxError;

/// The state machine of a group.
///
/// It MUST be deterministic: the same entries give the same state on every replica, or the replicas
/// diverge. It MUST NOT do IO or block: openraft applies entries with it while proposers wait.
pub trait StateMachine: Send + 'static {
    /// Applies the next committed entry. Called once for every entry in log order, including blank
    /// and membership entries.
    ///
    /// The payload of a `Records` entry may be empty, since payload is not part of the state and is
    /// not read to apply it. The remaining fields are as proposed.
    fn apply(&mut self, entry: &Entry) -> Response;

    /// Publishes the state to readers. Called after a run of `apply` calls, before their proposers
    /// are answered, and after a `restore`. A client therefore reads its own acknowledged writes.
    fn batch_done(&mut self, applied: LogId);

    /// Encodes the whole state after the last applied entry, for [`StateMachine::restore`].
    fn checkpoint(&self) -> Bytes;

    /// Replaces the state by a checkpoint; an empty checkpoint means the state before the first
    /// entry. May be called at any time, with a checkpoint before or after the current state. Fails
    /// if the checkpoint does not decode.
    fn restore(&mut self, state: &[u8]) -> Result<(), BoxError>;
}

/// The result of applying an entry, for its proposer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// No result: the entry is not a proposal of records or a command, or it was voided.
    #[default]
    None,
    /// A record batch is in the log and readable.
    Records {
        /// The offset of the batch's first record.
        base_offset: Offset,
        /// The number of records in the batch.
        record_count: u32,
    },
    /// The outcome of a command of the meta group, in the state machine's own encoding.
    Command(Bytes),
}
