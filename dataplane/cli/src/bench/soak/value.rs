//! Record values of a soak run: the id of the run, the number of the record, and padding.

/// Length of the run id and the record number.
pub(super) const HEADER_BYTES: usize = 16;

/// Writes the run id and the record number to the start of a value, which must have at least
/// [`HEADER_BYTES`].
pub(super) fn write_value(value: &mut [u8], run: u64, number: u64) {
    value[..8].copy_from_slice(&run.to_le_bytes());
    value[8..HEADER_BYTES].copy_from_slice(&number.to_le_bytes());
}

/// Run id and record number of a value, or `None` if the value is too short.
pub(super) fn parse_value(value: &[u8]) -> Option<(u64, u64)> {
    let (run, rest) = value.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    Some((u64::from_le_bytes(*run), u64::from_le_bytes(*number)))
}
