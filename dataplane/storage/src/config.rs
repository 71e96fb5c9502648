//! What a node's storage is built with.

use std::path::PathBuf;
use std::time::Duration;

use lograft_core::limits::{
    DISK_RESERVE_DEFAULT_BYTES, SEGMENT_MAX_BYTES, SEGMENT_MIN_BYTES, TAIL_CACHE_DEFAULT_BYTES,
    WRITER_THREADS_DEFAULT_COUNT,
};
use lograft_core::{ClusterId, NodeId};

/// How the writers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterDrive {
    /// So many threads; a group always stays on the same one.
    Threads(usize),
    /// No thread: [`crate::Storage::step`] writes what waits. For tests and simulation.
    Manual,
}

/// The settings of a node's storage.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Where everything stands; created if missing.
    pub data_dir: PathBuf,
    /// Size of a group's first segment, bytes; each later one is four times larger.
    pub segment_min_bytes: u64,
    /// Where segments stop growing, bytes; only segments of this size are recycled.
    pub segment_max_bytes: u64,
    /// How the writers run.
    pub writers: WriterDrive,
    /// Budget of all groups' tail caches together, bytes. Entries not yet on disk stay cached
    /// even above it.
    pub tail_cache_max_bytes: usize,
    /// Below so many free bytes the disk counts as low.
    pub reserve_bytes: u64,
}

impl StorageConfig {
    /// The defaults, in this directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            segment_min_bytes: SEGMENT_MIN_BYTES,
            segment_max_bytes: SEGMENT_MAX_BYTES,
            writers: WriterDrive::Threads(WRITER_THREADS_DEFAULT_COUNT),
            tail_cache_max_bytes: TAIL_CACHE_DEFAULT_BYTES,
            reserve_bytes: DISK_RESERVE_DEFAULT_BYTES,
        }
    }
}

/// What differs from group to group.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupOptions {
    /// Overrides [`StorageConfig::segment_max_bytes`] for this group, bytes.
    pub segment_max_bytes: Option<u64>,
}

/// One write with its `fdatasync`, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Flushed {
    /// What was written, bytes.
    pub bytes: u64,
    /// Appends that it made durable.
    pub appends: usize,
    /// From the write's begin to the end of the sync.
    pub took: Duration,
}

/// Whose data directory it is. Written once, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node within it.
    pub node_id: NodeId,
}

/// The room on the disk of the data directory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The size of the file system.
    pub total_bytes: u64,
    /// What this process may still write.
    pub free_bytes: u64,
    /// What must stay free.
    pub reserve_bytes: u64,
}

impl Space {
    /// Whether less than the reserve is free.
    pub const fn is_low(self) -> bool {
        self.free_bytes < self.reserve_bytes
    }
}
