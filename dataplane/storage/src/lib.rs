//! The log on disk. One [`Storage`] per node holds the data directory; it opens a [`GroupLog`]
//! per raft group. A group's segment files are its raft log and its data at once: an entry is
//! written once, with one `pwritev` and one `fdatasync` for all that wait at the same moment.
//!
//! Whatever touches a disk goes through [`Fs`], so that the same code runs on [`RealFs`] and on
//! [`FaultFs`], which loses, tears and flips what it was given. The bytes of every file are in
//! `dataplane/docs/format.md`.

mod checkpoint;
mod config;
mod error;
mod format;
mod fs;
mod group_log;
mod hard_file;
mod hard_state;
mod op;
mod recovery;
mod recycler;
mod scan;
mod segment;
mod storage;
mod storage_env;
mod tail_cache;
mod walker;
mod write_queue;

pub use checkpoint::Checkpoint;
pub use config::{Flushed, GroupOptions, Identity, Space, StorageConfig, WriterDrive};
pub use error::{Action, Damage, OpenError, ReadError, StorageError};
pub use fs::{Crash, FaultFs, FileMap, Fs, FsFile, FsSpace, OpenMode, RealFs};
pub use group_log::{GroupLog, Recovered, SegmentInfo, TornTail};
pub use hard_state::HardState;
pub use op::FlushCallback;
pub use storage::Storage;
