//! Decodes batches into single records, for clients that do not decode batches themselves.

use std::vec;

use lograft_core::limits::CHECK_INLINE_MAX_BYTES;
use lograft_core::record_batch::Records;
use lograft_core::{BatchError, BatchView, Compression, Entry, Offset};

use crate::error::ApiError;
use crate::serving::request::FetchedRecord;

/// About how many bytes a record takes in a reply besides its key, value and headers.
const RECORD_OVERHEAD_BYTES: usize = 40;

/// Decodes entries record by record, one reply's worth at a time.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    entries: vec::IntoIter<Entry>,
    open: Option<OpenBatch>,
    /// The offset of the next record to return.
    next: Offset,
}

/// The batch that is being decoded.
#[derive(Debug)]
struct OpenBatch {
    records: Records,
    /// The offset of the next record of `records`.
    at: Offset,
    end: Offset,
    append_time_ms: i64,
}

impl Decoder {
    /// Decodes `entries` from the offset `from` on, which is in the first entry.
    pub(super) fn new(entries: Vec<Entry>, from: Offset) -> Self {
        Self {
            entries: entries.into_iter(),
            open: None,
            next: from,
        }
    }

    /// Whether all records have been returned.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.entries.len() == 0
    }

    /// The offset behind the last record returned.
    pub(super) const fn next_offset(&self) -> Offset {
        self.next
    }

    /// The next records: about `max_bytes`, at most `max_records`; at least one if any is left.
    pub(super) async fn take(
        &mut self,
        max_bytes: usize,
        max_records: u64,
    ) -> Result<Vec<FetchedRecord>, ApiError> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < max_bytes && (taken.len() as u64) < max_records {
            let Some(open) = &mut self.open else {
                let Some(entry) = self.entries.next() else {
                    break;
                };
                self.open = Some(
                    open_batch(entry)
                        .await
                        .map_err(|error| undecodable(&error))?,
                );
                continue;
            };
            let Some(record) = open.records.next() else {
                self.next = open.end;
                self.open = None;
                continue;
            };
            let record = record.map_err(|error| undecodable(&error))?;
            let offset = open.at;
            open.at = offset.next();
            if offset < self.next {
                continue;
            }
            self.next = open.at;
            bytes += record.payload_len() + RECORD_OVERHEAD_BYTES;
            taken.push(FetchedRecord {
                offset,
                record,
                append_time_ms: open.append_time_ms,
            });
            if open.at == open.end {
                self.open = None;
            }
        }
        Ok(taken)
    }
}

/// Opens a batch; large compressed batches are decompressed on a thread for blocking work.
async fn open_batch(entry: Entry) -> Result<OpenBatch, BatchError> {
    let (at, end) = (entry.base_offset, entry.next_offset());
    let append_time_ms = entry.proposal.append_time_ms;
    let view = BatchView::parse(entry.proposal.payload)?;
    let is_large =
        view.compression() != Compression::None && view.uncompressed_len() > CHECK_INLINE_MAX_BYTES;
    let records = if is_large {
        let copy = view.clone();
        match tokio::task::spawn_blocking(move || copy.records()).await {
            Ok(records) => records?,
            // The runtime is shutting down.
            Err(_) => view.records()?,
        }
    } else {
        view.records()?
    };
    Ok(OpenBatch {
        records,
        at,
        end,
        append_time_ms,
    })
}

/// Every batch was checked before it was appended, so this is a fault of the node.
fn undecodable(error: &BatchError) -> ApiError {
    ApiError::internal("decode a batch of the log", error)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lograft_core::{BatchBuilder, EntryKind, LogId, LogIndex, Proposal, Term};

    use super::*;

    fn entry(base_offset: u64, count: u64, compression: Compression) -> Entry {
        let mut builder = BatchBuilder::new(compression);
        for n in 0..count {
            let value = format!("record {}", base_offset + n);
            builder
                .push_parts(5, None, Some(value.as_bytes()), [])
                .unwrap();
        }
        let batch = builder.finish().unwrap();
        let mut proposal = Proposal::control(EntryKind::Records, 77, batch.bytes);
        proposal.record_count = batch.record_count;
        let id = LogId {
            term: Term(1),
            index: LogIndex(base_offset),
        };
        Entry {
            id,
            base_offset: Offset(base_offset),
            proposal,
        }
    }

    fn entries() -> Vec<Entry> {
        vec![
            entry(10, 5, Compression::None),
            entry(15, 1, Compression::None),
            entry(16, 100, Compression::Lz4),
        ]
    }

    fn offsets(records: &[FetchedRecord]) -> Vec<u64> {
        for found in records {
            let value = found.record.value.clone().unwrap();
            assert_eq!(value, Bytes::from(format!("record {}", found.offset)));
            assert_eq!(found.append_time_ms, 77);
        }
        records.iter().map(|found| found.offset.get()).collect()
    }

    #[tokio::test]
    async fn starts_inside_a_batch_and_continues_where_it_stopped() {
        let mut decoder = Decoder::new(entries(), Offset(12));
        let first = decoder.take(usize::MAX, 2).await.unwrap();
        assert_eq!(offsets(&first), [12, 13]);
        assert_eq!(decoder.next_offset(), Offset(14));
        let next = decoder.take(usize::MAX, 4).await.unwrap();
        assert_eq!(offsets(&next), [14, 15, 16, 17]);
        let rest = decoder.take(usize::MAX, u64::MAX).await.unwrap();
        assert_eq!(offsets(&rest), (18..116).collect::<Vec<_>>());
        assert!(decoder.is_empty());
        assert_eq!(decoder.next_offset(), Offset(116));
    }

    #[tokio::test]
    async fn a_reply_is_bounded_and_never_empty() {
        let mut decoder = Decoder::new(entries(), Offset(10));
        assert_eq!(decoder.take(1, u64::MAX).await.unwrap().len(), 1);
        let some = decoder.take(500, u64::MAX).await.unwrap();
        assert!((5..15).contains(&some.len()), "{}", some.len());
    }

    #[tokio::test]
    async fn bytes_that_are_no_batch_are_an_error() {
        let mut broken = entry(0, 1, Compression::None);
        broken.proposal.payload = Bytes::from_static(b"nonsense");
        assert!(
            Decoder::new(vec![broken], Offset(0))
                .take(10, 10)
                .await
                .is_err()
        );
    }
}
