//! Decodes batches into single records, for clients that do not decode batches themselves.

use std::vec;

use bytes::Bytes;
use lograft_core::record_batch::Records;
use lograft_core::{BatchView, Entry, Offset, Record};

use crate::error::ApiError;
use crate::serving::decompression::{Decompression, DecompressionMemory, undecodable};
use crate::serving::request::FetchedRecord;

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
    /// The record of the reply that is the first of this batch.
    first: usize,
    /// Whether the reply has only a part of the batch.
    is_partial: bool,
    /// Held while records are taken from the batch.
    memory: Option<DecompressionMemory>,
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

    /// The next records: those that take about `max_bytes` of memory, at most `max_records`; at
    /// least one if any is left. So a batch of any number of records and headers can be read.
    pub(super) async fn take(
        &mut self,
        max_bytes: usize,
        max_records: u64,
        decompression: &Decompression,
    ) -> Result<Vec<FetchedRecord>, ApiError> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < max_bytes && (taken.len() as u64) < max_records {
            let Some(open) = &mut self.open else {
                let Some(entry) = self.entries.next() else {
                    break;
                };
                let mut opened = open_batch(entry, decompression).await?;
                opened.first = taken.len();
                opened.skip_to(self.next)?;
                self.open = Some(opened);
                continue;
            };
            let Some(record) = open.records.next() else {
                self.next = open.end;
                self.close(&mut taken);
                continue;
            };
            let record = record.map_err(|error| undecodable(&error))?;
            let offset = open.at;
            open.at = offset.next();
            self.next = open.at;
            bytes += record.decoded_bytes();
            taken.push(FetchedRecord {
                offset,
                record,
                append_time_ms: open.append_time_ms,
            });
            if open.at == open.end {
                self.close(&mut taken);
            }
        }
        if let Some(open) = &mut self.open {
            open.is_partial = true;
            // Nobody knows when the client takes the next reply.
            open.memory = None;
            copy(taken.get_mut(open.first..).unwrap_or_default());
            open.first = 0;
        }
        Ok(taken)
    }

    /// Closes the batch all of whose records were returned.
    fn close(&mut self, taken: &mut [FetchedRecord]) {
        if let Some(open) = self.open.take_if(|open| open.is_partial) {
            copy(taken.get_mut(open.first..).unwrap_or_default());
        }
        self.open = None;
    }
}

impl OpenBatch {
    /// Skips the records before `from`, if there are any.
    fn skip_to(&mut self, from: Offset) -> Result<(), ApiError> {
        if from > self.at {
            let skipped = self.records.skip_records(from.since(self.at));
            skipped.map_err(|error| undecodable(&error))?;
            self.is_partial = true;
            self.at = from;
        }
        Ok(())
    }
}

/// Copies the contents of records into a block of their own. A reply with a part of a batch would
/// keep the whole batch in memory, which may be a thousand times as large.
fn copy(records: &mut [FetchedRecord]) {
    let mut block = Vec::with_capacity(records.iter().map(|r| r.record.payload_len()).sum());
    for part in records.iter_mut().flat_map(parts) {
        block.extend_from_slice(part);
    }
    let mut rest = Bytes::from(block);
    for part in records.iter_mut().flat_map(parts) {
        *part = rest.split_to(part.len());
    }
}

/// The parts of a record that are slices of its batch.
fn parts(found: &mut FetchedRecord) -> impl Iterator<Item = &mut Bytes> {
    let Record {
        timestamp_ms: _,
        key,
        value,
        headers,
    } = &mut found.record;
    let headers = headers.iter_mut().map(|header| &mut header.value);
    key.iter_mut().chain(value).chain(headers)
}

