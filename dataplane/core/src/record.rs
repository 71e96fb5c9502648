//! Records, as producers send and consumers receive them.

use bytes::Bytes;

use crate::limits::{HEADER_DECODED_BYTES, RECORD_DECODED_BYTES};

/// The memory that a decoded record takes, bytes: `payload_len` is the size of its key, value and
/// headers.
pub const fn decoded_bytes(payload_len: usize, header_count: usize) -> usize {
    RECORD_DECODED_BYTES + header_count * HEADER_DECODED_BYTES + payload_len
}

/// A record. In a decoded record, `key`, `value` and the values of the headers are slices of the
/// batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The producer's timestamp, milliseconds since the Unix epoch; `None` to send the record
    /// without one. A decoded record has one.
    pub timestamp_ms: Option<i64>,
    /// The key, which decides the partition. No key and an empty key are different.
    pub key: Option<Bytes>,
    /// The value. No value and an empty value are different.
    pub value: Option<Bytes>,
    /// The headers, in the producer's order. Names may repeat.
    pub headers: Vec<Header>,
}

/// A header of a record: a named value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The name of the header.
    pub key: String,
    /// The value of the header.
    pub value: Bytes,
}

impl Record {
    /// The size of key, value and headers together, in bytes, which `RECORD_MAX_BYTES` bounds.
    pub fn payload_len(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|h| h.key.len() + h.value.len())
            .sum();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }

    /// The memory that the record takes, in bytes.
    pub fn decoded_bytes(&self) -> usize {
        decoded_bytes(self.payload_len(), self.headers.len())
    }
}

/// A record that borrows from a decoded batch, without copies or reference counts.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// The producer's timestamp, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The number of headers.
    pub(crate) header_count: usize,
    /// The encoded headers, already checked; [`RecordRef::headers`] decodes them.
    pub(crate) headers: &'a [u8],
}
