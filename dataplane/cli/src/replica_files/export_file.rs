//! The file of an export.

use std::fs::{File, canonicalize};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportFileError {
    #[error("cannot create {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("{} must not be in the files of the replica", path.display())]
    Inside { path: PathBuf },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A new file.
pub(crate) struct ExportFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl ExportFile {
    /// Creates the file. Fails if it exists, or if it would be in `replica`, a canonical path.
    pub(crate) fn create(path: &Path, replica: &Path) -> Result<Self, ExportFileError> {
        let failed = |source| ExportFileError::Create {
            path: path.to_owned(),
            source,
        };
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let parent = canonicalize(parent.unwrap_or(Path::new("."))).map_err(failed)?;
        if parent.starts_with(replica) {
            return Err(ExportFileError::Inside {
                path: path.to_owned(),
            });
        }
        let file = File::create_new(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Writes bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ExportFileError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| self.failed(source))
    }

    /// Makes everything written durable: the files of the replica may be deleted next.
    pub(crate) fn finish(&mut self) -> Result<(), ExportFileError> {
        let flushed = self.file.flush();
        let synced = flushed.and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> ExportFileError {
        ExportFileError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_or_written_into_the_replica() {
        let dir = tempfile::tempdir().unwrap();
        let replica = dir.path().join("group-1");
        std::fs::create_dir(&replica).unwrap();
        let replica = canonicalize(replica).unwrap();
        let path = dir.path().join("out");
        let mut file = ExportFile::create(&path, &replica).unwrap();
        file.write(b"a").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a");
        let again = ExportFile::create(&path, &replica).err().unwrap();
        assert!(matches!(again, ExportFileError::Create { .. }), "{again}");
        for inside in [replica.join("out"), replica.join("../group-1/out")] {
            let refused = ExportFile::create(&inside, &replica).err().unwrap();
            assert!(matches!(refused, ExportFileError::Inside { .. }));
            assert!(!inside.exists());
        }
    }
}