async fn open_batch(entry: Entry, decompression: &Decompression) -> Result<OpenBatch, ApiError> {
    let (at, end) = (entry.base_offset, entry.next_offset());
    let append_time_ms = entry.proposal.append_time_ms;
    let view = BatchView::parse(entry.proposal.payload).map_err(|error| undecodable(&error))?;
    let (records, memory) = decompression.read(view, BatchView::records).await?;
    Ok(OpenBatch {
        records,
        at,
        end,
        append_time_ms,
        first: 0,
        is_partial: false,
        memory: Some(memory),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lograft_core::limits::FETCH_REPLY_DEFAULT_BYTES;
    use lograft_core::{
        BatchBuilder, Compression, EntryKind, LogId, LogIndex, Proposal, Reason, Term,
    };

    use super::*;

    fn entry(base_offset: u64, count: u64, compression: Compression) -> Entry {
        let mut builder = BatchBuilder::new(compression);
        for n in 0..count {
            let value = format!("record {}", base_offset + n);
            builder
                .push_parts(5, None, Some(value.as_bytes()), [])
                .unwrap();
        }
        entry_of(base_offset, builder)
    }

    fn entry_of(base_offset: u64, builder: BatchBuilder) -> Entry {
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

    fn decompression() -> Decompression {
        Decompression::new(0)
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
        let first = decoder.take(usize::MAX, 2, &decompression()).await.unwrap();
        assert_eq!(offsets(&first), [12, 13]);
        assert_eq!(decoder.next_offset(), Offset(14));
        let next = decoder.take(usize::MAX, 4, &decompression()).await.unwrap();
        assert_eq!(offsets(&next), [14, 15, 16, 17]);
        let rest = decoder
            .take(usize::MAX, u64::MAX, &decompression())
            .await
            .unwrap();
        assert_eq!(offsets(&rest), (18..116).collect::<Vec<_>>());
        assert!(decoder.is_empty());
        assert_eq!(decoder.next_offset(), Offset(116));
    }

    #[tokio::test]
    async fn a_reply_is_bounded_and_never_empty() {
        let mut decoder = Decoder::new(entries(), Offset(10));
        assert_eq!(
            decoder
                .take(1, u64::MAX, &decompression())
                .await
                .unwrap()
                .len(),
            1
        );
        let some = decoder
            .take(1000, u64::MAX, &decompression())
            .await
            .unwrap();
        assert!((5..10).contains(&some.len()), "{}", some.len());
    }

    #[tokio::test]
    async fn empty_headers_count() {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        for _ in 0..1000 {
            let headers = [("", &b""[..]); 128];
            builder.push_parts(5, None, None, headers).unwrap();
        }
        let mut decoder = Decoder::new(vec![entry_of(0, builder)], Offset(0));
        let mut taken = 0;
        while !decoder.is_empty() {
            let records = decoder
                .take(FETCH_REPLY_DEFAULT_BYTES, u64::MAX, &decompression())
                .await
                .unwrap();
            let header_bytes = size_of::<lograft_core::record::Header>();
            let bytes = records.len() * 128 * header_bytes;
            assert!(bytes <= FETCH_REPLY_DEFAULT_BYTES, "{bytes}");
            taken += records.len();
        }
        assert_eq!(taken, 1000);
    }

    #[test]
    fn a_record_and_a_header_take_no_more_than_they_are_charged() {
        use lograft_core::limits::{HEADER_DECODED_BYTES, RECORD_DECODED_BYTES};
        use lograft_proto::log::v1 as proto;
        assert!(size_of::<FetchedRecord>() <= RECORD_DECODED_BYTES);
        assert!(size_of::<proto::FetchedRecord>() <= RECORD_DECODED_BYTES);
        assert!(size_of::<lograft_core::record::Header>() <= HEADER_DECODED_BYTES);
        assert!(size_of::<proto::Header>() <= HEADER_DECODED_BYTES);
    }

    #[tokio::test]
    async fn a_part_of_a_batch_does_not_keep_the_rest_in_memory() {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for _ in 0..1000 {
            builder.push_parts(5, None, Some(&[7; 1000]), []).unwrap();
        }
        let decompression = decompression();
        let mut decoder = Decoder::new(vec![entry_of(0, builder)], Offset(10));
        let mut taken = decoder.take(1, u64::MAX, &decompression).await.unwrap();
        drop(decoder);
        let value = taken.pop().unwrap().record.value.unwrap();
        assert_eq!(value, vec![7; 1000]);
        // Nothing else refers to the block: it is as long as the value.
        let block = value.try_into_mut().unwrap();
        assert!(block.capacity() < 2000, "{}", block.capacity());
    }

    /// Five of them exceed the memory of `decompression()`.
    fn large_entry() -> Entry {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        let value = vec![7; 950_000];
        for _ in 0..2 {
            builder.push_parts(5, None, Some(&value), []).unwrap();
        }
        entry_of(0, builder)
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_batch_waits_for_memory_and_is_refused_after_a_while() {
        let decompression = decompression();
        let others = decompression.hold_all().await;
        let mut decoder = Decoder::new(vec![large_entry()], Offset(0));
        let refused = decoder.take(1, 1, &decompression).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::TooManyReads));
        drop(others);
        let mut decoder = Decoder::new(vec![large_entry()], Offset(0));
        assert_eq!(decoder.take(1, 1, &decompression).await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_whose_client_takes_nothing_holds_no_memory_for_decompression() {
        let decompression = decompression();
        let mut stalled = Vec::new();
        for _ in 0..5 {
            let mut decoder = Decoder::new(vec![large_entry()], Offset(0));
            let part = decoder.take(1, 1, &decompression).await.unwrap();
            assert_eq!((part.len(), part[0].offset), (1, Offset(0)));
            stalled.push(decoder);
        }
        for mut decoder in stalled {
            let rest = decoder.take(usize::MAX, u64::MAX, &decompression).await;
            let rest = rest.unwrap();
            assert_eq!((rest.len(), rest[0].offset), (1, Offset(1)));
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_batch_are_an_error() {
        let mut broken = entry(0, 1, Compression::None);
        broken.proposal.payload = Bytes::from_static(b"nonsense");
        assert!(
            Decoder::new(vec![broken], Offset(0))
                .take(10, 10, &decompression())
                .await
                .is_err()
        );
    }
}
