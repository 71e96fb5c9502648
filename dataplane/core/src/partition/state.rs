//! The replicated state of a partition: a function of its log alone.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};

use crate::entry::{Entry, EntryKind};
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::{PRODUCER_BATCHES_MAX_COUNT, PRODUCERS_PER_PARTITION_MAX_COUNT};
use crate::offset::Offset;
use crate::producer_table::{Appended, BatchSpan, ProducerState, ProducerTable};

/// The version of the encoding.
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8 + 4;
const PRODUCER_BYTES: usize = 8 + 4 + 8 + 1;
const SPAN_BYTES: usize = 8 + 4 + 8;

/// The state of a partition after its committed entries, as stored in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// The offset of the next record, which is the high watermark (exclusive) of this replica.
    pub next_offset: Offset,
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// The idempotent producers, for deduplication.
    pub producers: ProducerTable,
}

/// The effect of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The entry did not change the state.
    Nothing,
    /// Records became readable.
    Records {
        /// The offset of the first record.
        base_offset: Offset,
        /// The number of records.
        record_count: u32,
    },
    /// The log start offset moved.
    Trimmed {
        /// The first offset that can be read.
        log_start_offset: Offset,
    },
    /// The entry does not continue this state: the replica has diverged from its log and MUST stop.
    /// The state did not change.
    Diverged {
        /// The expected base offset.
        expected: Offset,
        /// The base offset of the entry.
        found: Offset,
    },
}

impl PartitionState {
    /// Applies the next committed entry.
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        match entry.proposal.kind {
            EntryKind::Records => self.apply_records(entry),
            EntryKind::Trim => self.apply_trim(&entry.proposal.payload),
            EntryKind::Blank | EntryKind::Membership | EntryKind::Command => Applied::Nothing,
        }
    }

    fn apply_records(&mut self, entry: &Entry) -> Applied {
        // The log assigned the offset before the entry was replicated, the state counts records
        // itself. A difference means that this replica applied other entries than the leader.
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
        // The log start moves by an entry of the log, not by each replica's own clock or disk: all
        // replicas then serve the same range, also after a change of leader. It only moves forward,
        // and not past the end, so that a repeated or late trim changes nothing.
        let Some(target) = Self::trim_target(payload) else {
            return Applied::Nothing;
        };
        let target = target.min(self.next_offset);
        if target <= self.log_start_offset {
            return Applied::Nothing;
        }
        self.log_start_offset = target;
        Applied::Trimmed {
            log_start_offset: target,
        }
    }

    /// The log start offset in the payload of a `Trim` entry; `None` if it is no such payload.
    pub fn trim_target(payload: &[u8]) -> Option<Offset> {
        let bytes = payload.first_chunk()?;
        Some(Offset(u64::from_le_bytes(*bytes)))
    }

    /// Encodes the payload of a `Trim` entry.
    pub fn trim_payload(log_start_offset: Offset) -> Bytes {
        Bytes::copy_from_slice(&log_start_offset.get().to_le_bytes())
    }

    /// Encodes the state for a checkpoint. All numbers are little endian:
    ///
    /// ```text
    /// version u8 = 1 | next offset u64 | log start offset u64 | producers u32
    /// each producer: id u64 | epoch u32 | last append time ms i64 | batches u8
    /// each batch:    base sequence u64 | records u32 | base offset u64
    /// ```
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

    /// Decodes the state of a checkpoint. Fails unless `bytes` is exactly one encoded state.
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

/// The failure to decode a partition state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionStateError {
    /// The bytes end too early.
    #[error("partition state is truncated")]
    Truncated,
    /// The version is not supported.
    #[error("partition state version must be {VERSION}, got {found}")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The log start offset is after the log end.
    #[error("log start offset of the partition state must not be after its next offset")]
    LogStart,
    /// There are too many producers.
    #[error(
        "producers of the partition state must be at most {PRODUCERS_PER_PARTITION_MAX_COUNT}, \
         got {found}"
    )]
    Producers {
        /// The number of producers.
        found: usize,
    },
    /// A producer's batches are not in order, too many or none.
    #[error("batches of producer {id} in the partition state must be in order")]
    Producer {
        /// The producer.
        id: ProducerId,
    },
    /// Bytes follow the state.
    #[error("bytes follow the partition state")]
    TrailingBytes,
}
