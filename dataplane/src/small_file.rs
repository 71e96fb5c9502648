//! Small files of a node that are read and replaced as a whole.

use std::io::{self, IoSlice};
use std::path::Path;

use lograft_storage::{Fs, OpenMode, is_unreadable};

/// The first bytes of a file, at most `max_bytes`; none of them if the disk cannot read it, and
/// `None` if it does not exist.
pub(crate) fn read(fs: &dyn Fs, path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let read = || {
        let file = fs.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?.min(max_bytes)).unwrap_or(usize::MAX);
        file.read_at(0, len)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_unreadable(&error) => Ok(Some(Vec::new())),
        Err(error) => Err(error),
    }
}

/// Replaces a file durably. The bytes go to a new file that is synced and then renamed over the old
/// one, so that a crash leaves one of both, and never a part.
pub(crate) fn replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let file = fs.open(new, OpenMode::Create)?;
    file.write_vectored_at(&mut [IoSlice::new(bytes)], 0)?;
    file.sync_data()?;
    fs.rename(new, path)?;
    path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))
}
