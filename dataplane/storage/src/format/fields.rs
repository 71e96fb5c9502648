//! Reading and writing of numbers at fixed positions of a record.

/// Version byte of every record that this release writes.
pub(crate) const VERSION: u8 = 1;

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

/// The version of a record with a valid CRC that another release wrote; else `None`.
pub(crate) fn other_version(bytes: &[u8], magic: u64) -> Option<u8> {
    let is_valid =
        bytes.len() >= 16 && get_u64(bytes, 0) == magic && get_u32(bytes, 12) == record_crc(bytes);
    Some(bytes[8]).filter(|version| is_valid && *version != VERSION)
}

/// Whether a record has this magic number, our version and a valid CRC.
pub(crate) fn record_is_valid(bytes: &[u8], magic: u64) -> bool {
    bytes.len() >= 16
        && get_u64(bytes, 0) == magic
        && bytes[8] == VERSION
        && get_u32(bytes, 12) == record_crc(bytes)
}
