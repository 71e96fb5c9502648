//! The file system of the kernel.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lograft_core::limits::WRITE_PARTS_MAX_COUNT;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::{Errno, retry_on_intr};

use super::file_system::{Fs, FsFile, FsSpace, OpenMode};

/// The file system of the kernel: buffered reads and writes, `fdatasync`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

struct RealFile(File);

impl Fs for RealFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o640);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        match fs::read_dir(path) {
            Ok(dir) => {
                for item in dir {
                    // All our names are UTF-8: other names belong to foreign files.
                    if let Ok(name) = item?.file_name().into_string() {
                        names.push(name);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<FsSpace> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(FsSpace {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_inodes: stat.f_files,
            free_inodes: stat.f_favail,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        // getrandom(2) cannot fail or return fewer than 8 bytes once the kernel's pool is ready. A
        // repeated number would only weaken the check on recycled files: the group id, the log
        // index and the chained CRC still have to match.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        u64::from_le_bytes(bytes)
    }
}

impl FsFile for RealFile {
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut parts = parts;
        let mut position = position;
        IoSlice::advance_slices(&mut parts, 0); // removes empty parts at the front
        while !parts.is_empty() {
            let window = &parts[..parts.len().min(WRITE_PARTS_MAX_COUNT)];
            match rustix::io::pwritev(&self.0, window, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = Vec::with_capacity(len);
        while buffer.len() < len {
            let at = position + buffer.len() as u64;
            match rustix::io::pread(&self.0, rustix::buffer::spare_capacity(&mut buffer), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        buffer.truncate(len);
        Ok(Bytes::from(buffer))
    }

    fn sync_data(&self) -> io::Result<()> {
        // Never retried, not even after EINTR. After a failed fsync Linux marks the pages clean
        // although the disk does not have them ("fsyncgate"): a second call returns success, and
        // records would be acknowledged that a power loss removes. The caller stops all writes.
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        // Some file systems, tmpfs among them, give up at any signal.
        match retry_on_intr(|| rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len)) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn advise_dont_need(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
