//! Encoding of record batches.

use bytes::Bytes;

use super::{BatchError, DECODED_FIELD, HEADER_BYTES, RECORD_FIELD, VERSION};
use crate::compression::{Compression, compress_onto};
use crate::limits::{
    BATCH_DECODED_MAX_BYTES, BATCH_MAX_BYTES, BATCH_RECORDS_MAX_COUNT, RECORD_HEADERS_MAX_COUNT,
    RECORD_MAX_BYTES,
};
use crate::record::{self, Record};
use crate::varint::{self, zigzag};

/// A finished batch and the values that are sent beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBatch {
    /// The encoded batch.
    pub bytes: Bytes,
    /// CRC-32C of `bytes`.
    pub crc32c: u32,
    /// The number of records.
    pub record_count: u32,
    /// The greatest record timestamp, milliseconds since the Unix epoch.
    pub max_time_ms: i64,
}

/// Encodes records into a batch, with one copy and no allocation per record.
///
/// The uncompressed batch stays within `BATCH_MAX_BYTES`, so a finished batch is within all limits
/// whether it compresses or not.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    /// Space for the header, followed by the records block.
    buffer: Vec<u8>,
    record_count: u32,
    /// Memory that the records take when they are decoded, bytes.
    decoded_bytes: usize,
    base_time_ms: i64,
    max_time_ms: i64,
}

/// The memory that the largest record takes when it is decoded, bytes.
const LARGEST_RECORD_BYTES: usize =
    record::decoded_bytes(RECORD_MAX_BYTES, RECORD_HEADERS_MAX_COUNT);

impl BatchBuilder {
    /// An empty batch.
    pub fn new(compression: Compression) -> Self {
        Self::with_capacity(compression, 0)
    }

    /// An empty batch with a capacity of `capacity_bytes` of encoded records.
    pub fn with_capacity(compression: Compression, capacity_bytes: usize) -> Self {
        let mut buffer = Vec::new();
        if capacity_bytes > 0 {
            buffer.reserve_exact(HEADER_BYTES + capacity_bytes.min(BATCH_MAX_BYTES));
        }
        Self {
            compression,
            buffer,
            record_count: 0,
            decoded_bytes: 0,
            base_time_ms: 0,
            max_time_ms: 0,
        }
    }

    /// Adds a record; one without a timestamp gets `now_ms`. Fails without changing the batch if a
    /// limit would be exceeded.
    pub fn push(&mut self, record: &Record, now_ms: i64) -> Result<(), BatchError> {
        let headers = record
            .headers
            .iter()
            .map(|h| (h.key.as_str(), h.value.as_ref()));
        self.push_parts(
            record.timestamp_ms.unwrap_or(now_ms),
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
        )
    }

    /// Adds a record from its parts. Fails without changing the batch if a limit would be exceeded.
    pub fn push_parts<'a, H>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<(), BatchError>
    where
        H: IntoIterator<Item = (&'a str, &'a [u8])>,
        H::IntoIter: ExactSizeIterator,
    {
        let headers = headers.into_iter();
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        BatchError::check(RECORD_FIELD, size, RECORD_MAX_BYTES)?;
        BatchError::check("record headers", headers.len(), RECORD_HEADERS_MAX_COUNT)?;
        if self.record_count >= BATCH_RECORDS_MAX_COUNT {
            let bound = BATCH_RECORDS_MAX_COUNT as usize;
            return Err(BatchError::TooLarge {
                field: "batch records",
                found: bound + 1,
                bound,
            });
        }
        if self.record_count == 0 {
            self.buffer.resize(HEADER_BYTES, 0);
            self.base_time_ms = timestamp_ms;
            self.max_time_ms = timestamp_ms;
        }
        let start = self.buffer.len();
        self.append(timestamp_ms, key, value);
        match self.append_headers(headers, size) {
            Ok(decoded_bytes) => self.decoded_bytes = decoded_bytes,
            Err(error) => {
                self.buffer.truncate(start);
                return Err(error);
            }
        }
        self.record_count += 1;
        self.max_time_ms = self.max_time_ms.max(timestamp_ms);
        Ok(())
    }

