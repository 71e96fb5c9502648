//! Decoding of record batches: the header at once, the records on demand.

use bytes::Bytes;

use super::walk::RecordRefs;
use super::{BatchError, COMPRESSION_MASK, DECODED_FIELD, HEADER_BYTES, RECORD_FIELD, VERSION};
use crate::compression::{Compression, decompress};
use crate::limits;
use crate::record::{self, Header, Record};
use crate::record_time::TimestampRange;

/// The limits that a batch is checked against, all inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Size of the encoded batch, bytes.
    pub batch_max_bytes: usize,
    /// Size of the decompressed records block, bytes.
    pub uncompressed_max_bytes: usize,
    /// Number of records.
    pub records_max_count: u32,
    /// Size of one record's key, value and headers together, bytes.
    pub record_max_bytes: usize,
    /// The field of the errors about `record_max_bytes`.
    pub record_field: &'static str,
    /// Number of headers of one record.
    pub headers_max_count: usize,
    /// Memory of all decoded records, bytes.
    pub decoded_max_bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            batch_max_bytes: limits::BATCH_MAX_BYTES,
            uncompressed_max_bytes: limits::BATCH_UNCOMPRESSED_MAX_BYTES,
            records_max_count: limits::BATCH_RECORDS_MAX_COUNT,
            record_max_bytes: limits::RECORD_MAX_BYTES,
            record_field: RECORD_FIELD,
            headers_max_count: limits::RECORD_HEADERS_MAX_COUNT,
            decoded_max_bytes: limits::BATCH_DECODED_MAX_BYTES,
        }
    }
}

/// Verifies the checksum that was sent with a batch. Fails with [`BatchError::Crc`].
pub fn verify_crc(bytes: &[u8], declared: u32) -> Result<(), BatchError> {
    let found = crc32c::crc32c(bytes);
    if found == declared {
        Ok(())
    } else {
        Err(BatchError::Crc { declared, found })
    }
}

/// A batch with its decoded header.
#[derive(Clone, Debug)]
pub struct BatchView {
    bytes: Bytes,
    compression: Compression,
    record_count: u32,
    base_time_ms: i64,
    max_time_ms: i64,
    uncompressed_len: usize,
}

impl BatchView {
    /// Decodes the header. Fails if it is malformed, or if a declared size or count is above a
    /// limit.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header: &[u8; HEADER_BYTES] = bytes
            .first_chunk()
            .ok_or(BatchError::Truncated { field: "header" })?;
        let &[version, attributes, r0, r1, ref rest @ ..] = header;
        if version != VERSION {
            return Err(BatchError::Version { found: version });
        }
        let reserved = u16::from_le_bytes([r0, r1]);
        let compression = Compression::from_code(attributes & COMPRESSION_MASK)
            .filter(|_| attributes & !COMPRESSION_MASK == 0 && reserved == 0)
            .ok_or(BatchError::Attributes {
                attributes,
                reserved,
            })?;
        let (record_count, rest) = take_le(rest);
        let (base_time, rest) = take_le(rest);
        let (max_time, rest) = take_le(rest);
        let (uncompressed_len, _) = take_le(rest);
        let view = Self {
            compression,
            record_count: u32::from_le_bytes(record_count),
            base_time_ms: i64::from_le_bytes(base_time),
            max_time_ms: i64::from_le_bytes(max_time),
            uncompressed_len: u32::from_le_bytes(uncompressed_len) as usize,
            bytes,
        };
        view.check_header(&BatchLimits::default())?;
        Ok(view)
    }

    fn check_header(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        if self.record_count == 0 {
            return Err(BatchError::Empty);
        }
        let records = (
            self.record_count as usize,
            limits.records_max_count as usize,
        );
        BatchError::check("batch records", records.0, records.1)?;
        BatchError::check("batch bytes", self.bytes.len(), limits.batch_max_bytes)?;
        let bound = limits.uncompressed_max_bytes;
        BatchError::check("batch uncompressed bytes", self.uncompressed_len, bound)
    }

    /// Decodes all records and checks structure, count, sizes and the max timestamp. Fails with the
    /// first violation. Returns the earliest and the latest timestamp.
    pub fn validate(&self, limits: &BatchLimits) -> Result<TimestampRange, BatchError> {
        // The leader validates each batch of a client before it proposes it. A batch in the log is
        // replicated and served as it is: with a wrong record count, the offsets of all later
        // records would be wrong, and a batch that does not decode, or takes more memory than its
        // readers have, would stop every consumer at its offset.
        self.check_header(limits)?;
        let block = self.block()?;
        let mut records = RecordRefs::new(&block, self.base_time_ms, self.record_count);
        let (mut min_time_ms, mut max_time_ms) = (i64::MAX, i64::MIN);
        let mut decoded_bytes = 0;
        for record in records.by_ref() {
            let record = record?;
            let header_count = record.header_count;
            BatchError::check("record headers", header_count, limits.headers_max_count)?;
            let payload_len = record.payload_len()?;
            BatchError::check(limits.record_field, payload_len, limits.record_max_bytes)?;
            decoded_bytes += record::decoded_bytes(payload_len, header_count);
            let bound = limits.decoded_max_bytes;
            BatchError::check(DECODED_FIELD, decoded_bytes, bound)?;
            min_time_ms = min_time_ms.min(record.timestamp_ms);
            max_time_ms = max_time_ms.max(record.timestamp_ms);
        }
        if !records.rest().is_empty() {
            return Err(BatchError::TrailingBytes {
                left: records.rest().len(),
            });
        }
        let declared = self.max_time_ms;
        if max_time_ms != declared {
            return Err(BatchError::MaxTimestamp {
                declared,
                found: max_time_ms,
            });
        }
        Ok(TimestampRange {
            min_ms: min_time_ms,
            max_ms: max_time_ms,
        })
    }

    /// The decompressed records block. Its length is the one in the header, which was checked.
    fn block(&self) -> Result<Bytes, BatchError> {
        let block = self.bytes.slice(HEADER_BYTES..);
        let length = |declared, found| {
            let error = crate::compression::DecompressError::Length { declared, found };
            Err(BatchError::Decompress(error))
        };
        match self.compression {
            Compression::None if block.len() == self.uncompressed_len => Ok(block),
            Compression::None => length(self.uncompressed_len, block.len()),
            packed => decompress(packed, &block, self.uncompressed_len)
                .map(Bytes::from)
                .map_err(BatchError::Decompress),
        }
    }

    /// Decompresses the batch for reading its records by reference.
    pub fn decode(&self) -> Result<DecodedBatch, BatchError> {
        Ok(DecodedBatch {
            block: self.block()?,
            base_time_ms: self.base_time_ms,
            record_count: self.record_count,
        })
    }

    /// Decompresses the batch and returns its records, as slices of the decompressed bytes.
    pub fn records(&self) -> Result<Records, BatchError> {
        self.decode().map(DecodedBatch::into_records)
    }

    /// The encoded batch.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The compression of the records block.
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// The declared number of records. Only correct after [`BatchView::validate`].
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The declared max timestamp, ms. Only correct after [`BatchView::validate`].
    pub const fn max_time_ms(&self) -> i64 {
        self.max_time_ms
    }

    /// The declared length of the decompressed records block, bytes.
    pub const fn uncompressed_len(&self) -> usize {
        self.uncompressed_len
    }
}

