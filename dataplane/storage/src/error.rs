//! The errors of storage: one enum per kind of call. All can be cloned, because one failed flush
//! fails every append that waits for it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{ClusterId, GroupId, LogId, LogIndex, NodeId, Offset, Term};
use thiserror::Error;

use crate::hard_state::HardState;

/// The call on a file or directory that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the name of the call")]
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
    SetLength,
    Measure,
    MeasureSpace,
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
            Self::SetLength => "set the length of",
            Self::Measure => "read the length of",
            Self::MeasureSpace => "measure the free space of",
        })
    }
}

/// A failed call. After a failed write or sync, every later write fails with [`Self::Stopped`].
#[derive(Clone, Debug, Error)]
pub enum StorageError {
    /// The file system returned an error.
    #[error("cannot {action} {path}")]
    Io {
        /// The call that failed.
        action: Action,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed. Nothing is written any more until the node restarts.
    #[error("storage accepts no writes after a failed write; restart the node")]
    Stopped(#[source] Arc<StorageError>),
    /// A writer thread could not be started.
    #[error("cannot start a writer thread")]
    Spawn(#[source] Arc<io::Error>),
    /// A write has not returned for long, and the writers were given up.
    #[error("the disk hangs")]
    Hung,
    /// Too many reads wait for the disk. The caller may retry.
    #[error("reads that wait for the disk have reached their limit of {max_count}")]
    ReadsBusy {
        /// The limit.
        max_count: usize,
    },
    /// The group was closed or removed.
    #[error("group {0} is closed")]
    Closed(GroupId),
    /// Another caller is opening the group.
    #[error("group {0} is being opened by another caller")]
    Opening(GroupId),
    /// The log was truncated or purged again and again while it was read. The caller may retry.
    #[error("log of group {0} changed while it was read; retry the read")]
    Outdated(GroupId),
    /// Entries must continue the log without a gap.
    #[error("group {group}: log index must be {expected}, got {got}")]
    NotConsecutive {
        /// The group.
        group: GroupId,
        /// The index after the end of the log.
        expected: LogIndex,
        /// The index of the entry.
        got: LogIndex,
    },
    /// Terms never decrease along a log.
    #[error("group {group}: term of entry {got} must be at least {last}")]
    TermWentBack {
        /// The group.
        group: GroupId,
        /// The term at the end of the log.
        last: Term,
        /// The entry.
        got: LogId,
    },
    /// The entry of a peer has another base offset than this log assigns to it: the logs differ.
    #[error("group {group}: base offset of entry {id} must be {expected}, got {got}")]
    OffsetMismatch {
        /// The group.
        group: GroupId,
        /// The entry.
        id: LogId,
        /// The offset that this log assigns.
        expected: Offset,
        /// The offset in the entry.
        got: Offset,
    },
    /// The payload is larger than [`lograft_core::limits::ENTRY_MAX_BYTES`].
    #[error("group {group}: payload of entry {id} must be at most {bound} bytes, got {bytes}")]
    EntryTooLarge {
        /// The group.
        group: GroupId,
        /// The entry.
        id: LogId,
        /// The length of its payload, bytes.
        bytes: usize,
        /// The maximum length, bytes.
        bound: usize,
    },
    /// Bytes on disk are not the bytes written (bit rot, lost write), or the disk cannot read them.
    /// The replica must be fetched again from the others.
    #[error("group {group}: {damage}")]
    Corrupt {
        /// The group.
        group: GroupId,
        /// The damaged file and position.
        damage: Damage,
    },
    /// A newer version of Lograft wrote the file. Nothing is wrong with it: this version MUST NOT
    /// change it.
    #[error(transparent)]
    NewerFormat(#[from] NewerFormat),
    /// The data directory already belongs to another node or cluster.
    #[error("data directory already belongs to node {node_id} of cluster {cluster_id}")]
    IdentityExists {
        /// The cluster it belongs to.
        cluster_id: ClusterId,
        /// The node it belongs to.
        node_id: NodeId,
    },
    /// No file with the identity is valid. Without it, the data directory cannot be used: remove
    /// the node from its cluster, and start it with an empty directory.
    #[error("identity file {path} is corrupt, and no valid copy of it exists")]
    IdentityDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The two files with the identity are valid and different: one was copied from another node.
    #[error("identity file {path} is of another node than the file beside it")]
    IdentitiesDiffer {
        /// The second file.
        path: PathBuf,
    },
    /// Another process uses the data directory.
    #[error("lock file {path} is held by another process")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

impl StorageError {
    /// Whether the disk or a quota has no room for a new file or for its blocks. Nothing was
    /// written, and the call may be repeated once there is room. A write or sync that finds no room
    /// is not meant: it went into space that counted as allocated.
    pub fn is_no_room(&self) -> bool {
        match self {
            Self::Io {
                action: Action::Create | Action::Allocate | Action::Rename,
                source,
                ..
            } => is_no_space(source),
            _ => false,
        }
    }

    pub(crate) fn io(action: Action, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// Whether the file system or a quota has no room for a file or its bytes.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A damaged place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The position in the file, bytes.
    pub position: u64,
    /// The log index expected at the position; `None` if the whole file is damaged.
    pub index: Option<LogIndex>,
    /// The failed check.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is corrupt at byte {}",
            self.path.display(),
            self.position
        )?;
        if let Some(index) = self.index {
            write!(f, " (entry {index})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A file that a newer version of Lograft wrote, with a valid CRC: neither damaged nor torn.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{} was written by a newer version of Lograft and can be read only by it: {field} must be at \
     most {known}, got {found} (at byte {position})",
    path.display()
)]
pub struct NewerFormat {
    /// The file.
    pub path: PathBuf,
    /// The position of the record in the file, bytes.
    pub position: u64,
    /// The value that this version does not know, for example `segment version`.
    pub field: &'static str,
    /// The value in the record.
    pub found: u64,
    /// The greatest value that this version knows.
    pub known: u64,
}

/// The reason why a group could not be opened.
#[derive(Clone, Debug, Error)]
pub enum OpenError {
    /// The files are damaged. They are kept under another name, and the next open creates an empty
    /// group. An empty group has lost its vote and its acknowledged entries: it MUST NOT vote
    /// before the others have readmitted it.
    #[error("group {group} is corrupt; its files were moved to {kept}: {damage}")]
    Corrupt {
        /// The group.
        group: GroupId,
        /// The directory with its files.
        kept: PathBuf,
        /// The damaged file and position.
        damage: Box<Damage>,
        /// The hard state, if it could be read: it must be saved in the new log before the replica
        /// votes again.
        hard_state: Option<HardState>,
    },
    /// The files belong to another cluster.
    #[error("group {group}: {path} belongs to another cluster, {found}")]
    OtherCluster {
        /// The group.
        group: GroupId,
        /// The file.
        path: PathBuf,
        /// The cluster they belong to.
        found: ClusterId,
    },
    /// A newer version of Lograft wrote a file of the group. No file was changed.
    #[error("cannot open group {group}")]
    NewerFormat {
        /// The group.
        group: GroupId,
        /// The file and the unknown value.
        #[source]
        newer: Box<NewerFormat>,
    },
    /// The group is already open.
    #[error("group {0} is already open")]
    AlreadyOpen(GroupId),
    /// The data directory has no identity yet.
    #[error("cannot open group {0}: the data directory has no identity yet")]
    NoIdentity(GroupId),
    /// The file system returned an error.
    #[error("cannot open group {group}")]
    Storage {
        /// The group.
        group: GroupId,
        /// The cause.
        #[source]
        source: StorageError,
    },
}

/// The reason why entries could not be read.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// The offset is below the start of the log: its records were purged.
    #[error("group {group}: offset must be at least {start}, got {from}")]
    Purged {
        /// The group.
        group: GroupId,
        /// The requested offset.
        from: Offset,
        /// The first offset of the log.
        start: Offset,
    },
    /// The file system returned an error, or the bytes are damaged ([`StorageError::Corrupt`]).
    #[error("cannot read the log of group {group}")]
    Storage {
        /// The group.
        group: GroupId,
        /// The cause.
        #[source]
        source: StorageError,
    },
}
