//! The bytes of every file.

/// Length of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 96;
/// Length of an entry's header.
pub(crate) const ENTRY_HEADER_BYTES: u64 = 96;

/// What an entry with so many payload bytes takes in its segment, bytes.
pub(crate) const fn entry_size_bytes(payload_bytes: usize) -> u64 {
    (ENTRY_HEADER_BYTES + payload_bytes as u64).next_multiple_of(8)
}
