//! Reads one partition from an offset on, chunk by chunk.

use std::sync::Arc;

use lograft_core::limits::{
    FETCH_READ_MAX_BYTES, FETCH_REPLY_CONTENT_MAX_BYTES, FETCH_REPLY_DEFAULT_BYTES,
    FETCHED_BATCH_HEAD_MAX_BYTES,
};
use lograft_core::{NodeId, Offset};
use tokio::sync::watch;

use super::decode::Decoder;
use super::entries::{Entries, out_of_range};
use super::follower::FollowerCheck;
use crate::error::ApiError;
use crate::serving::decompression::Decompression;
use crate::serving::leadership::Leadership;
use crate::serving::replica::Replica;
use crate::serving::reply_memory::{ReplyAccount, ReplyMemory};
use crate::serving::request::{
    Consistency, Fetched, FetchedBatch, FetchedData, Format, ReadOrigin,
};
use crate::state_machine::Watermarks;

/// How a client reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOptions {
    pub(super) max_bytes: usize,
    pub(super) format: Format,
}

impl ReadOptions {
    /// The options of a request, within the limits; 0 bytes ask for the default.
    pub(super) fn new(max_bytes: u32, format: Format) -> Self {
        let max_bytes = match usize::try_from(max_bytes).unwrap_or(usize::MAX) {
            0 => FETCH_REPLY_DEFAULT_BYTES,
            bytes => bytes.min(FETCH_READ_MAX_BYTES),
        };
        Self { max_bytes, format }
    }
}

/// The result of one read, with its size for the counters.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) fetched: Fetched,
    pub(super) record_count: u64,
    /// Bytes of the batches in the log.
    pub(super) bytes: usize,
}

impl Chunk {
    /// Whether the chunk that follows fits into the same reply.
    pub(super) fn has_room_for(&self, more: &Self) -> bool {
        let both = self.content_bytes() + more.content_bytes();
        both <= FETCH_REPLY_CONTENT_MAX_BYTES
    }

    /// Upper bound of the size of the batches or records in a reply.
    fn content_bytes(&self) -> usize {
        match &self.fetched.data {
            FetchedData::Batches(batches) => {
                self.bytes + batches.len() * FETCHED_BATCH_HEAD_MAX_BYTES
            }
            records @ FetchedData::Records(_) => records.memory_bytes(),
        }
    }

    /// Adds the chunk that follows.
    pub(super) fn extend(&mut self, more: Self) {
        let Self {
            fetched,
            record_count,
            bytes,
        } = more;
        self.record_count += record_count;
        self.bytes += bytes;
        let before = std::mem::replace(&mut self.fetched, fetched);
        self.fetched.start_offset = before.start_offset;
        match (before.data, &mut self.fetched.data) {
            (FetchedData::Batches(mut before), FetchedData::Batches(data)) => {
                before.append(data);
                *data = before;
            }
            (FetchedData::Records(mut before), FetchedData::Records(data)) => {
                before.append(data);
                *data = before;
            }
            // A reader returns one format.
            (FetchedData::Batches(_) | FetchedData::Records(_), _) => {}
        }
    }
}

/// The replica that a reader reads, and its guarantee.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) node: NodeId,
    /// Guarantee of the reader.
    pub(super) consistency: Consistency,
    /// Set for a replica that need not lead.
    pub(super) follower: Option<FollowerCheck>,
}

/// The memory that a reader uses.
pub(super) struct ReaderMemory {
    /// For what it returns, and for what it has read beyond that.
    pub(super) replies: ReplyAccount,
    pub(super) decompression: Decompression,
}

/// Reads a partition. Holds at most one reply's worth of entries beyond its offset, and one more if
/// they come from the disk.
pub(super) struct Reader {
    entries: Entries,
    options: ReadOptions,
    decompression: Decompression,
    next: Offset,
    marks: watch::Receiver<Watermarks>,
    origin: Origin,
    /// Entries that were read and are not yet decoded.
    decoder: Decoder,
    /// The memory of the last chunk and of the decoder. A client that asks for the next chunk has
    /// taken the last one.
    held: Option<ReplyMemory>,
    /// Whether the next chunk is joined to the former ones, which are not taken then.
    joins: bool,
}

impl Reader {
    /// A reader that starts at `from`.
    pub(super) fn new(
        replica: Arc<Replica>,
        (from, origin): (Offset, Origin),
        options: ReadOptions,
        memory: ReaderMemory,
    ) -> Self {
        let marks = replica.state.watch();
        let ReaderMemory {
            replies,
            decompression,
        } = memory;
        Self {
            entries: Entries::new(replica, options.max_bytes, replies),
            options,
            decompression,
            next: from,
            marks,
            origin,
            decoder: Decoder::default(),
            held: None,
            joins: false,
        }
    }

    /// The offset at which it continues.
    pub(super) const fn next_offset(&self) -> Offset {
        self.next
    }

    /// The bounds of the partition; the reader's offset must be within them or at their end.
    pub(super) fn check_range(&self) -> Result<Watermarks, ApiError> {
        let marks = *self.marks.borrow();
        let Watermarks {
            log_start_offset,
            high_watermark,
            commit_index: _,
        } = marks;
        if self.next < log_start_offset || self.next > high_watermark {
            return Err(out_of_range(self.next, marks));
        }
        Ok(marks)
    }

