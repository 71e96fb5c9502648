//! Reads the entries of one partition, each read with its memory.

use std::sync::Arc;

use lograft_core::limits::{BATCH_MAX_BYTES, BATCH_READ_BYTES};
use lograft_core::{BatchView, Compression, Entry, Offset};
use lograft_storage::ReadError;
use tokio::task::JoinHandle;

use crate::error::ApiError;
use crate::serving::disk_read::{failed_read, read_from_disk};
use crate::serving::replica::Replica;
use crate::serving::reply_memory::{ReplyAccount, ReplyMemory};
use crate::state_machine::Watermarks;

/// Entries and their memory, of which more may be reserved than they take.
pub(super) type HeldEntries = (Vec<Entry>, ReplyMemory);

/// A read of the disk in progress, from this offset on.
struct ReadAhead {
    from: Offset,
    entries: JoinHandle<Result<HeldEntries, ApiError>>,
}

/// The entries of a partition, read on from any offset.
pub(super) struct Entries {
    pub(super) replica: Arc<Replica>,
    /// The memory for what is read.
    replies: ReplyAccount,
    /// Most bytes of a read.
    max_bytes: usize,
    /// Most bytes of the last read.
    last_max_bytes: usize,
    ahead: Option<ReadAhead>,
}

impl Entries {
    pub(super) const fn new(
        replica: Arc<Replica>,
        max_bytes: usize,
        replies: ReplyAccount,
    ) -> Self {
        Self {
            replica,
            replies,
            max_bytes,
            last_max_bytes: max_bytes,
            ahead: None,
        }
    }

    /// Most bytes of the last read: less than asked for while memory is scarce.
    pub(super) const fn last_max_bytes(&self) -> usize {
        self.last_max_bytes
    }

    /// The entries from an offset on; waits for memory. The caller MUST hold no memory of replies
    /// to the same user: those who wait would wait for each other.
    pub(super) async fn read(
        &mut self,
        from: Offset,
        below: Offset,
    ) -> Result<HeldEntries, ApiError> {
        if let Some(ahead) = self.take_ahead(from) {
            return ahead.finish().await;
        }
        let bytes = self.start_read();
        let memory = self.replies.reserve(bytes).await?;
        self.read_with(memory, from, below).await
    }

    /// The same, for a caller that may hold memory: none if there is no more of it now.
    pub(super) async fn read_if_room(
        &mut self,
        from: Offset,
        below: Offset,
    ) -> Result<Option<HeldEntries>, ApiError> {
        if let Some(ahead) = self.take_ahead(from) {
            return ahead.finish().await.map(Some);
        }
        let bytes = self.start_read();
        match self.replies.try_reserve(bytes) {
            Some(memory) => self.read_with(memory, from, below).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same as [`Self::read`], with the memory to decode the entries and to return a reply's
    /// worth of records.
    pub(super) async fn read_to_decode(
        &mut self,
        from: Offset,
        below: Offset,
    ) -> Result<HeldEntries, ApiError> {
        let (entries, mut memory) = self.read(from, below).await?;
        let bytes = decoding_bytes(&entries) + self.last_max_bytes;
        if memory.resize(bytes).is_ok() {
            return Ok((entries, memory));
        }
        // Read once more, so that nothing is held while it waits.
        drop((entries, memory));
        let memory = self.replies.reserve(bytes.max(self.reserved_bytes()));
        self.read_with(memory.await?, from, below).await
    }

    /// Starts to read from the disk while the client takes what was read before, if there is
    /// memory. Entries in the cache need no head start.
    pub(super) fn read_ahead(&mut self, from: Offset, below: Offset) {
        if from >= below || self.is_cached(from) {
            return;
        }
        let Some(memory) = self.replies.try_reserve(self.reserved_bytes()) else {
            return;
        };
        let entries = self.read_disk(memory, from, below);
        self.ahead = Some(ReadAhead {
            from,
            entries: tokio::spawn(entries),
        });
    }

    fn take_ahead(&mut self, from: Offset) -> Option<ReadAhead> {
        self.ahead.take().filter(|ahead| ahead.from == from)
    }

    /// Decides how much the next read returns at most. Returns the memory to reserve for it.
    fn start_read(&mut self) -> usize {
        self.last_max_bytes = self.replies.reply_bytes(self.max_bytes);
        self.reserved_bytes()
    }

    /// The memory of a read until its size is known: it returns a batch of any size if that is the
    /// first.
    const fn reserved_bytes(&self) -> usize {
        BATCH_MAX_BYTES + BATCH_READ_BYTES + self.last_max_bytes
    }

    async fn read_with(
        &self,
        memory: ReplyMemory,
        from: Offset,
        below: Offset,
    ) -> Result<HeldEntries, ApiError> {
        if self.is_cached(from) {
            let entries = read_log(&self.replica, from, below, self.last_max_bytes)?;
            return Ok((entries, memory));
        }
        self.read_disk(memory, from, below).await
    }

    /// Reads from the disk. The memory is held to the end of the work, also if nobody waits for it
    /// any more.
    fn read_disk(
        &self,
        mut memory: ReplyMemory,
        from: Offset,
        below: Offset,
    ) -> impl Future<Output = Result<HeldEntries, ApiError>> + use<> {
        let max_bytes = self.last_max_bytes;
        let replica = Arc::clone(&self.replica);
        read_from_disk(self.replica.log.clone(), move |_| {
            let entries = read_log(&replica, from, below, max_bytes)?;
            memory.shrink(entries_bytes(&entries));
            Ok((entries, memory))
        })
    }

    fn is_cached(&self, from: Offset) -> bool {
        let first = self.replica.log.cached_from();
        first.is_some_and(|first| first <= from)
    }
}

impl ReadAhead {
    async fn finish(self) -> Result<HeldEntries, ApiError> {
        let read = self.entries.await;
        read.map_err(|error| ApiError::internal("read the log", &error))?
    }
}

/// The memory that entries take.
pub(super) fn entries_bytes(entries: &[Entry]) -> usize {
    let bytes = |entry: &Entry| entry.proposal.payload.len() + BATCH_READ_BYTES;
    entries.iter().map(bytes).sum()
}

/// The memory of entries and of the largest of them decompressed: one is decoded at a time.
// A batch that cannot be parsed fails when it is its turn.
fn decoding_bytes(entries: &[Entry]) -> usize {
    let decompressed = |entry: &Entry| {
        let view = BatchView::parse(entry.proposal.payload.clone()).ok()?;
        (view.compression() != Compression::None).then(|| view.uncompressed_len())
    };
    let largest = entries.iter().filter_map(decompressed).max();
    entries_bytes(entries) + largest.unwrap_or(0)
}

fn read_log(
    replica: &Replica,
    from: Offset,
    below: Offset,
    max_bytes: usize,
) -> Result<Vec<Entry>, ApiError> {
    let read = replica.log.read_from_offset(from, below, max_bytes);
    read.map_err(|error| match error {
        ReadError::Purged { .. } => out_of_range(from, replica.state.watermarks()),
        ReadError::Storage { source, .. } => failed_read(&replica.log, "read the log", &source),
    })
}

pub(super) fn out_of_range(offset: Offset, marks: Watermarks) -> ApiError {
    ApiError::out_of_range(offset, marks.log_start_offset, marks.high_watermark)
}
