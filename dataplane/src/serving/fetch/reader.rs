//! Reads one partition from an offset on, chunk by chunk.

use std::sync::Arc;

use lograft_core::limits::{FETCH_REPLY_DEFAULT_BYTES, FETCH_REPLY_MAX_BYTES};
use lograft_core::{Entry, Offset, Reason};
use lograft_proto::log::v1 as proto;
use lograft_storage::{ReadError, StorageError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::decode::Decoder;
use crate::api::grpc::status::ApiError;
use crate::error_text::error_chain;
use crate::serving::locate::Leading;
use crate::serving::replica::Replica;
use crate::state_machine::Watermarks;

/// How a client wants to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) max_bytes: usize,
    pub(crate) as_batches: bool,
}

impl Style {
    /// What a request asks for, within the limits.
    pub(crate) fn of(max_bytes: u32, format: i32) -> Result<Self, ApiError> {
        let format = proto::FetchFormat::try_from(format);
        let format = format.map_err(|_| ApiError::invalid("format", "one of FetchFormat"))?;
        let max_bytes = match usize::try_from(max_bytes).unwrap_or(usize::MAX) {
            0 => FETCH_REPLY_DEFAULT_BYTES,
            bytes => bytes.min(FETCH_REPLY_MAX_BYTES),
        };
        Ok(Self {
            max_bytes,
            as_batches: format == proto::FetchFormat::Batches,
        })
    }
}

/// What was read, and for the counters how much.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) reply: proto::FetchReply,
    pub(crate) record_count: u64,
    pub(crate) bytes: usize,
}

/// Entries on their way from the disk, from this offset on.
struct Ahead {
    from: Offset,
    entries: JoinHandle<Result<Vec<Entry>, ApiError>>,
}

/// A place in a partition, and what has been read beyond it: at most one reply's worth.
pub(crate) struct Reader {
    replica: Arc<Replica>,
    style: Style,
    next: Offset,
    marks: watch::Receiver<Watermarks>,
    /// Read and not yet decoded.
    decoder: Decoder,
    ahead: Option<Ahead>,
}

impl Reader {
    /// A reader that begins at `from`.
    pub(crate) fn new(replica: Arc<Replica>, from: Offset, style: Style) -> Self {
        let marks = replica.state.watch();
        Self {
            replica,
            style,
            next: from,
            marks,
            decoder: Decoder::default(),
            ahead: None,
        }
    }

    /// Where it goes on.
    pub(crate) const fn next_offset(&self) -> Offset {
        self.next
    }

    /// What can be read at this moment; the offset must be in it or at its end.
    pub(crate) fn check_range(&self) -> Result<Watermarks, ApiError> {
        let marks = *self.marks.borrow();
        let Watermarks {
            log_start_offset,
            high_watermark,
        } = marks;
        if self.next < log_start_offset || self.next > high_watermark {
            return Err(ApiError::out_of_range(self.next.get(), marks));
        }
        Ok(marks)
    }

    /// Sleeps until there is something beyond the reader's place, or this node no longer leads.
    pub(crate) async fn wait(&mut self) -> Result<(), ApiError> {
        let next = self.next;
        let mut status = self.replica.raft.watch();
        let gone = |_| ApiError::new(Reason::NotReady, "the replica is being closed");
        loop {
            status.mark_unchanged();
            if !matches!(Leading::of(&self.replica), Leading::Here(_)) {
                return Err(ApiError::not_leader(None));
            }
            tokio::select! {
                there = self.marks.wait_for(|marks| marks.high_watermark > next) => {
                    return there.map(drop).map_err(gone);
                }
                changed = status.changed() => changed.map_err(gone)?,
            }
        }
    }

