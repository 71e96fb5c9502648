//! The group and cluster to which the files of a directory belong.

use std::path::Path;

use lograft_core::{GroupId, LogIndex, NodeId};

use super::pieces::readable;
use super::segment::{RawHeader, read_header};
use crate::error::StorageError;
use crate::files::Files;
use crate::format::decode_identity;
use crate::hard_file::{FileOwner, HardFile};
use crate::layout::{
    identity_copy_path, identity_path, parse_corrupt_copy_name, parse_group_name, segment_path,
};

/// More than an identity file has, bytes.
const PAGE_BYTES: u64 = 4096;

/// The owner of the files, as the first intact segment header says, or else a record of the hard
/// state; `None` if no file is one of a group.
pub(super) fn find_owner(
    files: &Files,
    dir: &Path,
    bases: &[LogIndex],
) -> Result<Option<FileOwner>, StorageError> {
    for base in bases {
        if let Some(header) = read_header(files, dir, *base)? {
            let (cluster, group) = (header.cluster_id, header.group);
            return Ok(Some(FileOwner { cluster, group }));
        }
    }
    for group in group_candidates(files, dir, bases)? {
        if let Some(cluster) = HardFile::cluster_of(files, dir, group)? {
            return Ok(Some(FileOwner { cluster, group }));
        }
    }
    Ok(None)
}

/// The node of the data directory in which this is the directory of a group. An identity that
/// cannot be read names none: it is for people alone.
pub(super) fn live_node(files: &Files, dir: &Path) -> Option<NodeId> {
    parse_group_name(dir.file_name()?.to_str()?)?;
    let data_dir = dir.parent()?.parent()?;
    let paths = [identity_path(data_dir), identity_copy_path(data_dir)];
    let identity = paths.into_iter().find_map(|path| {
        let bytes = files.read_file_prefix(&path, PAGE_BYTES).ok().flatten()?;
        decode_identity(&bytes)
    });
    identity.map(|identity| identity.node_id)
}

/// The groups that the name of the directory and damaged headers name.
fn group_candidates(
    files: &Files,
    dir: &Path,
    bases: &[LogIndex],
) -> Result<Vec<GroupId>, StorageError> {
    let name = dir.file_name().and_then(|name| name.to_str());
    let named = name.and_then(|name| {
        parse_group_name(name).or_else(|| parse_corrupt_copy_name(name).map(|(group, _)| group))
    });
    let mut candidates: Vec<GroupId> = named.into_iter().collect();
    for base in bases {
        let path = segment_path(dir, *base);
        let bytes = readable(files.read_file_prefix(&path, RawHeader::LEN_BYTES))?;
        candidates.extend(bytes.and_then(|bytes| RawHeader::group(&bytes)));
    }
    Ok(candidates)
}