    #[inline]
    fn append(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        // The numbers are collected in an array, so that the buffer checks its capacity once.
        let mut head = [0; 3 * varint::MAX_BYTES];
        let delta = zigzag(timestamp_ms.wrapping_sub(self.base_time_ms));
        let mut end = varint::write(&mut head, 0, delta);
        end = varint::write(&mut head, end, length_code(key));
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            self.buffer.extend_from_slice(&head[..end]);
            self.buffer.extend_from_slice(key);
            end = 0;
        }
        end = varint::write(&mut head, end, length_code(value));
        self.buffer.extend_from_slice(&head[..end]);
        self.buffer.extend_from_slice(value.unwrap_or_default());
    }

    /// Appends the headers of a record whose key and value have `size` bytes, and checks the batch
    /// with it. Returns the memory that all records take then.
    fn append_headers<'a>(
        &mut self,
        headers: impl ExactSizeIterator<Item = (&'a str, &'a [u8])>,
        mut size: usize,
    ) -> Result<usize, BatchError> {
        let header_count = headers.len();
        varint::put(&mut self.buffer, header_count as u64);
        for (key, value) in headers {
            size += key.len() + value.len();
            BatchError::check(RECORD_FIELD, size, RECORD_MAX_BYTES)?;
            varint::put(&mut self.buffer, key.len() as u64);
            self.buffer.extend_from_slice(key.as_bytes());
            varint::put(&mut self.buffer, value.len() as u64);
            self.buffer.extend_from_slice(value);
        }
        BatchError::check("batch bytes", self.buffer.len(), BATCH_MAX_BYTES)?;
        let decoded_bytes = self.decoded_bytes + record::decoded_bytes(size, header_count);
        BatchError::check(DECODED_FIELD, decoded_bytes, BATCH_DECODED_MAX_BYTES)?;
        Ok(decoded_bytes)
    }

    /// The length of the batch if it were finished now and did not compress, in bytes.
    pub fn encoded_len(&self) -> usize {
        self.buffer.len().max(HEADER_BYTES)
    }

    /// The number of records.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether the batch has no records.
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Whether the batch has reached `max_bytes` or the maximum number of records, or may have no
    /// memory left for the next record when it is decoded.
    pub fn is_full(&self, max_bytes: usize) -> bool {
        self.encoded_len() >= max_bytes
            || self.record_count >= BATCH_RECORDS_MAX_COUNT
            || self.decoded_bytes > BATCH_DECODED_MAX_BYTES - LARGEST_RECORD_BYTES
    }

    /// Compresses the batch and computes its checksum. Fails only if the batch is empty.
    pub fn finish(self) -> Result<EncodedBatch, BatchError> {
        let Self {
            compression,
            buffer,
            record_count,
            decoded_bytes: _,
            base_time_ms,
            max_time_ms,
        } = self;
        if record_count == 0 {
            return Err(BatchError::Empty);
        }
        let block_len = buffer.len() - HEADER_BYTES;
        let (stored, mut bytes) = compressed(compression, buffer);
        let block_len = u32::try_from(block_len).unwrap_or(u32::MAX);
        bytes[0] = VERSION;
        bytes[1] = stored.code();
        bytes[4..8].copy_from_slice(&record_count.to_le_bytes());
        bytes[8..16].copy_from_slice(&base_time_ms.to_le_bytes());
        bytes[16..24].copy_from_slice(&max_time_ms.to_le_bytes());
        bytes[24..28].copy_from_slice(&block_len.to_le_bytes());
        let crc32c = crc32c::crc32c(&bytes);
        Ok(EncodedBatch {
            bytes: Bytes::from(bytes),
            crc32c,
            record_count,
            max_time_ms,
        })
    }
}

/// The length plus one; 0 if there is no part.
fn length_code(part: Option<&[u8]>) -> u64 {
    part.map_or(0, |part| part.len() as u64 + 1)
}

/// The buffer with its records block compressed, or unchanged if that saves nothing.
fn compressed(compression: Compression, buffer: Vec<u8>) -> (Compression, Vec<u8>) {
    if compression == Compression::None {
        return (Compression::None, buffer);
    }
    let mut packed = vec![0; HEADER_BYTES];
    if compress_onto(compression, &buffer[HEADER_BYTES..], &mut packed) {
        // The output buffer was allocated for the worst case: release the rest.
        packed.shrink_to_fit();
        (compression, packed)
    } else {
        (Compression::None, buffer)
    }
}
