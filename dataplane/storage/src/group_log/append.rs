//! Appending to the state of a log.

use std::sync::Arc;

use lograft_core::limits::ENTRY_MAX_BYTES;
use lograft_core::{Entry, EntryKind, Offset, PartitionState, Term};

use super::log_state::{LogState, StateInputs};
use crate::error::StorageError;
use crate::format::entry_size_bytes;
use crate::op::{FlushCallback, Op, SealedSegment};
use crate::tail_cache::cost_bytes;

/// The factor between the sizes of consecutive segments.
const GROWTH: u64 = 4;

impl LogState {
    /// Appends `entries`, which can be read at once, and adds the operations for the writer to
    /// `ops`. On an error nothing has changed.
    pub(crate) fn append(
        &mut self,
        mut entries: Vec<Entry>,
        done: FlushCallback,
        inputs: &StateInputs<'_>,
        ops: &mut Vec<Op>,
    ) -> Result<(), (StorageError, FlushCallback)> {
        let origin = self.origin;
        if let Some(first) = entries.first()
            && self.last.is_none()
            && self.segments.is_empty()
        {
            self.origin = first.id.index; // a new log starts at the index that raft gives it
        }
        if let Err(error) = self.check_and_assign_offsets(&mut entries) {
            self.origin = origin;
            return Err((error, done));
        }
        let mut part = Vec::with_capacity(entries.len());
        for entry in entries {
            let size_bytes = entry_size_bytes(entry.proposal.payload.len());
            if let Some(capacity_bytes) = self.next_capacity(&entry, size_bytes) {
                self.push_part(&mut part, None, ops);
                self.roll(capacity_bytes, inputs, ops);
            }
            self.add(&entry, size_bytes);
            self.cache.push(entry.clone(), inputs.cache_budget);
            part.push(entry);
        }
        self.push_part(&mut part, Some(done), ops);
        Ok(())
    }

    /// Checks that the entries continue the log, and assigns their base offsets.
    // The base offset is a pure function of the log before the entry, so all replicas assign the
    // same one. An entry that arrives with another offset proves that the logs have diverged; it
    // is refused, because records would be served under different offsets on different nodes.
    fn check_and_assign_offsets(&self, entries: &mut [Entry]) -> Result<(), StorageError> {
        let group = self.group;
        let mut end = self.end_index();
        let mut term = self.last.map_or(Term::ZERO, |last| last.term);
        let mut offset = self.next_offset;
        for entry in entries {
            if entry.id.index != end {
                let (expected, got) = (end, entry.id.index);
                return Err(StorageError::NotConsecutive {
                    group,
                    expected,
                    got,
                });
            }
            if entry.id.term < term {
                return Err(StorageError::TermWentBack {
                    group,
                    last: term,
                    got: entry.id,
                });
            }
            if entry.base_offset != Offset::ZERO && entry.base_offset != offset {
                let (id, expected, got) = (entry.id, offset, entry.base_offset);
                return Err(StorageError::OffsetMismatch {
                    group,
                    id,
                    expected,
                    got,
                });
            }
            let bytes = entry.proposal.payload.len();
            if bytes > ENTRY_MAX_BYTES {
                return Err(StorageError::EntryTooLarge {
                    group,
                    id: entry.id,
                    bytes,
                    bound: ENTRY_MAX_BYTES,
                });
            }
            entry.base_offset = offset;
            if entry.proposal.kind != EntryKind::Records {
                entry.proposal.record_count = 0; // only records take offsets
            }
            offset = entry.next_offset();
            term = entry.id.term;
            end = end.next();
        }
        Ok(())
    }

    /// The capacity of the new segment that an entry needs; `None` if it goes into the last one. A
    /// segment without entries accepts an entry of any size.
    fn next_capacity(&self, entry: &Entry, size_bytes: u64) -> Option<u64> {
        let Some(extent) = self.segments.back() else {
            return Some(self.sizes.min_bytes);
        };
        let capacity_bytes = extent.segment.capacity_bytes;
        if !extent.is_empty() && extent.end_position + size_bytes > capacity_bytes {
            return Some(capacity_bytes.saturating_mul(GROWTH));
        }
        self.empties_log(entry).then_some(self.sizes.min_bytes)
    }

    /// Whether an entry deletes all records before it, and the last segment has some.
    // The last segment of a log is never deleted. Without a new one, the file of the deleted
    // records would stay until as many new ones are written.
    fn empties_log(&self, entry: &Entry) -> bool {
        let target = match entry.proposal.kind {
            EntryKind::Trim => PartitionState::trim_target(&entry.proposal.payload),
            _ => None,
        };
        target.is_some_and(|target| target >= self.next_offset)
            && self
                .segments
                .back()
                .is_some_and(|extent| extent.next_offset > extent.segment.base_offset)
    }

    /// Seals the last segment and adds the next one.
    fn roll(&mut self, capacity_bytes: u64, inputs: &StateInputs<'_>, ops: &mut Vec<Op>) {
        if let Some(extent) = self.segments.back()
            && let Some(last) = extent.last
        {
            let terms = self.terms.within(extent.segment.base, last.index);
            ops.push(Op::Seal(Box::new(SealedSegment {
                extent: extent.clone(),
                terms,
            })));
        }
        self.begin_segment(capacity_bytes, false, inputs.fs.random_u64());
    }

    /// Adds an entry to the last segment.
    fn add(&mut self, entry: &Entry, size_bytes: u64) {
        self.terms.push(entry.id);
        self.last = Some(entry.id);
        self.next_offset = entry.next_offset();
        if let Some(extent) = self.segments.back_mut() {
            extent.add(entry.into(), size_bytes);
        }
    }

    /// Queues the entries collected so far; they are the last ones of the last segment.
    fn push_part(&self, part: &mut Vec<Entry>, done: Option<FlushCallback>, ops: &mut Vec<Op>) {
        if part.is_empty() && done.is_none() {
            return;
        }
        let entries = std::mem::take(part);
        let bytes: u64 = entries
            .iter()
            .map(|entry| entry_size_bytes(entry.proposal.payload.len()))
            .sum();
        match self.segments.back() {
            Some(extent) => ops.push(Op::Append {
                segment: Arc::clone(&extent.segment),
                position: extent.end_position - bytes,
                bytes: entries.iter().map(cost_bytes).sum(),
                entries,
                truncation_epoch: self.truncation_epoch,
                done,
            }),
            // An empty append to an empty log: there is nothing to write.
            None => ops.extend(done.map(Op::Barrier)),
        }
    }
}