/// Splits off the first `N` bytes. MUST be called within the length of the header.
fn take_le<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    bytes
        .split_first_chunk()
        .map_or(([0; N], &[]), |(head, rest)| (*head, rest))
}

/// The decompressed records block of a batch.
#[derive(Clone, Debug)]
pub struct DecodedBatch {
    block: Bytes,
    base_time_ms: i64,
    record_count: u32,
}

impl DecodedBatch {
    /// The records, borrowed from the block. This is the fastest way to read them.
    pub fn iter(&self) -> RecordRefs<'_> {
        RecordRefs::new(&self.block, self.base_time_ms, self.record_count)
    }

    /// The number, from 0, of the first record from number `from` on whose timestamp is `time_ms`
    /// or later. Fails at a record that cannot be decoded.
    pub fn position_of_time(&self, from: u64, time_ms: i64) -> Result<Option<u32>, BatchError> {
        for (position, record) in (0..).zip(self) {
            if record?.timestamp_ms >= time_ms && u64::from(position) >= from {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// The records, each with a reference to the block.
    pub const fn into_records(self) -> Records {
        Records {
            taken: 0,
            base_time_ms: self.base_time_ms,
            left: self.record_count,
            batch: self,
        }
    }
}

impl<'a> IntoIterator for &'a DecodedBatch {
    type Item = Result<crate::record::RecordRef<'a>, BatchError>;
    type IntoIter = RecordRefs<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// An iterator over the records of a batch. Keys and values are slices of the decompressed bytes.
#[derive(Clone, Debug)]
pub struct Records {
    batch: DecodedBatch,
    /// Number of bytes of the block that were read.
    taken: usize,
    base_time_ms: i64,
    left: u32,
}

impl Records {
    /// Skips the next records without building them.
    pub fn skip_records(&mut self, count: u64) -> Result<(), BatchError> {
        let block = &self.batch.block;
        let mut refs = RecordRefs::new(&block[self.taken..], self.base_time_ms, self.left);
        for _ in 0..count {
            let Some(record) = refs.next() else { break };
            record?;
            self.left -= 1;
        }
        self.taken = block.len() - refs.rest().len();
        Ok(())
    }

    fn read(&mut self) -> Option<Result<Record, BatchError>> {
        let block = &self.batch.block;
        let mut refs = RecordRefs::new(&block[self.taken..], self.base_time_ms, self.left);
        let record = match refs.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        self.taken = block.len() - refs.rest().len();
        self.left -= 1;
        let slice = |part: &[u8]| block.slice_ref(part);
        let headers = record
            .headers()
            .map(|header| {
                header.map(|(key, value)| Header {
                    key: key.to_owned(),
                    value: slice(value),
                })
            })
            .collect::<Result<Vec<_>, _>>();
        Some(headers.map(|headers| Record {
            timestamp_ms: Some(record.timestamp_ms),
            key: record.key.map(slice),
            value: record.value.map(slice),
            headers,
        }))
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.read();
        if matches!(record, Some(Err(_))) {
            self.left = 0;
        }
        record
    }
}
