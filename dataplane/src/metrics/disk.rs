//! A file system that counts the bytes and flushes of another.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Metrics;
use super::storage::StorageMetrics;
use bytes::Bytes;
use lograft_storage::{Fs, FsFile, FsSpace, OpenMode};

/// Another file system, counted.
pub struct MeteredFs {
    inner: Arc<dyn Fs>,
    meters: StorageMetrics,
}

struct MeteredFile {
    inner: Arc<dyn FsFile>,
    meters: StorageMetrics,
}

impl MeteredFs {
    /// Counts into a node's metrics.
    pub fn new(inner: Arc<dyn Fs>, metrics: &Metrics) -> Self {
        let meters = metrics.storage.clone();
        Self { inner, meters }
    }
}

impl Fs for MeteredFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(MeteredFile {
            inner,
            meters: self.meters.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<FsSpace> {
        self.inner.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path)
    }

    fn random_u64(&self) -> u64 {
        self.inner.random_u64()
    }
}

impl FsFile for MeteredFile {
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        self.inner.write_vectored_at(parts, position)?;
        self.meters.written_bytes.inc_by(size as u64);
        Ok(())
    }

    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let bytes = self.inner.read_at(position, len)?;
        self.meters.read_bytes.inc_by(bytes.len() as u64);
        Ok(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let started = Instant::now();
        self.inner.sync_data()?;
        self.meters
            .flush_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn advise_dont_need(&self) -> io::Result<()> {
        self.inner.advise_dont_need()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    #[test]
    fn bytes_and_syncs_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let fs = MeteredFs::new(Arc::new(RealFs), &metrics);
        let file = fs.open(&dir.path().join("f"), OpenMode::Create).unwrap();
        let mut parts = [IoSlice::new(b"abc"), IoSlice::new(b"de")];
        file.write_vectored_at(&mut parts, 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.read_at(1, 3).unwrap(), Bytes::from_static(b"bcd"));
        let text = metrics.encode().unwrap();
        for line in [
            "lograft_storage_written_bytes_total 5",
            "lograft_storage_read_bytes_total 3",
            "lograft_storage_flush_duration_seconds_count 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