    /// Waits until there are records beyond the reader's offset. Fails if this node no longer
    /// leads, or if its replica is no longer current.
    pub(super) async fn wait(&mut self) -> Result<(), ApiError> {
        let next = self.next;
        if let Some(check) = &self.origin.follower {
            return check.wait_beyond(&self.entries.replica, next).await;
        }
        let mut status = self.entries.replica.raft.watch();
        let closing = |_| ApiError::replica_closing();
        loop {
            status.mark_unchanged();
            if !matches!(
                Leadership::of(&self.entries.replica.raft),
                Leadership::Ready(_)
            ) {
                return Err(ApiError::not_leader(None));
            }
            tokio::select! {
                grown = self.marks.wait_for(|marks| marks.high_watermark > next) => {
                    return grown.map(drop).map_err(closing);
                }
                changed = status.changed() => changed.map_err(closing)?,
            }
        }
    }

    /// From now on each chunk is joined to the former ones.
    pub(super) const fn join(&mut self) {
        self.joins = true;
    }

    /// The memory of what was returned, for a caller that keeps it longer than the reader.
    pub(super) fn take_held(&mut self) -> Option<ReplyMemory> {
        self.held.take()
    }

    /// Reads records below `end` and the high watermark; none if there are none. At most
    /// `max_records`; with whole batches, the last batch may exceed that. Waits for memory; a chunk
    /// that is joined to others is empty instead.
    pub(super) async fn read(&mut self, end: Offset, max_records: u64) -> Result<Chunk, ApiError> {
        if let Some(check) = &self.origin.follower {
            check.ensure(&self.entries.replica).await?;
        }
        let marks = self.check_range()?;
        let below = marks.high_watermark.min(end);
        let start = self.next;
        let mut chunk = match self.options.format {
            Format::Batches => self.read_batches(marks, below, max_records).await?,
            Format::Records => self.read_records(marks, below, max_records).await?,
        };
        chunk.fetched.start_offset = Some(start);
        if self.decoder.is_empty() {
            self.entries.read_ahead(self.next, below);
        }
        Ok(chunk)
    }

    async fn read_batches(
        &mut self,
        marks: Watermarks,
        below: Offset,
        max_records: u64,
    ) -> Result<Chunk, ApiError> {
        let joined = self.held.take().filter(|_| self.joins);
        let (entries, memory) = if self.next >= below {
            (Vec::new(), None)
        } else if joined.is_some() {
            let read = self.entries.read_if_room(self.next, below).await?;
            read.map_or_else(Default::default, |(entries, memory)| {
                (entries, Some(memory))
            })
        } else {
            let (entries, memory) = self.entries.read(self.next, below).await?;
            (entries, Some(memory))
        };
        let mut batches = Vec::with_capacity(entries.len());
        let (mut record_count, mut bytes) = (0, 0);
        for entry in entries {
            if record_count >= max_records {
                break;
            }
            let next = entry.next_offset();
            record_count += next.since(self.next);
            bytes += entry.proposal.payload.len();
            self.next = next;
            batches.push(FetchedBatch {
                base_offset: entry.base_offset,
                record_count: entry.proposal.record_count,
                append_time_ms: entry.proposal.append_time_ms,
                data: entry.proposal.payload,
                crc32c: entry.proposal.payload_crc32c,
                term: entry.id.term,
            });
        }
        let data = FetchedData::Batches(batches);
        self.held = joined;
        if let Some(mut memory) = memory {
            memory.shrink(data.memory_bytes());
            match &mut self.held {
                Some(held) => held.absorb(memory),
                none => *none = Some(memory),
            }
        }
        Ok(Chunk {
            fetched: self.fetched(marks, data),
            record_count,
            bytes,
        })
    }

    async fn read_records(
        &mut self,
        marks: Watermarks,
        below: Offset,
        max_records: u64,
    ) -> Result<Chunk, ApiError> {
        let mut bytes = 0;
        let mut records = Vec::new();
        if self.decoder.is_empty() {
            // Chunks of records are not joined.
            self.held = None;
        }
        if self.next < below {
            if self.decoder.is_empty() {
                let (entries, memory) = self.entries.read_to_decode(self.next, below).await?;
                self.held = Some(memory);
                bytes = entries
                    .iter()
                    .map(|entry| entry.proposal.payload.len())
                    .sum();
                self.decoder = Decoder::new(entries, self.next);
            }
            let max_bytes = self.entries.last_max_bytes();
            let taking = self
                .decoder
                .take(max_bytes, max_records, &self.decompression);
            records = taking.await?;
            self.next = self.decoder.next_offset();
        }
        let record_count = records.len() as u64;
        let data = FetchedData::Records(records);
        self.hold(&data);
        Ok(Chunk {
            record_count,
            fetched: self.fetched(marks, data),
            bytes,
        })
    }

    fn fetched(&self, marks: Watermarks, data: FetchedData) -> Fetched {
        Fetched {
            data,
            high_watermark: marks.high_watermark,
            log_start_offset: marks.log_start_offset,
            start_offset: None,
            next_offset: self.next,
            term: self.entries.replica.raft.watch().borrow().term,
            origin: ReadOrigin {
                consistency: Some(self.origin.consistency),
                node: Some(self.origin.node),
                commit_index: marks.commit_index,
            },
        }
    }

    /// Gives memory back that neither these records nor what is left to decode take. The next ones
    /// have their part of it already.
    fn hold(&mut self, records: &FetchedData) {
        let Some(held) = &mut self.held else { return };
        let mut bytes = records.memory_bytes();
        if !self.decoder.is_empty() {
            bytes = bytes.max(self.entries.last_max_bytes()) + self.decoder.held_bytes();
        }
        held.shrink(bytes);
    }
}
