//! A disk in memory that fails as disks do, the same way again for the same seed.

mod disk;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use self::disk::World;
use super::file_system::{FileMap, Fs, FsFile, FsSpace, OpenMode};

/// What ends at a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process: all that was written stays.
    Process,
    /// The machine: what was not synced is lost, kept or torn, file by file and sector by sector.
    Power,
}

/// A file system in memory. It tells what is synced from what is only written, loses the latter
/// at a [`Crash::Power`], and fails on demand. Clones share the disk.
///
/// As on real file systems, names become durable in the order of their changes, bytes do not.
#[derive(Clone)]
pub struct FaultFs {
    world: Arc<Mutex<World>>,
    /// What belongs to an earlier life of the machine can do nothing any more.
    life: u64,
}

struct FaultFile {
    fs: FaultFs,
    inode: u64,
}

struct FaultLock {
    fs: FaultFs,
    path: PathBuf,
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultFs")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl FaultFs {
    /// An empty disk; all that is random about it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            world: Arc::new(Mutex::new(World::new(seed))),
            life: 0,
        }
    }

    /// Crashes, and returns the disk as it is found after that. Whatever is still open on the old
    /// one only gets errors.
    pub fn crash(&self, crash: Crash) -> Self {
        let mut world = self.world.lock();
        world.crash(crash);
        Self {
            world: Arc::clone(&self.world),
            life: world.life,
        }
    }

    /// The write that comes after `writes` more ones fails with `EIO`, half written.
    pub fn fail_write_after(&self, writes: u64) {
        self.world.lock().fail_write = Some(writes);
    }

    /// The sync that comes after `syncs` more ones fails with `EIO`; what it should have synced
    /// may be lost for good, as on Linux.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.world.lock().fail_sync = Some(syncs);
    }

    /// Sets the disk's size, bytes: beyond it writes fail with `ENOSPC`.
    pub fn set_capacity(&self, bytes: u64) {
        self.world.lock().capacity_bytes = bytes;
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        self.world.lock().used_bytes()
    }

    /// Turns one bit of a file over, on the disk itself.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        self.world.lock().flip_bit(path, byte, bit);
    }

    /// All files and their lengths, bytes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.world.lock().files()
    }

    /// A file's bytes, if it is there.
    pub fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        self.world.lock().bytes_of(path)
    }

    /// Writes and syncs so far.
    pub fn operations(&self) -> (u64, u64) {
        let world = self.world.lock();
        (world.writes, world.syncs)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.world.lock();
        if world.life == self.life {
            Ok(world)
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn file(&self, inode: u64) -> Arc<dyn FsFile> {
        Arc::new(FaultFile {
            fs: self.clone(),
            inode,
        })
    }
}

impl Fs for FaultFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.alive()?.create_dir_all(path);
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let inode = self.alive()?.open(path, mode)?;
        Ok(self.file(inode))
    }

    fn map(&self, path: &Path) -> io::Result<FileMap> {
        let bytes = self
            .alive()?
            .bytes_of(path)
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(FileMap::Held(bytes.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.alive()?.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.alive()?.remove_dir_all(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.alive()?.list(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.alive()?.sync_dir(path)
    }

    fn space(&self, _path: &Path) -> io::Result<FsSpace> {
        let world = self.alive()?;
        let free_bytes = world.capacity_bytes.saturating_sub(world.used_bytes());
        Ok(FsSpace {
            total_bytes: world.capacity_bytes,
            free_bytes,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.alive()?.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultLock {
            fs: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn random_u64(&self) -> u64 {
        self.world.lock().random.next()
    }
}

impl Drop for FaultLock {
    fn drop(&mut self) {
        if let Ok(mut world) = self.fs.alive() {
            world.locks.remove(&self.path);
        }
    }
}

impl FsFile for FaultFile {
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        for part in parts.iter() {
            bytes.extend_from_slice(part);
        }
        self.fs.alive()?.write(self.inode, position, bytes)
    }

    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        Ok(self.fs.alive()?.read(self.inode, position, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.alive()?.sync(self.inode)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.alive()?.allocate(self.inode, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.alive()?.set_len(self.inode, len);
        Ok(())
    }

    fn advise_dont_need(&self) -> io::Result<()> {
        self.fs.alive()?.drop_pages(self.inode);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.alive()?.len(self.inode))
    }
}
