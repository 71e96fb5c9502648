//! The search for files of a newer version, before recovery changes anything.

use super::directory::{GroupDirectory, RecoveryError, read_replaceable};
use crate::format::{CHECKPOINT, INDEX, RecordFormat, SEGMENT, SEGMENT_HEADER_BYTES};
use crate::layout::RESET_SUFFIX;

/// Length of the head that all records with a magic of 8 bytes have in every version, bytes.
const HEAD_BYTES: u64 = 16;

/// Fails if a newer version wrote the header of a segment, an index or a checkpoint. The hard state
/// and the entries are checked where they are read.
// An index file is refused like the others, though it could be rebuilt. Without its index, each
// start would scan the whole segment, and each read would begin at its start: a node would be slow
// for a reason that nobody sees. And an index of a newer version proves that a newer program has
// used the directory after its level was finalized, so that there is no way back for this one.
pub(super) fn check(directory: &GroupDirectory<'_>) -> Result<(), RecoveryError> {
    let checkpoint_of_reset = format!(".ckpt{RESET_SUFFIX}");
    let kinds = [
        (".seg", &SEGMENT, SEGMENT_HEADER_BYTES),
        (".idx", &INDEX, u64::MAX),
        (".ckpt", &CHECKPOINT, u64::MAX),
        (&checkpoint_of_reset, &CHECKPOINT, u64::MAX),
    ];
    for name in &directory.names {
        let kind = kinds.iter().find(|(suffix, ..)| name.ends_with(suffix));
        if let Some((_, format, max_bytes)) = kind {
            check_file(directory, name, format, *max_bytes)?;
        }
    }
    Ok(())
}

/// Checks the record of at most `max_bytes` at the start of a file.
fn check_file(
    directory: &GroupDirectory<'_>,
    name: &str,
    format: &RecordFormat,
    max_bytes: u64,
) -> Result<(), RecoveryError> {
    let path = directory.dir.join(name);
    // A file that cannot be read says nothing of its version: it is damage where it is needed.
    let read = |max_bytes| read_replaceable(directory, &path, max_bytes);
    // The head alone first: the whole of every index and checkpoint would be much to read.
    if format.unknown_value(&read(HEAD_BYTES)?).is_none() {
        return Ok(());
    }
    match format.newer(&read(max_bytes)?) {
        Some(newer) => Err(RecoveryError::Newer(newer.in_file(&path, 0))),
        None => Ok(()), // the CRC does not match: damage, not a newer version
    }
}
