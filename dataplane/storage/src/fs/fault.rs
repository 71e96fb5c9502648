//! A simulated disk in memory that fails as disks do, and deterministically: the same seed gives
//! the same faults.

mod delays;
mod disk;
mod file_names;
mod inode;
mod read_faults;

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use self::delays::Delays;
pub use self::delays::DiskCall;
use self::disk::SimulatedDisk;
use super::file_system::{Fs, FsFile, FsSpace, OpenMode};

/// The kind of a simulated crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Only the process ends: all written bytes stay.
    Process,
    /// The machine loses power: unsynced bytes are lost, kept or torn, per file and per sector.
    Power,
}

/// A simulated file system in memory. It tracks which bytes are synced and which are only
/// written, loses the unsynced ones at a [`Crash::Power`], and fails on demand. Clones share the
/// disk.
///
/// As on real file systems, changes of names become durable in their order; written bytes do not.
#[derive(Clone)]
pub struct FaultFs {
    disk: Arc<Mutex<SimulatedDisk>>,
    delays: Arc<Delays>,
    /// The incarnation of the machine to which this handle belongs. After a crash, handles of
    /// earlier incarnations return errors.
    incarnation: u64,
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
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

impl FaultFs {
    /// An empty disk. All its random choices derive from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            disk: Arc::new(Mutex::new(SimulatedDisk::new(seed))),
            delays: Arc::default(),
            incarnation: 0,
        }
    }

    /// Crashes the machine or the process, and returns the disk as the next start finds it. Files
    /// and handles opened before the crash return errors from now on.
    pub fn crash(&self, crash: Crash) -> Self {
        let mut disk = self.disk.lock();
        disk.crash(crash == Crash::Power);
        let crashed = Self {
            disk: Arc::clone(&self.disk),
            delays: Arc::clone(&self.delays),
            incarnation: disk.incarnation,
        };
        drop(disk);
        self.delays.release();
        crashed
    }

    /// Makes calls hang until [`Self::release`] or a crash.
    pub fn hang(&self, call: DiskCall) {
        self.delays.hang(call);
    }

    /// Delays each call.
    pub fn slow_down(&self, call: DiskCall, by: Duration) {
        self.delays.slow_down(call, by);
    }

    /// Ends the calls that hang, and all delays.
    pub fn release(&self) {
        self.delays.release();
    }

    /// The number of calls that hang at the moment.
    pub fn hung_count(&self) -> usize {
        self.delays.hung_count()
    }

    /// Lets `writes` more writes succeed; the next one fails with `EIO`, half written.
    pub fn fail_write_after(&self, writes: u64) {
        self.disk.lock().fail_write = Some(writes);
    }

    /// Lets `syncs` more syncs succeed; the next one fails with `EIO`. As on Linux, the bytes that
    /// it should have synced may be lost for good.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.disk.lock().fail_sync = Some(syncs);
    }

    /// Sets the size of the disk, bytes; writes beyond it fail with `ENOSPC`.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk.lock().capacity_bytes = bytes;
    }

    /// Sets a quota, bytes: writes beyond it fail with `EDQUOT`, although the disk shows more free
    /// space.
    pub fn set_quota(&self, bytes: u64) {
        self.disk.lock().quota_bytes = bytes;
    }

    /// Sets the number of files that the disk can hold; creating more fails with `ENOSPC`.
    pub fn set_inodes(&self, count: u64) {
        self.disk.lock().inodes_max_count = Some(count);
    }

    /// Makes one in `chances` of the calls that take new space fail with `ENOSPC`: creating a file,
    /// allocating blocks, renaming. `None` ends that.
    pub fn fail_allocations(&self, chances: Option<u64>) {
        self.disk.lock().fail_allocations = chances;
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        self.disk.lock().used_bytes()
    }

    /// Flips one bit of a file on the disk itself (bit rot).
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) {
        self.disk.lock().flip_bit(path, byte, bit);
    }

    /// Makes bytes of a file unreadable: a read that touches the range fails with `EIO`, until a
    /// write covers it. The range may lie behind the end of the file.
    pub fn fail_reads(&self, path: &Path, range: Range<u64>) {
        self.disk.lock().fail_reads(path, range);
    }

    /// Lets `reads` more reads succeed; the next one fails with `EIO`, the ones after it succeed.
    pub fn fail_read_after(&self, reads: u64) {
        self.disk.lock().reads.fail_read = Some(reads);
    }

    /// Lets `reads` more reads succeed; the next one returns a flipped bit. The disk is sound: the
    /// same read then returns the right bytes.
    pub fn flip_read_after(&self, reads: u64) {
        self.disk.lock().reads.flip_read = Some(reads);
    }

    /// Lets `reads` more reads pass; the next one is slow: `during` runs before it returns.
    pub fn slow_read_after(&self, reads: u64, during: impl FnOnce() + Send + 'static) {
        self.disk.lock().reads.during_read = Some((reads, Box::new(during)));
    }

    /// Lets `opens` more opens succeed, of files and directories; the next `count` ones fail with
    /// `EMFILE`.
    pub fn refuse_opens_after(&self, opens: u64, count: u64) {
        self.disk.lock().reads.refuse_opens = Some((opens, count));
    }

    /// Sets the number of files that may be open; opens beyond it fail with `EMFILE`.
    pub fn limit_open_files(&self, max: Option<u64>) {
        self.disk.lock().reads.open_max = max;
    }

    /// The number of open files.
    pub fn open_files(&self) -> u64 {
        self.disk.lock().reads.open_count
    }

    /// The number of reads so far.
    pub fn reads(&self) -> u64 {
        self.disk.lock().reads.reads
    }

    /// All files and their lengths, bytes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.disk.lock().files()
    }

    /// The bytes of a file; `None` if it does not exist.
    pub fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        self.disk.lock().bytes_of(path)
    }

    /// The number of writes and of syncs so far.
    pub fn operations(&self) -> (u64, u64) {
        let disk = self.disk.lock();
        (disk.writes, disk.syncs)
    }

    fn current_disk(&self) -> io::Result<MutexGuard<'_, SimulatedDisk>> {
        let disk = self.disk.lock();
        if disk.incarnation == self.incarnation {
            Ok(disk)
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
}