    /// Reads what is there below `end` and the high watermark; nothing if nothing is. At most
    /// `max_records`; with batches the last may hold more.
    pub(crate) async fn read(&mut self, end: Offset, max_records: u64) -> Result<Chunk, ApiError> {
        let marks = self.check_range()?;
        let below = marks.high_watermark.min(end);
        let mut chunk = Chunk {
            reply: self.empty_reply(marks),
            ..Chunk::default()
        };
        if self.next >= below {
            return Ok(chunk);
        }
        if self.style.as_batches {
            let entries = self.entries(below).await?;
            self.take_batches(entries, max_records, &mut chunk);
        } else {
            if self.decoder.is_empty() {
                let entries = self.entries(below).await?;
                chunk.bytes = entries
                    .iter()
                    .map(|entry| entry.proposal.payload.len())
                    .sum();
                self.decoder = Decoder::new(entries, self.next);
            }
            let max_bytes = self.style.max_bytes;
            let records = self.decoder.take(max_bytes, max_records).await?;
            chunk.record_count = records.len() as u64;
            self.next = self.decoder.next_offset();
            chunk.reply.records = records;
        }
        chunk.reply.next_offset = self.next.get();
        if self.decoder.is_empty() {
            self.read_ahead(below);
        }
        Ok(chunk)
    }

    /// A reply without records.
    fn empty_reply(&self, marks: Watermarks) -> proto::FetchReply {
        proto::FetchReply {
            high_watermark: marks.high_watermark.get(),
            log_start_offset: marks.log_start_offset.get(),
            next_offset: self.next.get(),
            leader_epoch: self.replica.raft.watch().borrow().term.get(),
            ..Default::default()
        }
    }

    fn take_batches(&mut self, entries: Vec<Entry>, max_records: u64, chunk: &mut Chunk) {
        chunk.reply.batches.reserve_exact(entries.len());
        for entry in entries {
            if chunk.record_count >= max_records {
                break;
            }
            let next = entry.next_offset();
            chunk.record_count += next.since(self.next);
            chunk.bytes += entry.proposal.payload.len();
            self.next = next;
            chunk.reply.batches.push(proto::FetchedBatch {
                base_offset: entry.base_offset.get(),
                record_count: entry.proposal.record_count,
                append_time_ms: entry.proposal.append_time_ms,
                data: entry.proposal.payload,
                crc32c: entry.proposal.payload_crc32c,
                leader_epoch: entry.id.term.get(),
            });
        }
    }

    async fn entries(&mut self, below: Offset) -> Result<Vec<Entry>, ApiError> {
        if let Some(Ahead { from, entries }) = self.ahead.take()
            && from == self.next
        {
            let entries = entries.await;
            return entries.map_err(|error| ApiError::internal("reading the log", &error))?;
        }
        let (from, max_bytes) = (self.next, self.style.max_bytes);
        if self.is_cached(from) {
            return read_log(&self.replica, from, below, max_bytes);
        }
        let replica = Arc::clone(&self.replica);
        let reading =
            tokio::task::spawn_blocking(move || read_log(&replica, from, below, max_bytes));
        reading
            .await
            .map_err(|error| ApiError::internal("reading the log", &error))?
    }

    /// Begins to read what comes next, if it must come from the disk: while the client takes what
    /// was read before.
    fn read_ahead(&mut self, below: Offset) {
        let (from, max_bytes) = (self.next, self.style.max_bytes);
        if from < below && !self.is_cached(from) {
            let replica = Arc::clone(&self.replica);
            let read = move || read_log(&replica, from, below, max_bytes);
            self.ahead = Some(Ahead {
                from,
                entries: tokio::task::spawn_blocking(read),
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
            ReadError::Purged { .. } => {
                ApiError::out_of_range(from.get(), replica.state.watermarks())
            }
            ReadError::Storage {
                source: StorageError::Corrupt { .. },
                ..
            } => {
                replica.state.report_damage();
                tracing::error!(group = %replica.group, error = %error_chain(&error), "damage");
                ApiError::new(Reason::ReplicaCorrupt, "this replica is damaged")
            }
            ReadError::Storage { .. } => ApiError::internal("reading the log", &error),
        })
}
