//! A record: what a producer sends and a consumer gets.

use bytes::Bytes;

/// One record. `key`, `value` and the headers' values are slices of the batch they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When it was made, milliseconds since the Unix epoch; the producer's clock.
    pub timestamp_ms: i64,
    /// What decides its partition; none is not the same as empty.
    pub key: Option<Bytes>,
    /// What it says; none is not the same as empty.
    pub value: Option<Bytes>,
    /// Further named values, in the producer's order; names may repeat.
    pub headers: Vec<Header>,
}

/// A named value of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Bytes,
}

impl Record {
    /// Key, value and headers together, bytes: what `RECORD_MAX_BYTES` bounds.
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
}

/// A record as it stands in a decoded batch, borrowed: nothing is copied or counted.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// When it was made, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// How many headers it has.
    pub header_count: usize,
    /// The headers' encoded bytes: checked, to be read by [`RecordRef::headers`].
    pub(crate) headers: &'a [u8],
}