impl Fs for FaultFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.current_disk()?.create_dir_all(path);
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let inode = self.current_disk()?.open(path, mode)?;
        let fs = self.clone();
        Ok(Arc::new(FaultFile { fs, inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.current_disk()?.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.current_disk()?.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.current_disk()?.remove_dir_all(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.current_disk()?.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.delays.wait(DiskCall::Sync);
        self.current_disk()?.sync_dir(path)
    }

    fn space(&self, _path: &Path) -> io::Result<FsSpace> {
        let disk = self.current_disk()?;
        let free_bytes = disk.capacity_bytes.saturating_sub(disk.used_bytes());
        Ok(FsSpace {
            total_bytes: disk.capacity_bytes,
            free_bytes,
            total_inodes: disk.inodes_max_count.unwrap_or(0),
            free_inodes: disk.free_inodes(),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.current_disk()?.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultLock {
            fs: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn random_u64(&self) -> u64 {
        self.disk.lock().random.next()
    }
}

impl Drop for FaultFile {
    fn drop(&mut self) {
        if let Ok(mut disk) = self.fs.current_disk() {
            disk.reads.open_count -= 1;
        }
    }
}

impl Drop for FaultLock {
    fn drop(&mut self) {
        if let Ok(mut disk) = self.fs.current_disk() {
            disk.locks.remove(&self.path);
        }
    }
}

impl FsFile for FaultFile {
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        for part in parts.iter() {
            bytes.extend_from_slice(part);
        }
        self.fs.current_disk()?.write(self.inode, position, bytes)
    }

    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.fs.delays.wait(DiskCall::Read);
        // Without the lock of the disk: the function uses the disk meanwhile.
        let during = self.fs.current_disk()?.reads.begin_read();
        if let Some(during) = during {
            during();
        }
        self.fs.current_disk()?.read(self.inode, position, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.delays.wait(DiskCall::Sync);
        self.fs.current_disk()?.sync(self.inode)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.current_disk()?.allocate(self.inode, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.current_disk()?.set_len(self.inode, len);
        Ok(())
    }

    fn advise_dont_need(&self) -> io::Result<()> {
        self.fs.current_disk()?.drop_pages(self.inode);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.current_disk()?.len(self.inode))
    }
}
