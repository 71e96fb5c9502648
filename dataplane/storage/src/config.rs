//! Configuration of a storage, and the plain types of its interface.

use std::path::PathBuf;

use lograft_core::limits::{
    DISK_RESERVE_DEFAULT_BYTES, SEGMENT_MAX_BYTES, SEGMENT_MIN_BYTES, TAIL_CACHE_DEFAULT_BYTES,
    WRITER_THREADS_DEFAULT_COUNT,
};
use lograft_core::{ClusterId, NodeId};

/// The threads that write and sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterDrive {
    /// This number of writer threads; a group always stays on the same one.
    Threads(usize),
    /// No threads: [`crate::Storage::step`] executes the pending writes. For tests and simulation.
    Manual,
}

/// The settings of a storage.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The data directory; created if it does not exist.
    pub data_dir: PathBuf,
    /// Size of the first segment of a group, bytes; each later one is four times as large, up to
    /// `segment_max_bytes`.
    pub segment_min_bytes: u64,
    /// Maximum size of a segment, bytes; only segments of this size are recycled.
    pub segment_max_bytes: u64,
    /// The threads that write and sync.
    pub writers: WriterDrive,
    /// Budget of the tail caches of all groups together, bytes. Entries that are not on disk yet
    /// stay cached even above it.
    pub tail_cache_max_bytes: usize,
    /// Free space below which the disk counts as low, bytes.
    pub reserve_bytes: u64,
}

impl StorageConfig {
    /// The default settings for this data directory.
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

/// The settings of one group.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupOptions {
    /// Overrides [`StorageConfig::segment_max_bytes`] for this group, bytes.
    pub segment_max_bytes: Option<u64>,
}

/// The cluster and the node that a data directory belongs to. Written once, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id of the cluster.
    pub cluster_id: ClusterId,
    /// The id of the node in the cluster.
    pub node_id: NodeId,
}

/// Size and free space of the file system of the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The size of the file system.
    pub total_bytes: u64,
    /// The bytes that this process may still write.
    pub free_bytes: u64,
    /// The number of inodes; 0 if the file system has no fixed number.
    pub total_inodes: u64,
    /// The inodes that this process may still use.
    pub free_inodes: u64,
    /// The bytes that must stay free.
    pub reserve_bytes: u64,
}

impl Space {
    /// Whether less than the reserve is free.
    pub const fn is_low(self) -> bool {
        self.free_bytes < self.reserve_bytes
    }
}
