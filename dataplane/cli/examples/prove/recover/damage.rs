//! Damage to the files of a group, on the disk of a node that is stopped.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const HEADER_BYTES: u64 = 96;
const ENTRY_MAGIC: &[u8] = b"lgE1";

/// The files of a group on the disk of a node.
pub(super) fn group_dir(data_dir: &Path, group: u64) -> PathBuf {
    data_dir.join("groups").join(format!("group-{group}"))
}

/// The corrupt copy of a group that the node has set aside, if there is one.
pub(super) fn corrupt_copy(data_dir: &Path, group: u64) -> Result<Option<PathBuf>> {
    let prefix = format!("group-{group}.corrupt-");
    for item in fs::read_dir(data_dir.join("groups"))? {
        let item = item?;
        if item.file_name().to_string_lossy().starts_with(&prefix) {
            return Ok(Some(item.path()));
        }
    }
    Ok(None)
}

/// The segments of a group, oldest first.
pub(super) fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = item?.path();
        if path.extension().is_some_and(|suffix| suffix == "seg") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Flips a bit of a byte in the middle of the header of a segment: its node cannot open the log.
pub(super) fn flip_header(segment: &Path) -> Result<()> {
    flip(segment, HEADER_BYTES / 2)
}

/// Flips a bit in the payload of an entry in the middle of the entries of a segment.
pub(super) fn flip_entry(segment: &Path) -> Result<()> {
    let bytes = fs::read(segment)?;
    let mut entries: Vec<usize> = Vec::new();
    for at in (96..bytes.len().saturating_sub(4)).step_by(8) {
        if bytes[at..].starts_with(ENTRY_MAGIC) {
            entries.push(at);
        }
    }
    let shown = segment.display();
    ensure!(entries.len() > 2, "{shown} has {} entries", entries.len());
    let entry = u64::try_from(entries[entries.len() / 2])?;
    flip(segment, entry + HEADER_BYTES + 32)
}

fn flip(path: &Path, position: u64) -> Result<()> {
    let shown = path.display();
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(|| format!("cannot open {shown}"))?;
    let mut byte = [0];
    ensure!(file.read_at(&mut byte, position)? == 1, "{shown} is short");
    file.write_all_at(&[byte[0] ^ 0x10], position)?;
    file.sync_all()?;
    Ok(())
}
