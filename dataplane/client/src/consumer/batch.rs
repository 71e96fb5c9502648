//! A batch as a consumer gets it: checked, decompressed, and without the records before the offset
//! that was asked for.

use std::fmt;

use lograft_core::record::{Record, RecordRef};
use lograft_core::record_batch::{BatchError, BatchView, DecodedBatch, Records, verify_crc};
use lograft_core::{Offset, PartitionId, Term};
use lograft_proto::log::v1::FetchedBatch;

use super::ConsumedRecord;
use crate::error::ClientError;

/// Records of one partition, one after another.
#[derive(Clone)]
pub struct ConsumedBatch {
    partition: PartitionId,
    /// Of the first record that is not taken yet.
    base_offset: Offset,
    record_count: u32,
    /// Records at the batch's beginning that are not wanted, or taken.
    skipped: usize,
    decoded: DecodedBatch,
    encoded_len: usize,
    leader_epoch: Term,
    append_time_ms: i64,
    high_watermark: Offset,
}

impl ConsumedBatch {
    /// Checks and decompresses a fetched batch. `None` if all of it is before `from`.
    pub(crate) fn decode(
        partition: PartitionId,
        fetched: FetchedBatch,
        from: Option<Offset>,
        high_watermark: Offset,
    ) -> Result<Option<Self>, BatchError> {
        let base_offset = Offset(fetched.base_offset);
        let skipped = from.map_or(0, |from| from.since(base_offset));
        let Some(left) = u64::from(fetched.record_count)
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
            record_count: u32::try_from(left).unwrap_or(u32::MAX),
            skipped: usize::try_from(skipped).unwrap_or(usize::MAX),
            decoded: view.decode()?,
            encoded_len,
            leader_epoch: Term(fetched.leader_epoch),
            append_time_ms: fetched.append_time_ms,
            high_watermark,
        }))
    }

    /// The partition.
    pub const fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The first record's offset.
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The offset after the last record.
    pub const fn next_offset(&self) -> Offset {
        self.base_offset.plus(self.record_count)
    }

    /// How many records.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The encoded length of the batch that they came in, bytes.
    pub const fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The raft term in which it was appended.
    pub const fn leader_epoch(&self) -> Term {
        self.leader_epoch
    }

    /// When the leader took it, milliseconds since the Unix epoch.
    pub const fn append_time_ms(&self) -> i64 {
        self.append_time_ms
    }

    /// The end (exclusive) of what could be read when it was sent.
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The records and their offsets, borrowed: the fast way.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Offset, RecordRef<'_>), ClientError>> {
        let offsets = (self.base_offset.get()..).map(Offset);
        let records = self.decoded.iter().skip(self.skipped);
        offsets
            .zip(records)
            .map(|(offset, record)| Ok((offset, record?)))
    }

    /// The records, owned; keys and values are slices of the decompressed batch.
    pub fn into_records(mut self) -> impl Iterator<Item = Result<ConsumedRecord, ClientError>> {
        self.records()
            .map(move |record| Ok(self.take_next(record?)))
    }

    /// Those not taken yet.
    pub(crate) fn records(&self) -> Records {
        let mut records = self.decoded.clone().into_records();
        if self.skipped > 0 {
            // What does not decode is met again by whoever goes on.
            let _last_skipped = records.nth(self.skipped - 1);
        }
        records
    }

    /// Takes the first record off, which is `record`.
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
    fn records_before_the_offset_asked_for_are_left_out() {
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
    fn what_was_taken_one_by_one_is_not_in_the_rest() {
        let mut batch = decode(fetched(10, 4), 11).unwrap().unwrap();
        let mut records = batch.records();
        let first = batch.take_next(records.next().unwrap().unwrap());
        assert_eq!(first.offset, Offset(11));
        assert_eq!(values(&batch), [(12, "2".to_owned()), (13, "3".to_owned())]);
        assert_eq!(batch.record_count(), 2);
    }

    #[test]
    fn a_damaged_batch_is_told() {
        let mut damaged = fetched(0, 3);
        damaged.crc32c ^= 1;
        assert!(matches!(decode(damaged, 0), Err(BatchError::Crc { .. })));
        let mut miscounted = fetched(0, 3);
        miscounted.record_count = 4;
        assert!(decode(miscounted, 0).is_err());
    }
}
