//! The log on disk. One [`Storage`] per node owns the data directory and opens a [`GroupLog`] per
//! raft group. The segment files of a group are its raft log and its data at once: an entry is
//! written once, with one `pwritev` and one `fdatasync` for all appends that wait (group commit).
//!
//! All disk access goes through [`Fs`], so that the same code runs on [`RealFs`] and on
//! [`FaultFs`], which simulates torn writes, lost writes, bit rot and reads that fail. The layout
//! of every file is in `dataplane/docs/format.md`.

mod cache_eviction;
mod checkpoint;
mod config;
mod corrupt_copies;
mod disk_room;
mod error;
mod fail_stop;
mod files;
mod format;
mod fs;
mod group_log;
mod hard_file;
mod hard_state;
mod held_index;
mod identity_files;
mod layout;
mod op;
mod open_segments;
mod patient_fs;
mod read_failure;
mod read_pool;
mod recovery;
mod recycler;
mod salvage;
mod scan;
mod segment;
mod storage;
mod storage_env;
mod tail_cache;
mod walker;
mod write_budget;
mod write_probe;
mod write_queue;

#[cfg(test)]
#[path = "../../core/tests/support/fixtures.rs"]
mod fixtures;

pub use checkpoint::Checkpoint;
pub use config::{
    CorruptCopies, GroupOptions, Identity, ReadLane, Space, StorageConfig, WriterDrive,
};
pub use error::{Action, Damage, NewerFormat, OpenError, ReadError, StorageError, is_no_space};
pub use fs::{Crash, DiskCall, FaultFs, Fs, FsFile, FsSpace, OpenMode, RealFs};
pub use group_log::{GroupLog, Recovered, SegmentInfo, TornTail};
pub use hard_state::HardState;
pub use op::FlushCallback;
pub use read_failure::is_unreadable;
pub use salvage::{LogGap, Salvage, SalvageError, Salvaged};
pub use storage::Storage;
pub use write_budget::WriteBudget;
pub use write_probe::{WriteHealth, WriteProbe};
