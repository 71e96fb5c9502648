//! A fetched batch: verified, decompressed, without the records before the requested offset.

use std::fmt;

use lograft_core::record::{Record, RecordRef};
use lograft_core::record_batch::{BatchError, BatchView, DecodedBatch, Records, verify_crc};
use lograft_core::{Offset, PartitionId, Term};
use lograft_proto::log::v1::FetchedBatch;

use crate::error::ClientError;

/// A record with its partition and offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Partition number.
    pub partition: PartitionId,
    /// Offset of the record.
    pub offset: Offset,
    /// Raft term in which the record was appended.
    pub leader_epoch: Term,
    /// Time at which the leader appended the record, in milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// The record.
    pub record: Record,
}

/// Consecutive records of one partition.
#[derive(Clone)]
pub struct ConsumedBatch {
    partition: PartitionId,
    /// Offset of the first record that was not taken yet.
    base_offset: Offset,
    record_count: u32,
    /// Records at the start of the batch that were not requested, or were taken.
    skipped: usize,
    decoded: DecodedBatch,
    encoded_len: usize,
    leader_epoch: Term,
    append_time_ms: i64,
    high_watermark: Offset,
}

impl ConsumedBatch {
    /// Verifies and decompresses a fetched batch. Returns `None` if all its records are before
    /// `from`.
    pub(crate) fn decode(
        partition: PartitionId,
        fetched: FetchedBatch,
        from: Option<Offset>,
        high_watermark: Offset,
    ) -> Result<Option<Self>, BatchError> {
        let base_offset = Offset(fetched.base_offset);
        let skipped = from.map_or(0, |from| from.since(base_offset));
        let Some(remaining) = u64::from(fetched.record_count)
            .checked_sub(skipped)
            .filter(|n| *n > 0)
        else {
            return Ok(None);
        };
        verify_crc(&fetched.data, fetched.crc32c)?;
        let encoded_len = fetched.data.len();
        let view = BatchView::parse(fetched.data)?;
        if view.record_count() != fetched.record_count {
            return Err(BatchError::Truncated { field: "records" });
        }
        Ok(Some(Self {
            partition,
            base_offset: Offset(base_offset.get() + skipped),
            record_count: u32::try_from(remaining).unwrap_or(u32::MAX),
            skipped: usize::try_from(skipped).unwrap_or(usize::MAX),
            decoded: view.decode()?,
            encoded_len,
            leader_epoch: Term(fetched.leader_epoch),
            append_time_ms: fetched.append_time_ms,
            high_watermark,
        }))
    }

    /// Partition number.
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Offset of the first record.
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Offset after the last record.
    pub const fn next_offset(&self) -> Offset {
        self.base_offset.plus(self.record_count)
    }

    /// Number of records.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Encoded size of the whole batch, bytes.
    pub const fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Raft term in which the batch was appended.
    pub const fn leader_epoch(&self) -> Term {
        self.leader_epoch
    }

    /// Time at which the leader appended the batch, in milliseconds since the Unix epoch.
    pub const fn append_time_ms(&self) -> i64 {
        self.append_time_ms
    }

    /// High watermark (exclusive) of the partition at the time when the batch was sent.
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Offsets and borrowed records, without copying.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Offset, RecordRef<'_>), ClientError>> {
        let offsets = (self.base_offset.get()..).map(Offset);
        let records = self.decoded.iter().skip(self.skipped);
        offsets
            .zip(records)
            .map(|(offset, record)| Ok((offset, record?)))
    }

    /// Owned records; keys and values are slices of the decompressed batch.
    pub fn into_records(mut self) -> impl Iterator<Item = Result<ConsumedRecord, ClientError>> {
        self.records()
            .map(move |record| Ok(self.take_next(record?)))
    }

    /// The records that were not taken yet.
    pub(crate) fn records(&self) -> Records {
        let mut records = self.decoded.clone().into_records();
        if self.skipped > 0 {
            // A record that does not decode yields the same error on the next call.
            let _last_skipped = records.nth(self.skipped - 1);
        }
        records
    }

    /// Removes the first record, which is `record`.
    pub(crate) fn take_next(&mut self, record: Record) -> ConsumedRecord {
        let offset = self.base_offset;
        self.base_offset = offset.next();
        self.record_count = self.record_count.saturating_sub(1);
        self.skipped += 1;
        ConsumedRecord {
            partition: self.partition,
            offset,
            leader_epoch: self.leader_epoch,
            append_time_ms: self.append_time_ms,
            record,
        }
    }
}

impl fmt::Debug for ConsumedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumedBatch")
            .field("partition", &self.partition)
            .field("base_offset", &self.base_offset)
            .field("record_count", &self.record_count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::compression::Compression;
    use lograft_core::record_batch::BatchBuilder;

    use super::*;

    fn fetched(base_offset: u64, count: u32) -> FetchedBatch {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for n in 0..count {
            let value = n.to_string();
            let headers: [(&str, &[u8]); 0] = [];
            builder
                .push_parts(0, None, Some(value.as_bytes()), headers)
                .unwrap();
        }
        let encoded = builder.finish().unwrap();
        FetchedBatch {
            base_offset,
            record_count: count,
            data: encoded.bytes,
            crc32c: encoded.crc32c,
            ..FetchedBatch::default()
        }
    }

    fn decode(fetched: FetchedBatch, from: u64) -> Result<Option<ConsumedBatch>, BatchError> {
        ConsumedBatch::decode(PartitionId(0), fetched, Some(Offset(from)), Offset(100))
    }

    fn values(batch: &ConsumedBatch) -> Vec<(u64, String)> {
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        batch
            .iter()
            .map(|r| r.map(|(o, r)| (o.get(), text(r.value))).unwrap())
            .collect()
    }

    #[test]
    fn records_before_the_requested_offset_are_omitted() {
        let batch = decode(fetched(10, 4), 12).unwrap().unwrap();
        assert_eq!(
            (batch.base_offset(), batch.next_offset()),
            (Offset(12), Offset(14))
        );
        assert_eq!(values(&batch), [(12, "2".to_owned()), (13, "3".to_owned())]);
        let owned: Vec<_> = batch
            .into_records()
            .map(|r| r.unwrap().offset.get())
            .collect();
        assert_eq!(owned, [12, 13]);
        assert!(decode(fetched(10, 4), 14).unwrap().is_none());
        assert_eq!(
            decode(fetched(10, 4), 3).unwrap().unwrap().record_count(),
            4
        );
    }

    #[test]
    fn taken_records_are_not_in_the_rest_of_the_batch() {
        let mut batch = decode(fetched(10, 4), 11).unwrap().unwrap();
        let mut records = batch.records();
        let first = batch.take_next(records.next().unwrap().unwrap());
        assert_eq!(first.offset, Offset(11));
        assert_eq!(values(&batch), [(12, "2".to_owned()), (13, "3".to_owned())]);
        assert_eq!(batch.record_count(), 2);
    }

    #[test]
    fn a_corrupt_batch_is_an_error() {
        let mut corrupt = fetched(0, 3);
        corrupt.crc32c ^= 1;
        assert!(matches!(decode(corrupt, 0), Err(BatchError::Crc { .. })));
        let mut miscounted = fetched(0, 3);
        miscounted.record_count = 4;
        assert!(decode(miscounted, 0).is_err());
    }
}
