//! The replicated state: a pure function of the log.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};

use crate::entry::{Entry, EntryKind};
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::{PRODUCER_BATCHES_MAX_COUNT, PRODUCERS_PER_PARTITION_MAX_COUNT};
use crate::offset::Offset;
use crate::producer_table::{Appended, BatchSpan, ProducerState, ProducerTable};

/// The version of the encoded form.
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8 + 4;
const PRODUCER_BYTES: usize = 8 + 4 + 8 + 1;
const SPAN_BYTES: usize = 8 + 4 + 8;

/// What the committed entries of a partition make of it; a checkpoint holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// The offset that the next record gets: the high watermark of this replica, exclusive.
    pub next_offset: Offset,
    /// The first offset that may be read.
    pub log_start_offset: Offset,
    /// The idempotent producers.
    pub producers: ProducerTable,
}

/// What an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing that a partition keeps.
    Nothing,
    /// Records became readable.
    Records {
        /// The offset of the first.
        base_offset: Offset,
        /// How many.
        record_count: u32,
    },
    /// The log now starts here.
    Trimmed {
        /// The first offset that may be read.
        log_start_offset: Offset,
    },
    /// The entry does not follow on this state: the replica is not what it should be and must
    /// stop. Nothing was changed.
    Diverged {
        /// The base offset that had to come.
        expected: Offset,
        /// The one that came.
        found: Offset,
    },
}

impl PartitionState {
    /// Takes in the next committed entry.
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        match entry.proposal.kind {
            EntryKind::Records => self.apply_records(entry),
            EntryKind::Trim => self.apply_trim(&entry.proposal.payload),
            EntryKind::Blank | EntryKind::Membership | EntryKind::Command => Applied::Nothing,
        }
    }

    fn apply_records(&mut self, entry: &Entry) -> Applied {
        if entry.base_offset != self.next_offset {
            return Applied::Diverged {
                expected: self.next_offset,
                found: entry.base_offset,
            };
        }
        let record_count = entry.proposal.record_count;
        if let Some(stamp) = entry.proposal.producer {
            self.producers.record(stamp, Appended::of(entry));
        }
        self.next_offset = entry.next_offset();
        Applied::Records {
            base_offset: entry.base_offset,
            record_count,
        }
    }

    fn apply_trim(&mut self, payload: &[u8]) -> Applied {
        let Some(bytes) = payload.first_chunk() else {
            return Applied::Nothing;
        };
        let target = Offset(u64::from_le_bytes(*bytes)).min(self.next_offset);
        if target <= self.log_start_offset {
            return Applied::Nothing;
        }
        self.log_start_offset = target;
        Applied::Trimmed {
            log_start_offset: target,
        }
    }

    /// The payload of a `Trim` entry.
    pub fn trim_payload(log_start_offset: Offset) -> Bytes {
        Bytes::copy_from_slice(&log_start_offset.get().to_le_bytes())
    }

    /// The state for a checkpoint, little endian: version 1 (u8), next offset (u64), log start
    /// offset (u64), producers (u32); each: id (u64), epoch (u32), last append time ms (i64),
    /// batches (u8); each: base sequence (u64), records (u32), base offset (u64).
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(
            HEAD_BYTES + self.producers.len() * (PRODUCER_BYTES + 4 * SPAN_BYTES),
        );
        out.put_u8(VERSION);
        out.put_u64_le(self.next_offset.get());
        out.put_u64_le(self.log_start_offset.get());
        out.put_u32_le(u32::try_from(self.producers.len()).unwrap_or(u32::MAX));
        for (id, state) in self.producers.iter() {
            out.put_u64_le(id.get());
            out.put_u32_le(state.epoch.get());
            out.put_i64_le(state.last_time_ms);
            out.put_u8(u8::try_from(state.spans.len()).unwrap_or(u8::MAX));
            for span in &state.spans {
                out.put_u64_le(span.base_sequence.get());
                out.put_u32_le(span.record_count);
                out.put_u64_le(span.base_offset.get());
            }
        }
        Bytes::from(out)
    }

    /// The state from a checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<Self, PartitionStateError> {
        let mut rest = bytes;
        let version = rest
            .try_get_u8()
            .map_err(|_| PartitionStateError::Truncated)?;
        if version != VERSION {
            return Err(PartitionStateError::Version { found: version });
        }
        need(rest, HEAD_BYTES - 1)?;
        let mut state = Self {
            next_offset: Offset(rest.get_u64_le()),
            log_start_offset: Offset(rest.get_u64_le()),
            producers: ProducerTable::default(),
        };
        if state.log_start_offset > state.next_offset {
            return Err(PartitionStateError::LogStart);
        }
        let producers = rest.get_u32_le() as usize;
        if producers > PRODUCERS_PER_PARTITION_MAX_COUNT {
            return Err(PartitionStateError::Producers { found: producers });
        }
        for _ in 0..producers {
            let (id, producer) = decode_producer(&mut rest)?;
            if !state.producers.restore(id, producer) {
                return Err(PartitionStateError::Producer { id });
            }
        }
        if rest.is_empty() {
            Ok(state)
        } else {
            Err(PartitionStateError::TrailingBytes)
        }
    }
}

fn decode_producer(rest: &mut &[u8]) -> Result<(ProducerId, ProducerState), PartitionStateError> {
    need(rest, PRODUCER_BYTES)?;
    let id = ProducerId(rest.get_u64_le());
    let epoch = ProducerEpoch(rest.get_u32_le());
    let last_time_ms = rest.get_i64_le();
    let count = usize::from(rest.get_u8());
    if count > PRODUCER_BATCHES_MAX_COUNT {
        return Err(PartitionStateError::Producer { id });
    }
    need(rest, count * SPAN_BYTES)?;
    let mut spans = VecDeque::with_capacity(count);
    for _ in 0..count {
        let base_sequence = Sequence(rest.get_u64_le());
        let record_count = rest.get_u32_le();
        let base_offset = Offset(rest.get_u64_le());
        if base_sequence
            .get()
            .checked_add(u64::from(record_count))
            .is_none()
        {
            return Err(PartitionStateError::Producer { id });
        }
        spans.push_back(BatchSpan {
            base_sequence,
            record_count,
            base_offset,
        });
    }
    Ok((
        id,
        ProducerState {
            epoch,
            last_time_ms,
            spans,
        },
    ))
}

fn need(rest: &[u8], len: usize) -> Result<(), PartitionStateError> {
    if rest.len() < len {
        Err(PartitionStateError::Truncated)
    } else {
        Ok(())
    }
}

/// Why a checkpoint's bytes are no partition state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionStateError {
    /// They end too early.
    #[error("the partition state ends too early")]
    Truncated,
    /// Their version is not known.
    #[error("partition state version {found} is not 1")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The log would start behind its end.
    #[error("the partition state's log start is behind its end")]
    LogStart,
    /// More producers than there can be.
    #[error("the partition state lists {found} producers")]
    Producers {
        /// How many.
        found: usize,
    },
    /// A producer's batches cannot be.
    #[error("the partition state's producer {id} cannot be")]
    Producer {
        /// The producer.
        id: ProducerId,
    },
    /// Bytes stand behind the end.
    #[error("bytes stand behind the partition state")]
    TrailingBytes,
}
