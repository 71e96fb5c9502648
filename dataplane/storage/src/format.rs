//! Encoding and decoding of every file; the byte layout is in the comment of each type. All
//! numbers are little-endian. Every record has a magic number and a CRC-32C, and each kind but the
//! entries a version of its own. The rules for writing, recovery and versions are in
//! `dataplane/docs/format.md`.

mod checkpoint_file;
mod entry_header;
mod fields;
#[cfg(test)]
mod fixture_tests;
mod hard_record;
mod identity_file;
mod index_file;
mod segment_header;
#[cfg(test)]
mod tests;

pub(crate) use checkpoint_file::{CHECKPOINT, decode_checkpoint, encode_checkpoint};
pub(crate) use entry_header::{
    ENTRY_HEADER_BYTES, ENTRY_MAGIC, EntryHeader, entry_seed, entry_size_bytes,
};
pub(crate) use fields::{NewerValue, RecordFormat};
pub(crate) use hard_record::{HARD_RECORD_BYTES, HARD_SLOT_POSITIONS, HardRecord};
pub(crate) use identity_file::{decode_identity, encode_identity, newer_identity};
pub(crate) use index_file::{INDEX, IndexFile, IndexHead, IndexPoint};
pub(crate) use segment_header::{SEGMENT, SEGMENT_HEADER_BYTES, SegmentFacts, SegmentHeader};
