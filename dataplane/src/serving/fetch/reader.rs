//! Reads one partition from an offset on, chunk by chunk.

use std::sync::Arc;

use lograft_core::limits::{
    FETCH_READ_MAX_BYTES, FETCH_REPLY_CONTENT_MAX_BYTES, FETCH_REPLY_DEFAULT_BYTES,
    FETCHED_BATCH_HEAD_MAX_BYTES,
};
use lograft_core::{Entry, Offset};
use lograft_storage::ReadError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::decode::Decoder;
use crate::error::ApiError;
use crate::serving::decompression::Decompression;
use crate::serving::disk_read::{failed_read, read_from_disk};
use crate::serving::leadership::Leadership;
use crate::serving::replica::Replica;
use crate::serving::request::{Fetched, FetchedBatch, FetchedData, Format};
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
            FetchedData::Records(records) => records
                .iter()
                .map(|fetched| fetched.record.decoded_bytes())
                .sum(),
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

/// A read of the disk in progress, from this offset on.
struct ReadAhead {
    from: Offset,
    entries: JoinHandle<Result<Vec<Entry>, ApiError>>,
}

/// Reads a partition. Holds at most one reply's worth of entries beyond its offset.
pub(super) struct Reader {
    replica: Arc<Replica>,
    options: ReadOptions,
    decompression: Decompression,
    next: Offset,
    marks: watch::Receiver<Watermarks>,
    /// Entries that were read and are not yet decoded.
    decoder: Decoder,
    ahead: Option<ReadAhead>,
}

impl Reader {
    /// A reader that starts at `from`.
    pub(super) fn new(
        replica: Arc<Replica>,
        from: Offset,
        options: ReadOptions,
        decompression: Decompression,
    ) -> Self {
        let marks = replica.state.watch();
        Self {
            replica,
            options,
            decompression,
            next: from,
            marks,
            decoder: Decoder::default(),
            ahead: None,
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
        } = marks;
        if self.next < log_start_offset || self.next > high_watermark {
            return Err(out_of_range(self.next, marks));
        }
        Ok(marks)
    }

    /// Waits until there are records beyond the reader's offset, or this node no longer leads.
    pub(super) async fn wait(&mut self) -> Result<(), ApiError> {
        let next = self.next;
        let mut status = self.replica.raft.watch();
        let closing = |_| ApiError::replica_closing();
        loop {
            status.mark_unchanged();
            if !matches!(Leadership::of(&self.replica.raft), Leadership::Ready(_)) {
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

    /// Reads records below `end` and the high watermark; none if there are none. At most
    /// `max_records`; with whole batches, the last batch may exceed that.
    pub(super) async fn read(&mut self, end: Offset, max_records: u64) -> Result<Chunk, ApiError> {
        let marks = self.check_range()?;
        let below = marks.high_watermark.min(end);
        let start = self.next;
        let mut chunk = match self.options.format {
            Format::Batches => self.read_batches(marks, below, max_records).await?,
            Format::Records => self.read_records(marks, below, max_records).await?,
        };
        chunk.fetched.start_offset = Some(start);
        if self.decoder.is_empty() {
            self.read_ahead(below);
        }
        Ok(chunk)
    }

    async fn read_batches(
        &mut self,
        marks: Watermarks,
        below: Offset,
        max_records: u64,
    ) -> Result<Chunk, ApiError> {
        let entries = if self.next < below {
            self.entries(below).await?
        } else {
            Vec::new()
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
        Ok(Chunk {
            fetched: self.fetched(marks, FetchedData::Batches(batches)),
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
        if self.next < below {
            if self.decoder.is_empty() {
                let entries = self.entries(below).await?;
                bytes = entries
                    .iter()
                    .map(|entry| entry.proposal.payload.len())
                    .sum();
                self.decoder = Decoder::new(entries, self.next);
            }
            let max_bytes = self.options.max_bytes;
            let decompression = &self.decompression;
            let taking = self.decoder.take(max_bytes, max_records, decompression);
            records = taking.await?;
            self.next = self.decoder.next_offset();
        }
        Ok(Chunk {
            record_count: records.len() as u64,
            fetched: self.fetched(marks, FetchedData::Records(records)),
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
            term: self.replica.raft.watch().borrow().term,
        }
    }

    async fn entries(&mut self, below: Offset) -> Result<Vec<Entry>, ApiError> {
        if let Some(ReadAhead { from, entries }) = self.ahead.take()
            && from == self.next
        {
            let entries = entries.await;
            return entries.map_err(|error| ApiError::internal("read the log", &error))?;
        }
        let (from, max_bytes) = (self.next, self.options.max_bytes);
        if self.is_cached(from) {
            return read_log(&self.replica, from, below, max_bytes);
        }
        self.read_disk(below).await
    }

    /// Reads the next entries from the disk.
    fn read_disk(
        &self,
        below: Offset,
    ) -> impl Future<Output = Result<Vec<Entry>, ApiError>> + use<> {
        let (from, max_bytes) = (self.next, self.options.max_bytes);
        let replica = Arc::clone(&self.replica);
        read_from_disk(self.replica.log.clone(), move |_| {
            read_log(&replica, from, below, max_bytes)
        })
    }

    /// Starts to read the next entries from the disk while the client takes the current ones.
    /// Entries in the cache need no head start.
    fn read_ahead(&mut self, below: Offset) {
        let from = self.next;
        if from < below && !self.is_cached(from) {
            self.ahead = Some(ReadAhead {
                from,
                entries: tokio::spawn(self.read_disk(below)),
            });
        }
    }

    fn is_cached(&self, from: Offset) -> bool {
        self.replica
            .log
            .cached_from()
            .is_some_and(|first| first <= from)
    }
}

fn read_log(
    replica: &Replica,
    from: Offset,
    below: Offset,
    max_bytes: usize,
) -> Result<Vec<Entry>, ApiError> {
    replica
        .log
        .read_from_offset(from, below, max_bytes)
        .map_err(|error| match error {
            ReadError::Purged { .. } => out_of_range(from, replica.state.watermarks()),
            ReadError::Storage { source, .. } => failed_read(&replica.log, "read the log", &source),
        })
}

fn out_of_range(offset: Offset, marks: Watermarks) -> ApiError {
    ApiError::out_of_range(offset, marks.log_start_offset, marks.high_watermark)
}
