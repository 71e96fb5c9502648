//! The number of this node's incarnation, in `incarnation` in its data directory.
//!
//! A file that was lost or damaged starts again at 1: the other nodes have seen more, so the disk
//! counts as an older one.

use std::path::Path;

use lograft_storage::{Fs, is_no_space};
use tracing::warn;

use super::checksum;
use crate::small_file::{self, FileError};

const FILE: &str = "incarnation";
/// More than any valid content: a number, a space, a checksum in hexadecimal, a line end.
const READ_BYTES: u64 = 64;

/// Raises the number above that of the file and above `floor`, durably, and returns it. Never the
/// same number twice, as long as the file is there: it is on the disk before anybody hears of it.
pub(super) fn raise(fs: &dyn Fs, dir: &Path, floor: u64) -> Result<u64, FileError> {
    let path = dir.join(FILE);
    let next = read(fs, &path)?.max(floor).saturating_add(1);
    small_file::replace(fs, &path, content(next).as_bytes())?;
    Ok(next)
}

/// Raises the number, in memory alone if the disk is full.
pub(super) fn raise_at_start(fs: &dyn Fs, dir: &Path) -> Result<u64, FileError> {
    match raise(fs, dir, 0) {
        Err(FileError { path, source }) if is_no_space(&source) => {
            warn!(error = %source, path = %path.display(), "cannot store the incarnation");
            Ok(read(fs, &path)?.saturating_add(1))
        }
        raised => raised,
    }
}

fn content(number: u64) -> String {
    let digits = number.to_string();
    format!("{digits} {}\n", checksum(&digits))
}

fn read(fs: &dyn Fs, path: &Path) -> Result<u64, FileError> {
    let Some(bytes) = small_file::read(fs, path, READ_BYTES)? else {
        return Ok(0);
    };
    let text = String::from_utf8_lossy(&bytes);
    let number = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    let valid = number.filter(|number| content(*number) == text);
    if valid.is_none() {
        warn!(path = %path.display(), "incarnation file was damaged, counting from 1 again");
    }
    Ok(valid.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    #[test]
    fn each_start_raises_it_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        for expected in 1..=12 {
            assert_eq!(raise(&RealFs, dir.path(), 0).unwrap(), expected);
        }
        assert_eq!(raise(&RealFs, dir.path(), 100).unwrap(), 101);
        assert_eq!(raise(&RealFs, dir.path(), 5).unwrap(), 102);
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(raise(&RealFs, dir.path(), 0).unwrap(), 1, "byte {at}");
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(raise(&RealFs, dir.path(), 0).unwrap(), 1);
    }
}
