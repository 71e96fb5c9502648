//! Plain types of a group log's interface.

use lograft_core::{LogId, LogIndex, Offset};

/// The findings of recovery when a group was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The group had no files and was created.
    pub created: bool,
    /// The torn write that was cut off the end of the log.
    pub torn: Option<TornTail>,
}

/// An incomplete write at the end of the log, cut off at recovery. Its entries were never reported
/// as flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The first index that was lost.
    pub index: LogIndex,
    /// The position in the segment file at which the valid entries end, bytes.
    pub position: u64,
}

/// The properties of a segment that retention uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The index of its first entry.
    pub base_index: LogIndex,
    /// Its last entry; of an empty segment, the entry before it.
    pub last: Option<LogId>,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset after its last record.
    pub next_offset: Offset,
    /// The length of its file up to the last entry, bytes.
    pub bytes: u64,
    /// The highest record time, milliseconds since the Unix epoch; `i64::MIN` without records.
    pub max_time_ms: i64,
    /// The latest append time of its records, milliseconds since the Unix epoch; `None` if it is
    /// not known yet ([`GroupLog::read_append_time`](crate::GroupLog::read_append_time)), or
    /// without records.
    pub append_time_ms: Option<i64>,
    /// Whether it gets no more entries.
    pub sealed: bool,
}
