//! The seam to the disk.

use std::io::{self, IoSlice};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It is there, and only read.
    Read,
    /// It is there, and written.
    Write,
    /// It is made, empty; whatever stood there under the name is cut to nothing.
    Create,
}

/// The room on a file system, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still write.
    pub free_bytes: u64,
}

/// A file system.
///
/// What an implementation MUST keep: bytes are durable after [`FsFile::sync_data`]; a name
/// (created, renamed, removed) is durable after [`Fs::sync_dir`] of its directory, and names of
/// one directory become durable in the order in which they were made; `rename` is atomic and
/// replaces what stands under the new name.
pub trait Fs: Send + Sync + 'static {
    /// Makes a directory and those above it.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>>;
    /// The file's bytes as they are now, to be read at random. The file must not get shorter
    /// while the map lives; removing it or renaming another over it is allowed.
    fn map(&self, path: &Path) -> io::Result<FileMap>;
    /// Moves a file or directory, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted; empty if there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The room left where this path stands.
    fn space(&self, path: &Path) -> io::Result<FsSpace>;
    /// Takes a lock file for this process, or fails with [`io::ErrorKind::WouldBlock`]. The lock
    /// goes with the value.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// A random number, for what must differ between files.
    fn random_u64(&self) -> u64;
}

/// An open file.
pub trait FsFile: Send + Sync {
    /// Writes all of `parts`, one after the other, from `position` on (bytes). `parts` is used up.
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Reads up to `len` bytes from `position` on; fewer only at the end of the file.
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes>;
    /// Makes all written bytes durable, and the length needed to read them.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the file `len` bytes long with its blocks reserved. A file system that cannot do
    /// that does nothing.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Gives the file's clean pages back to the kernel: what is read next comes from the disk.
    fn advise_dont_need(&self) -> io::Result<()>;
    /// The length, bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A file's bytes, mapped or held.
#[derive(Debug)]
pub enum FileMap {
    /// Mapped by the kernel.
    Mapped(memmap2::Mmap),
    /// Held in memory, by file systems without maps.
    Held(Bytes),
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}
