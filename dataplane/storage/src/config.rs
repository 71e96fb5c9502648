//! Configuration of a storage, and the plain types of its interface.

use std::path::PathBuf;

use lograft_core::limits::{
    DISK_FULL_PARTS_COUNT, DISK_RESERVE_DEFAULT_BYTES, INODES_RESERVE_COUNT,
    INODES_RESERVE_PARTS_COUNT, SEGMENT_MAX_BYTES, SEGMENT_MIN_BYTES, TAIL_CACHE_DEFAULT_BYTES,
    UNFLUSHED_MAX_BYTES, WRITER_THREADS_DEFAULT_COUNT,
};
use lograft_core::{ClusterId, DiskMark, NodeId};

/// The threads that write and sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterDrive {
    /// This number of writer threads; a group always stays on the same one.
    Threads(usize),
    /// No threads: [`crate::Storage::step`] executes the pending writes. For tests and simulation.
    Manual,
}

/// The purpose of a read from disk. Each has threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLane {
    /// Reads for clients.
    Client,
    /// Reads for replication and for the state machines.
    Raft,
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
    /// Budget of unflushed entries of all groups together, bytes (see [`crate::WriteBudget`]).
    pub unflushed_max_bytes: usize,
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
            unflushed_max_bytes: UNFLUSHED_MAX_BYTES,
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

/// The corrupt copies of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CorruptCopies {
    /// The number of copies.
    pub count: usize,
    /// The number in the name of the oldest one: it grows with each copy that the node makes.
    pub oldest: u64,
    /// Bytes of their files.
    pub bytes: u64,
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
    /// Free bytes below which the disk counts as full.
    pub const fn full_bytes(self) -> u64 {
        self.reserve_bytes / DISK_FULL_PARTS_COUNT
    }

    /// The room that is left, by bytes and by inodes.
    pub fn mark(self) -> DiskMark {
        let bytes = mark_of(self.free_bytes, self.reserve_bytes);
        if self.total_inodes == 0 || self.reserve_bytes == 0 {
            return bytes;
        }
        let reserve = INODES_RESERVE_COUNT.min(self.total_inodes / INODES_RESERVE_PARTS_COUNT);
        bytes.max(mark_of(self.free_inodes, reserve))
    }
}

fn mark_of(free: u64, reserve: u64) -> DiskMark {
    if free < reserve / DISK_FULL_PARTS_COUNT {
        DiskMark::Full
    } else if free < reserve {
        DiskMark::Low
    } else {
        DiskMark::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(free_bytes: u64, free_inodes: u64) -> Space {
        Space {
            total_bytes: 10_000,
            free_bytes,
            reserve_bytes: 1000,
            total_inodes: 64_000,
            free_inodes,
        }
    }

    #[test]
    fn the_marks_are_the_reserve_and_a_quarter_of_it_for_bytes_and_for_inodes() {
        for (bytes, inodes, mark) in [
            (1000, 1000, DiskMark::Ok),
            (999, 1000, DiskMark::Low),
            (250, 1000, DiskMark::Low),
            (249, 1000, DiskMark::Full),
            (9000, 999, DiskMark::Low),
            (9000, 249, DiskMark::Full),
            (900, 100, DiskMark::Full),
        ] {
            assert_eq!(space(bytes, inodes).mark(), mark, "{bytes} {inodes}");
        }
        let unbounded = Space {
            total_inodes: 0,
            ..space(1000, 0)
        };
        assert_eq!(unbounded.mark(), DiskMark::Ok);
        let no_reserve = Space {
            reserve_bytes: 0,
            ..space(0, 0)
        };
        assert_eq!(no_reserve.mark(), DiskMark::Ok);
    }
}
