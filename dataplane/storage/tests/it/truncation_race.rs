//! Truncation while a reader is between the state of the log and the file.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lograft_core::LogIndex;
use lograft_storage::{FaultFs, FileMap, Fs, FsFile, FsSpace, OpenMode, Storage, StorageError};

use crate::setup::{TestDisk, append, id, identity, open_group, records, settle};

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A simulated disk that calls a hook once, before the next read of a file.
struct HookedFs {
    fs: FaultFs,
    before_read: Hook,
}

struct HookedFile {
    file: Arc<dyn FsFile>,
    before_read: Hook,
}

impl Fs for HookedFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fs.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let file = self.fs.open(path, mode)?;
        let before_read = Arc::clone(&self.before_read);
        Ok(Arc::new(HookedFile { file, before_read }))
    }

    fn map(&self, path: &Path) -> io::Result<FileMap> {
        self.fs.map(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.fs.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<FsSpace> {
        self.fs.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.fs.lock(path)
    }

    fn random_u64(&self) -> u64 {
        self.fs.random_u64()
    }
}

impl FsFile for HookedFile {
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        self.file.write_vectored_at(parts, position)
    }

    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let hook = self.before_read.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.file.read_at(position, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn advise_dont_need(&self) -> io::Result<()> {
        self.file.advise_dont_need()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// A read whose segment is shortened under it returns the entries that remain. A report of
/// corruption would make the node discard a healthy replica.
#[test]
fn a_truncation_during_a_read_is_not_reported_as_corruption() {
    let (mut disk, fs) = TestDisk::fault(1);
    disk.config.tail_cache_max_bytes = 0; // all reads of flushed entries go to the file
    disk.config.segment_min_bytes = 64 * 1024;
    let before_read = Hook::default();
    let hooked = HookedFs {
        fs,
        before_read: Arc::clone(&before_read),
    };
    let fatal = Arc::new(|error: StorageError| panic!("{error}"));
    let storage = Storage::open(Arc::new(hooked), disk.config, fatal).unwrap();
    storage.write_identity(&identity()).unwrap();
    let log = open_group(&storage);
    for index in 0..20 {
        append(&storage, &log, vec![records(1, index, 1, 100)]);
    }
    settle(&storage, &log);
    assert_eq!(log.segments().len(), 1);

    let (other, steps) = (log.clone(), storage.clone());
    *before_read.lock().unwrap() = Some(Box::new(move || {
        other.truncate_after(Some(id(1, 9))).unwrap();
        while steps.step() {}
    }));
    let read = log.read(LogIndex(5)..LogIndex(20), usize::MAX).unwrap();
    assert!(
        before_read.lock().unwrap().is_none(),
        "the read met the hook"
    );
    let indexes: Vec<u64> = read.iter().map(|entry| entry.id.index.0).collect();
    assert_eq!(indexes, (5..10).collect::<Vec<_>>());
}
