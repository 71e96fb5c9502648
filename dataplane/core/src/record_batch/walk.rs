//! Decoding of records from a decompressed block, without copies.

use super::BatchError;
use crate::record::RecordRef;
use crate::varint::{self, unzigzag};

/// An iterator over the records of a block, borrowed from it.
#[derive(Clone, Debug)]
pub struct RecordRefs<'a> {
    rest: &'a [u8],
    base_time_ms: i64,
    left: u32,
}

impl<'a> RecordRefs<'a> {
    pub(super) const fn new(block: &'a [u8], base_time_ms: i64, record_count: u32) -> Self {
        Self {
            rest: block,
            base_time_ms,
            left: record_count,
        }
    }

    /// The bytes that were not decoded yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn read(&mut self) -> Result<RecordRef<'a>, BatchError> {
        let rest = &mut self.rest;
        let delta = unzigzag(number(rest, "record timestamp")?);
        let key = optional(rest, "record key")?;
        let value = optional(rest, "record value")?;
        let header_count = number(rest, "header count")?;
        let before = *rest;
        // A header takes at least two bytes, so the length of the block bounds the loop.
        if header_count > before.len() as u64 {
            return Err(BatchError::Truncated { field: "headers" });
        }
        for _ in 0..header_count {
            part(rest, "header name")?;
            part(rest, "header value")?;
        }
        Ok(RecordRef {
            timestamp_ms: self.base_time_ms.wrapping_add(delta),
            key,
            value,
            header_count: usize::try_from(header_count).unwrap_or(usize::MAX),
            headers: &before[..before.len() - rest.len()],
        })
    }
}

impl<'a> Iterator for RecordRefs<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = self.read();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.left).ok())
    }
}

impl<'a> RecordRef<'a> {
    /// The headers.
    pub const fn headers(&self) -> HeaderRefs<'a> {
        HeaderRefs { rest: self.headers }
    }

    /// The size of key, value and headers together, in bytes, which `RECORD_MAX_BYTES` bounds.
    /// Fails if the name of a header is not UTF-8.
    pub fn payload_len(&self) -> Result<usize, BatchError> {
        let mut len = self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len);
        for header in self.headers() {
            let (key, value) = header?;
            len += key.len() + value.len();
        }
        Ok(len)
    }
}

/// An iterator over the headers of a record, borrowed from its block.
#[derive(Clone, Debug)]
pub struct HeaderRefs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeaderRefs<'a> {
    type Item = Result<(&'a str, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let header = read_header(&mut self.rest);
        if header.is_err() {
            self.rest = &[];
        }
        Some(header)
    }
}

fn read_header<'a>(rest: &mut &'a [u8]) -> Result<(&'a str, &'a [u8]), BatchError> {
    let key = part(rest, "header name")?;
    let value = part(rest, "header value")?;
    Ok((
        std::str::from_utf8(key).map_err(|_| BatchError::HeaderKey)?,
        value,
    ))
}

#[inline]
fn number(rest: &mut &[u8], field: &'static str) -> Result<u64, BatchError> {
    varint::take(rest).ok_or(BatchError::Varint { field })
}

/// Decodes a length and that many bytes.
#[inline]
fn part<'a>(rest: &mut &'a [u8], field: &'static str) -> Result<&'a [u8], BatchError> {
    let len = number(rest, field)?;
    take(rest, len, field)
}

/// Decodes a length plus one and that many bytes; 0 means no bytes.
#[inline]
fn optional<'a>(rest: &mut &'a [u8], field: &'static str) -> Result<Option<&'a [u8]>, BatchError> {
    match number(rest, field)?.checked_sub(1) {
        None => Ok(None),
        Some(len) => take(rest, len, field).map(Some),
    }
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], len: u64, field: &'static str) -> Result<&'a [u8], BatchError> {
    let split = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len));
    let (taken, left) = split.ok_or(BatchError::Truncated { field })?;
    *rest = left;
    Ok(taken)
}
