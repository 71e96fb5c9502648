//! The state of a simulated disk, shared by all handles on it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use lograft_core::random::SplitMix64;

use super::file_names::{NameChange, NameTable};
use super::inode::{Change, Inode};
use super::read_faults::{EIO, ReadFaults};
use crate::fs::file_system::OpenMode;

const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

pub(super) struct SimulatedDisk {
    /// Counts the crashes: handles opened before the last one are invalid.
    pub(super) incarnation: u64,
    pub(super) random: SplitMix64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity_bytes: u64,
    pub(super) quota_bytes: u64,
    /// The number of files that it can hold; `None` without a bound.
    pub(super) inodes_max_count: Option<u64>,
    /// Writes that still succeed before one fails.
    pub(super) fail_write: Option<u64>,
    /// Syncs that still succeed before one fails.
    pub(super) fail_sync: Option<u64>,
    /// Of so many calls that take new space one fails.
    pub(super) fail_allocations: Option<u64>,
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) reads: ReadFaults,
    names: NameTable,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl SimulatedDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            incarnation: 0,
            random: SplitMix64::new(seed),
            locks: BTreeSet::new(),
            capacity_bytes: u64::MAX,
            quota_bytes: u64::MAX,
            inodes_max_count: None,
            fail_write: None,
            fail_sync: None,
            fail_allocations: None,
            writes: 0,
            syncs: 0,
            reads: ReadFaults::default(),
            names: NameTable::default(),
            inodes: BTreeMap::new(),
            next_inode: 1,
        }
    }

    /// Ends the process; with `power_loss` the machine too, and unsynced changes may be lost.
    pub(super) fn crash(&mut self, power_loss: bool) {
        self.incarnation += 1;
        self.locks.clear();
        self.fail_write = None;
        self.fail_sync = None;
        self.reads.crash();
        self.fail_allocations = None;
        if !power_loss {
            return;
        }
        let kept = self.random.below(self.names.pending_count() + 1);
        self.names.lose_power(kept);
        let Self {
            inodes,
            names,
            random,
            ..
        } = self;
        inodes.retain(|inode, _| names.files().any(|(_, named)| named == *inode));
        for inode in inodes.values_mut() {
            inode.lose_power(random);
        }
    }

    pub(super) fn free_inodes(&self) -> u64 {
        let used = self.names.files().count() as u64;
        self.inodes_max_count
            .map_or(u64::MAX, |max| max.saturating_sub(used))
    }

    /// Fails if a file cannot grow by so many bytes.
    fn check_growth(&self, grows: usize) -> io::Result<()> {
        let after = self.used_bytes().saturating_add(grows as u64);
        let error = if grows == 0 || after <= self.capacity_bytes.min(self.quota_bytes) {
            return Ok(());
        } else if after > self.capacity_bytes {
            ENOSPC
        } else {
            EDQUOT
        };
        Err(io::Error::from_raw_os_error(error))
    }

    /// Fails at random, if it must.
    fn check_allocation(&mut self) -> io::Result<()> {
        match self.fail_allocations {
            Some(chances) if self.random.next().is_multiple_of(chances.max(1)) => {
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let files = self.names.files();
        files
            .filter_map(|(_, inode)| self.inodes.get(&inode))
            .map(|inode| inode.current.len() as u64)
            .sum()
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) {
        let missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty() && !self.names.has_dir(dir))
            .map(Path::to_owned)
            .collect();
        for dir in missing.into_iter().rev() {
            self.names.change(NameChange::MakeDir(dir));
        }
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        let inode = self.find_or_create(path, mode)?;
        self.reads.open(true)?;
        Ok(inode)
    }

    fn find_or_create(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        if mode == OpenMode::Create {
            self.check_allocation()?;
        }
        let found = self.names.inode(path);
        match (mode, found) {
            (OpenMode::Create, Some(inode)) => {
                self.set_len(inode, 0);
                Ok(inode)
            }
            (OpenMode::Create, None) => {
                if path.parent().is_none_or(|dir| !self.names.has_dir(dir)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                if self.free_inodes() == 0 {
                    return Err(io::Error::from_raw_os_error(ENOSPC));
                }
                let inode = self.next_inode;
                self.next_inode += 1;
                self.inodes.insert(inode, Inode::default());
                self.names.change(NameChange::Link(path.to_owned(), inode));
                Ok(inode)
            }
            (_, found) => found.ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.names.inode(from).is_none() && !self.names.has_dir(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.check_allocation()?;
        self.names
            .change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        if self.names.inode(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.names.change(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) {
        self.names.change(NameChange::RemoveDir(path.to_owned()));
    }

    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        self.reads.open(false)?;
        Ok(self.names.list(dir))
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.reads.open(false)?;
        self.count_sync()?;
        self.names.sync_dir(dir);
        Ok(())
    }

    fn count_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        match &mut self.fail_sync {
            Some(0) => {
                self.fail_sync = None;
                Err(io::Error::from_raw_os_error(EIO))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    pub(super) fn write(&mut self, inode: u64, position: u64, bytes: Vec<u8>) -> io::Result<()> {
        self.writes += 1;
        self.reads
            .written(inode, &(position..position + bytes.len() as u64));
        let position = size(position);
        let grows = (position + bytes.len()).saturating_sub(self.inode(inode).current.len());
        self.check_growth(grows)?;
        if let Some(left) = &mut self.fail_write {
            if *left == 0 {
                self.fail_write = None;
                let half = bytes[..bytes.len() / 2].to_vec();
                self.inode(inode).add(Change::Write(position, half));
                return Err(io::Error::from_raw_os_error(EIO));
            }
            *left -= 1;
        }
        self.inode(inode).add(Change::Write(position, bytes));
        Ok(())
    }

    pub(super) fn read(&mut self, inode: u64, position: u64, len: usize) -> io::Result<Bytes> {
        let current = &self.inode(inode).current;
        let start = size(position).min(current.len());
        let end = start.saturating_add(len).min(current.len());
        let bytes = Bytes::copy_from_slice(&current[start..end]);
        self.reads.end_read(inode, position, bytes)
    }

    /// Makes bytes of a file unreadable.
    pub(super) fn fail_reads(&mut self, path: &Path, range: Range<u64>) {
        if let Some(inode) = self.names.inode(path) {
            self.reads.add_bad_range(inode, range);
        }
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        if let Err(error) = self.count_sync() {
            // As on Linux: after a failed fsync the pages count as clean. Some are on the disk, the
            // others will never be written, but all of them can still be read.
            let Self { inodes, random, .. } = self;
            if let Some(inode) = inodes.get_mut(&inode) {
                inode.fail_sync(random);
            }
            return Err(error);
        }
        self.inode(inode).sync();
        Ok(())
    }

    pub(super) fn drop_pages(&mut self, inode: u64) {
        self.inode(inode).drop_pages();
    }

    pub(super) fn allocate(&mut self, inode: u64, len: u64) -> io::Result<()> {
        let grows = size(len).saturating_sub(self.inode(inode).current.len());
        if grows > 0 {
            self.check_allocation()?;
            self.check_growth(grows)?;
            self.set_len(inode, len);
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) {
        self.inode(inode).add(Change::SetLen(size(len)));
    }

    pub(super) fn len(&mut self, inode: u64) -> u64 {
        self.inode(inode).current.len() as u64
    }

    pub(super) fn flip_bit(&mut self, path: &Path, byte: u64, bit: u8) {
        let Some(inode) = self.names.inode(path) else {
            return;
        };
        let inode = self.inode(inode);
        for bytes in [&mut inode.current, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(size(byte)) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let len = |inode| {
            self.inodes
                .get(&inode)
                .map_or(0, |inode| inode.current.len())
        };
        let files = self.names.files();
        files
            .map(|(path, inode)| (path.clone(), len(inode) as u64))
            .collect()
    }

    pub(super) fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.names.inode(path)?;
        Some(self.inodes.get(&inode)?.current.clone())
    }
}
