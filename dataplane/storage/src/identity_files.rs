//! The identity of a data directory: two files with the same bytes.
//!
//! A node without its identity is lost for its cluster: an id is never invented and never used
//! again, so the whole data directory would be worthless after one flipped byte in 48. Either file
//! replaces the other one. Version 0.2 knows only the first file and never changes it, so the
//! second one cannot be older: both are written once.

use std::path::{Path, PathBuf};

use crate::config::Identity;
use crate::error::StorageError;
use crate::files::Files;
use crate::format::{decode_identity, encode_identity, newer_identity};
use crate::layout::{identity_copy_path, identity_path};

/// The identity found in a data directory.
#[derive(Debug, Default)]
pub(crate) struct FoundIdentity {
    /// The identity; `None` if there is none yet.
    pub(crate) identity: Option<Identity>,
    /// The files without it, to be written.
    missing: Vec<PathBuf>,
    /// The file with other bytes than it was written with, if one has.
    pub(crate) damaged: Option<PathBuf>,
}

enum Contents {
    Missing,
    Damaged,
    Valid(Identity),
}

impl FoundIdentity {
    /// Reads both files. Changes nothing: the directory may be of a newer version. Fails if no file
    /// is valid and one is damaged, and if the files have different identities.
    pub(crate) fn read(files: &Files, data_dir: &Path) -> Result<Self, StorageError> {
        let mut found = Self::default();
        for path in paths(data_dir) {
            match read_file(files, &path)? {
                Contents::Valid(identity) => match found.identity {
                    Some(first) if first != identity => {
                        return Err(StorageError::IdentitiesDiffer { path });
                    }
                    _ => found.identity = Some(identity),
                },
                Contents::Missing => found.missing.push(path),
                Contents::Damaged => {
                    found.missing.push(path.clone());
                    found.damaged.get_or_insert(path);
                }
            }
        }
        match (found.identity, &found.damaged) {
            (None, Some(path)) => Err(StorageError::IdentityDamaged { path: path.clone() }),
            _ => Ok(found),
        }
    }

    /// Writes the files that are missing or damaged, durably.
    pub(crate) fn complete(&self, files: &Files) -> Result<(), StorageError> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let bytes = encode_identity(identity);
        let mut missing = self.missing.iter();
        missing.try_for_each(|path| files.write_file(path, &bytes, true))
    }
}

/// Writes both files, durably: the file that version 0.2 reads first.
pub(crate) fn write_identity(
    files: &Files,
    data_dir: &Path,
    identity: &Identity,
) -> Result<(), StorageError> {
    let bytes = encode_identity(identity);
    let mut paths = paths(data_dir).into_iter();
    paths.try_for_each(|path| files.write_file(&path, &bytes, true))
}

fn paths(data_dir: &Path) -> [PathBuf; 2] {
    [identity_path(data_dir), identity_copy_path(data_dir)]
}

/// The contents of one file. A file that the disk cannot read is damaged.
fn read_file(files: &Files, path: &Path) -> Result<Contents, StorageError> {
    let bytes = match files.read_file(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Contents::Missing),
        Err(error) if error.damage().is_some() => return Ok(Contents::Damaged),
        Err(error) => return Err(error),
    };
    match newer_identity(&bytes) {
        Some(newer) => Err(newer.in_file(path, 0).into()),
        None => Ok(decode_identity(&bytes).map_or(Contents::Damaged, Contents::Valid)),
    }
}
