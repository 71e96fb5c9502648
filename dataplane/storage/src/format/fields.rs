//! Reading and writing of numbers at fixed positions of a record, and the head that the records
//! with a magic of 8 bytes share.

use std::path::Path;

use crate::error::NewerFormat;

/// The format of a kind of record that starts with a magic of 8 bytes.
pub(crate) struct RecordFormat {
    pub(crate) magic: u64,
    /// The newest version that this program reads, and the one that it writes.
    pub(crate) version: u8,
    /// The flags of that version; the other bits of bytes 9..12 are 0.
    pub(crate) flags: u8,
    /// The names of both for people.
    pub(crate) names: RecordFields,
}

/// The names of the version and the flags of a kind of record.
pub(crate) struct RecordFields {
    pub(crate) version: &'static str,
    pub(crate) flags: &'static str,
}

/// A value in a record with a valid CRC that is beyond those of this version: a newer program wrote
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewerValue {
    pub(crate) field: &'static str,
    pub(crate) found: u64,
    /// The greatest value that this version knows.
    pub(crate) known: u64,
}

impl NewerValue {
    /// The error for a record at this position of a file, bytes.
    pub(crate) fn in_file(self, path: &Path, position: u64) -> NewerFormat {
        let Self {
            field,
            found,
            known,
        } = self;
        NewerFormat {
            path: path.to_owned(),
            position,
            field,
            found,
            known,
        }
    }
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    // Callers have checked the length; bytes past the end read as zeros.
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(chunk(bytes, at))
}

pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(chunk(bytes, at))
}

pub(crate) fn get_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(chunk(bytes, at))
}

pub(crate) fn get_16(bytes: &[u8], at: usize) -> [u8; 16] {
    chunk(bytes, at)
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// CRC-32C of a record; bytes 12..16, which hold the CRC itself, are left out.
pub(crate) fn record_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// The 24 flag bits at a position.
pub(crate) fn get_flags(bytes: &[u8], at: usize) -> u32 {
    let [low, middle, high] = chunk(bytes, at);
    u32::from_le_bytes([low, middle, high, 0])
}

impl RecordFormat {
    /// Writes magic and version, and `flags` of this version.
    pub(crate) fn put_head(&self, bytes: &mut [u8], flags: u8) {
        put(bytes, 0, &self.magic.to_le_bytes());
        bytes[8] = self.version;
        bytes[9] = flags;
    }

    /// Whether a record has this magic number, a version and flags that this program knows, and a
    /// valid CRC.
    pub(crate) fn is_valid(&self, bytes: &[u8]) -> bool {
        self.has_crc(bytes) && bytes[8] > 0 && self.unknown_value(bytes).is_none()
    }

    /// The value by which a record with a valid CRC is of a newer version.
    // Such a record is exactly as it was written, so it is no damage. Were it handled as damage, a
    // program that is started after a newer one would cut off or set aside entries that it only
    // cannot read.
    pub(crate) fn newer(&self, bytes: &[u8]) -> Option<NewerValue> {
        self.unknown_value(bytes).filter(|_| self.has_crc(bytes))
    }

    /// The version or the flags of a record, if this program does not know them; without a check of
    /// the CRC, from the first 16 bytes.
    pub(crate) fn unknown_value(&self, bytes: &[u8]) -> Option<NewerValue> {
        let head = bytes
            .get(..16)
            .filter(|head| get_u64(head, 0) == self.magic)?;
        let (version, flags) = (head[8], get_flags(head, 9));
        if version > self.version {
            return Some(NewerValue {
                field: self.names.version,
                found: version.into(),
                known: self.version.into(),
            });
        }
        (flags & !u32::from(self.flags) != 0).then(|| NewerValue {
            field: self.names.flags,
            found: flags.into(),
            known: self.flags.into(),
        })
    }

    fn has_crc(&self, bytes: &[u8]) -> bool {
        bytes.len() >= 16
            && get_u64(bytes, 0) == self.magic
            && get_u32(bytes, 12) == record_crc(bytes)
    }
}
