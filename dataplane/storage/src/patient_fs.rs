//! The file system of the writers: it waits while no file descriptor is free.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use lograft_core::limits::DESCRIPTOR_RETRY_INTERVAL;

use crate::fs::{Fs, FsFile, FsSpace, OpenMode};
use crate::open_segments::OpenSegments;
use crate::read_failure::is_out_of_descriptors;
use crate::write_queue::note_wait;

/// A file system whose calls wait until the process has a file descriptor for them.
// A writer cannot refuse its operation as a reader can: the entries are in the log already. EMFILE
// and ENFILE come from the open(2) before the write or the sync, which has changed nothing, so
// repeating it is safe: nothing was written, and no fsync was tried. To end the node would not help
// either: it would start again with the same limit. The wait has no bound, because the shortage
// ends when connections close; meanwhile the group is as slow as on a slow disk, and its callers
// have their own timeouts. To the watchdog the writer makes progress: the disk does not hang.
pub(crate) struct PatientFs {
    pub(crate) inner: Arc<dyn Fs>,
    /// The sealed segments: their files are closed first.
    pub(crate) open_segments: Arc<OpenSegments>,
}

impl PatientFs {
    fn wait_for<T>(&self, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match call() {
                Err(error) if is_out_of_descriptors(&error) => {
                    // Readers open them again when they need them.
                    if !self.open_segments.close_all() {
                        note_wait();
                        thread::sleep(DESCRIPTOR_RETRY_INTERVAL);
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

impl Fs for PatientFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        self.wait_for(|| self.inner.open(path, mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.wait_for(|| self.inner.remove_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.wait_for(|| self.inner.list(path))
    }

    // fsync(2) itself never fails with EMFILE or ENFILE: with these codes the directory was not
    // opened, and no fsync was tried.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.wait_for(|| self.inner.sync_dir(path))
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
