//! A compressed tar archive with one directory.

use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::clock;
use crate::error::{CliError, CommandError};
use crate::output::OutputError;

/// The archive cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct ArchiveError {
    path: PathBuf,
    source: io::Error,
}

impl CommandError for ArchiveError {}

/// An archive under a temporary name, which [`Archive::finish`] gives its own.
pub(crate) struct Archive {
    path: PathBuf,
    directory: String,
    tar: tar::Builder<GzEncoder<NamedTempFile>>,
    created_s: u64,
    files: Vec<String>,
}

impl Archive {
    /// An empty archive at `path`, whose files are in `directory`.
    pub(crate) fn create(path: &Path, directory: &str) -> Result<Self, ArchiveError> {
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let file = NamedTempFile::new_in(parent.unwrap_or(Path::new(".")));
        let file = file.map_err(|source| ArchiveError {
            path: path.into(),
            source,
        })?;
        Ok(Self {
            path: path.into(),
            directory: directory.to_owned(),
            tar: tar::Builder::new(GzEncoder::new(file, Compression::default())),
            created_s: u64::try_from(clock::now_s()).unwrap_or(0),
            files: Vec::new(),
        })
    }

    /// Names of the files added so far.
    pub(crate) fn files(&self) -> &[String] {
        &self.files
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.created_s);
        let name_in_tar = format!("{}/{name}", self.directory);
        let added = self.tar.append_data(&mut header, name_in_tar, content);
        added.map_err(|source| ArchiveError {
            path: self.path.clone(),
            source,
        })?;
        self.files.push(name.to_owned());
        Ok(())
    }

    /// Adds a value as indented JSON.
    pub(crate) fn add_json(&mut self, name: &str, value: &impl Serialize) -> Result<(), CliError> {
        let text =
            serde_json::to_vec_pretty(value).map_err(|source| OutputError::Encode { source })?;
        Ok(self.add(name, &text)?)
    }

    /// Completes the archive. Without this call no file is left.
    pub(crate) fn finish(self) -> Result<(), ArchiveError> {
        let path = self.path;
        let persist = |file: NamedTempFile| file.persist(&path).map_err(|error| error.error);
        let finished = self.tar.into_inner().and_then(GzEncoder::finish);
        match finished.and_then(persist) {
            Ok(_file) => Ok(()),
            Err(source) => Err(ArchiveError { path, source }),
        }
    }
}
