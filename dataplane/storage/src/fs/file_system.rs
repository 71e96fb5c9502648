//! The file system traits and the plain types of their calls.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// Access mode of an opened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, read only.
    Read,
    /// An existing file, read and written.
    Write,
    /// A new empty file; an existing file of that name is truncated to zero length.
    Create,
}

/// Size and free space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsSpace {
    /// The size of the file system.
    pub total_bytes: u64,
    /// The bytes that this process may still write.
    pub free_bytes: u64,
    /// The number of inodes; 0 if the file system has no fixed number.
    pub total_inodes: u64,
    /// The inodes that this process may still use.
    pub free_inodes: u64,
}

/// A file system.
///
/// An implementation MUST keep these guarantees, on which recovery relies:
/// - Bytes are durable after [`FsFile::sync_data`] returned `Ok`.
/// - A change of a name (create, rename, remove) is durable after [`Fs::sync_dir`] of its
///   directory. Changes in one directory become durable in the order in which they were made.
/// - `rename` is atomic and replaces a file of the new name.
pub trait Fs: Send + Sync + 'static {
    /// Creates a directory and its missing parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>>;
    /// Renames a file or directory atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and its contents.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted; empty if the directory does not exist.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes the changes of names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Size and free space of the file system that holds this path.
    fn space(&self, path: &Path) -> io::Result<FsSpace>;
    /// Takes an exclusive lock on a lock file, held until the returned value is dropped. Fails
    /// with [`io::ErrorKind::WouldBlock`] if another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// A random number, for the unique ids of segments.
    fn random_u64(&self) -> u64;
}

/// An open file.
pub trait FsFile: Send + Sync {
    /// Writes all of `parts`, one after the other, starting at `position` (bytes). The slices in
    /// `parts` are consumed. On an error any part of the bytes may have been written.
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Reads up to `len` bytes from `position`; fewer only at the end of the file.
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes>;
    /// Makes all written bytes durable, and the file length needed to read them. A failed call
    /// MUST NOT be retried: the kernel may have dropped the dirty pages, and a second call would
    /// then report success for bytes that are not on disk.
    fn sync_data(&self) -> io::Result<()>;
    /// Extends the file to `len` bytes and reserves its blocks. Does nothing on a file system
    /// without support for it.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Truncates the file to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Drops the file's clean pages from the page cache, so that the next read comes from the
    /// disk. A hint: dirty pages stay.
    fn advise_dont_need(&self) -> io::Result<()>;
    /// The file length, bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
