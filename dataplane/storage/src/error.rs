//! The errors of storage: one enum per kind of call. All can be cloned, since one failed flush
//! fails every append that waited for it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogId, LogIndex, NodeId, Offset, Term};
use thiserror::Error;

use crate::hard_state::HardState;

/// What was tried on a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the name of the call")]
pub enum Action {
    Create,
    Open,
    Read,
    Write,
    Sync,
    Allocate,
    Rename,
    Remove,
    List,
    Lock,
    Map,
    SetLength,
    Measure,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Allocate => "allocate space for",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Lock => "lock",
            Self::Map => "map",
            Self::SetLength => "set the length of",
            Self::Measure => "measure the free space of",
        })
    }
}

/// A call failed.
#[derive(Clone, Debug, Error)]
pub enum StorageError {
    /// The file system refused.
    #[error("could not {action} {path}")]
    Io {
        /// What was tried.
        action: Action,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed; nothing is written any more until the node restarts.
    #[error("storage stopped after a failed write")]
    Stopped(#[source] Arc<StorageError>),
    /// A writer thread could not be started.
    #[error("could not start a writer thread")]
    Spawn(#[source] Arc<io::Error>),
    /// The group was closed or removed.
    #[error("group {0} is closed")]
    Closed(GroupId),
    /// The group is just being opened by another caller.
    #[error("group {0} is just being opened")]
    Opening(GroupId),
    /// Entries must follow the log's end without a gap.
    #[error("group {group}: entry {got} does not follow the log's end, {expected} does")]
    NotConsecutive {
        /// The group.
        group: GroupId,
        /// The index that must come next.
        expected: LogIndex,
        /// The index that came.
        got: LogIndex,
    },
    /// Terms never go back along a log.
    #[error("group {group}: entry {got} is of an older term than {last} at the log's end")]
    TermWentBack {
        /// The group.
        group: GroupId,
        /// The term at the log's end.
        last: Term,
        /// The entry that came.
        got: LogId,
    },
    /// A peer's entry has another offset than this log gives it: the logs differ.
    #[error("group {group}: entry {id} comes with offset {got}, its place is {expected}")]
    OffsetMismatch {
        /// The group.
        group: GroupId,
        /// The entry.
        id: LogId,
        /// The offset that follows from this log.
        expected: Offset,
        /// The offset that came with the entry.
        got: Offset,
    },
    /// The payload is larger than an entry may be.
    #[error("group {group}: entry {id} holds {bytes} bytes, at most {bound} are allowed")]
    EntryTooLarge {
        /// The group.
        group: GroupId,
        /// The entry.
        id: LogId,
        /// Its payload, bytes.
        bytes: usize,
        /// The bound, bytes.
        bound: usize,
    },
    /// Bytes on disk are not what was written. The replica must be fetched again.
    #[error("group {group}: {damage}")]
    Corrupt {
        /// The group.
        group: GroupId,
        /// What is damaged.
        damage: Damage,
    },
    /// The data directory belongs to a node already.
    #[error("the data directory belongs to node {node_id} of cluster {cluster_id}")]
    IdentityExists {
        /// The cluster it belongs to.
        cluster_id: ClusterId,
        /// The node it belongs to.
        node_id: NodeId,
    },
    /// The identity file's bytes are not what was written.
    #[error("the identity file {path} is damaged")]
    IdentityDamaged {
        /// Where it stands.
        path: PathBuf,
    },
    /// Another process works in the data directory.
    #[error("another process uses {path}")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

impl StorageError {
    pub(crate) fn io(action: Action, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it, bytes.
    pub position: u64,
    /// The log index that should stand there, where one is meant.
    pub index: Option<LogIndex>,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at byte {}",
            self.path.display(),
            self.position
        )?;
        if let Some(index) = self.index {
            write!(f, " (entry {index})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A group could not be opened.
#[derive(Clone, Debug, Error)]
pub enum OpenError {
    /// The files are damaged. They are kept aside, and the next open starts from nothing.
    #[error("group {group} is corrupt, its files are kept in {kept}: {damage}")]
    Corrupt {
        /// The group.
        group: GroupId,
        /// Where its files are now.
        kept: PathBuf,
        /// What is damaged.
        damage: Box<Damage>,
        /// The vote, if that could still be read: save it in the fresh log before it votes again.
        hard_state: Option<HardState>,
    },
    /// The files belong to another cluster.
    #[error("group {group}: the files in {path} belong to cluster {found}")]
    OtherCluster {
        /// The group.
        group: GroupId,
        /// Where the files stand.
        path: PathBuf,
        /// The cluster they belong to.
        found: ClusterId,
    },
    /// Another release wrote the files, in a format that this one does not know.
    #[error("group {group}: {path} is of format version {found}, which this release cannot read")]
    OtherVersion {
        /// The group.
        group: GroupId,
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u8,
    },
    /// The group is open already.
    #[error("group {0} is open already")]
    AlreadyOpen(GroupId),
    /// The data directory has no identity yet.
    #[error("group {0} cannot be opened before the node has an identity")]
    NoIdentity(GroupId),
    /// The file system refused.
    #[error("could not open group {group}")]
    Storage {
        /// The group.
        group: GroupId,
        /// Why.
        #[source]
        source: StorageError,
    },
}

/// Entries could not be read.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// The position is before the log's start: purged.
    #[error("group {group}: offset {from} is below the log start {start}")]
    Purged {
        /// The group.
        group: GroupId,
        /// The offset asked for.
        from: Offset,
        /// The first offset there is.
        start: Offset,
    },
    /// The bytes could not be read, or are damaged ([`StorageError::Corrupt`]).
    #[error("group {group}: could not read the log")]
    Storage {
        /// The group.
        group: GroupId,
        /// Why.
        #[source]
        source: StorageError,
    },
}
