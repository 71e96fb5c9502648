//! The newest incarnations of the other nodes, in `incarnations_seen` in the data directory, so
//! that a restart of all nodes at once does not forget them.
//!
//! One line for each node: its id, the number, the session; then a line with the CRC-32C of the
//! lines before it. A damaged file counts as none: this node's knowledge protects the others,
//! and they say their incarnations again.

use std::path::Path;

use lograft_core::limits::NODES_MAX_COUNT;
use lograft_core::{Incarnation, NodeId, SeenIncarnations};
use lograft_storage::Fs;
use tracing::warn;

use super::{with_checksum, without_checksum};
use crate::small_file::{self, FileError};

const FILE: &str = "incarnations_seen";
/// More than a line for each node: three numbers of 20 digits.
const READ_BYTES: u64 = 64 * (NODES_MAX_COUNT as u64 + 1);

pub(super) fn write(fs: &dyn Fs, dir: &Path, seen: &SeenIncarnations) -> Result<(), FileError> {
    let lines = seen.iter().map(|(node, incarnation)| {
        let Incarnation { number, session } = incarnation;
        format!("{} {number} {session}\n", node.get())
    });
    let text = with_checksum(&lines.collect::<String>());
    small_file::replace(fs, &dir.join(FILE), text.as_bytes())
}

pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<SeenIncarnations, FileError> {
    let path = dir.join(FILE);
    let Some(bytes) = small_file::read(fs, &path, READ_BYTES)? else {
        return Ok(SeenIncarnations::default());
    };
    let text = without_checksum(&bytes);
    let seen = text.and_then(|text| text.lines().map(parse).collect());
    if seen.is_none() {
        warn!(path = %path.display(), "file of seen incarnations was damaged, ignored");
    }
    Ok(seen.unwrap_or_default())
}

fn parse(line: &str) -> Option<(NodeId, Incarnation)> {
    let numbers: Option<Vec<u64>> = line.split(' ').map(|part| part.parse().ok()).collect();
    match numbers?.as_slice() {
        &[node, number, session] => Some((NodeId(node), Incarnation { number, session })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    #[test]
    fn what_was_seen_is_read_again_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&RealFs, dir.path()).unwrap().is_empty());
        let seen: SeenIncarnations = (1..4)
            .map(|node| {
                let session = u64::MAX - node;
                (
                    NodeId(node),
                    Incarnation {
                        number: node * 7,
                        session,
                    },
                )
            })
            .collect();
        write(&RealFs, dir.path(), &seen).unwrap();
        assert_eq!(read(&RealFs, dir.path()).unwrap(), seen);
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(read(&RealFs, dir.path()).unwrap().is_empty());
    }
}
