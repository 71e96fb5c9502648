//! Small files of a node that are read and replaced as a whole.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use lograft_storage::{Fs, OpenMode, is_unreadable};

/// Error of reading or replacing a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or write {path}")]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The error of the system.
    #[source]
    pub source: io::Error,
}

impl FileError {
    fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self { path, source }
    }
}

/// A file and its copy, which have the same bytes, so that one flipped byte costs nothing.
#[derive(Clone, Debug)]
pub(crate) struct FilePair {
    pub(crate) file: PathBuf,
    pub(crate) copy: PathBuf,
}

impl FilePair {
    /// The bytes of the file and those of the copy, each as [`read`] gives them.
    pub(crate) fn read(&self, fs: &dyn Fs) -> Result<[Option<Vec<u8>>; 2], FileError> {
        let read = |path| read(fs, path, u64::MAX);
        Ok([read(&self.file)?, read(&self.copy)?])
    }

    /// Replaces both durably, the copy first: a crash in between leaves the former bytes in the
    /// file, which counts while it is valid.
    pub(crate) fn replace(&self, fs: &dyn Fs, bytes: &[u8]) -> Result<(), FileError> {
        replace(fs, &self.copy, bytes)?;
        replace(fs, &self.file, bytes)
    }
}

/// The first bytes of a file, at most `max_bytes`; none of them if the disk cannot read it, and
/// `None` if it does not exist.
pub(crate) fn read(fs: &dyn Fs, path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        let file = fs.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?.min(max_bytes)).unwrap_or(usize::MAX);
        file.read_at(0, len)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_unreadable(&error) => Ok(Some(Vec::new())),
        Err(error) => Err(FileError::new(path, error)),
    }
}

/// Replaces a file durably. The bytes go to a new file that is synced and then renamed over the old
/// one, so that a crash leaves one of both, and never a part.
pub(crate) fn replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let replace = || {
        let file = fs.open(new, OpenMode::Create)?;
        file.write_vectored_at(&mut [IoSlice::new(bytes)], 0)?;
        file.sync_data()?;
        fs.rename(new, path)?;
        path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))
    };
    replace().map_err(|error| FileError::new(path, error))
}
