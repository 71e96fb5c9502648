//! The disk of a [`super::FaultFs`]: what is on it, and what is only in the machine's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Crash, OpenMode};

/// What a disk writes whole or not at all, bytes.
const SECTOR_BYTES: usize = 512;

pub(super) struct World {
    pub(super) life: u64,
    pub(super) random: Random,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity_bytes: u64,
    pub(super) fail_write: Option<u64>,
    pub(super) fail_sync: Option<u64>,
    pub(super) writes: u64,
    pub(super) syncs: u64,
    names: Names,
    durable_names: Names,
    /// Changes of names since `durable_names`.
    journal: Vec<NameChange>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
}

/// Small, fast and good enough: Sebastiano Vigna's SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Clone)]
enum NameChange {
    MakeDir(PathBuf),
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    RemoveDir(PathBuf),
}

impl NameChange {
    fn touches(&self, dir: &Path) -> bool {
        let is_in = |path: &Path| path.parent() == Some(dir);
        match self {
            Self::MakeDir(path) | Self::Link(path, _) | Self::Unlink(path) => is_in(path),
            Self::Rename(from, to) => is_in(from) || is_in(to),
            Self::RemoveDir(path) => is_in(path) || path == dir,
        }
    }
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::MakeDir(path) => {
                self.dirs.insert(path.clone());
            }
            NameChange::Link(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Unlink(path) => {
                self.files.remove(path);
            }
            NameChange::RemoveDir(path) => {
                self.files.retain(|name, _| !name.starts_with(path));
                self.dirs.retain(|name| !name.starts_with(path));
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                } else {
                    self.rename_dir(from, to);
                }
            }
        }
    }

    fn rename_dir(&mut self, from: &Path, to: &Path) {
        let moved = |path: &PathBuf| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
            Ok(rest) => to.join(rest),
            Err(_) => path.clone(),
        };
        self.files = self
            .files
            .iter()
            .map(|(path, inode)| (moved(path), *inode))
            .collect();
        self.dirs = self.dirs.iter().map(moved).collect();
    }
}

#[derive(Default)]
struct Inode {
    /// As the process sees it.
    current: Vec<u8>,
    /// As it is on the disk.
    durable: Vec<u8>,
    /// What led from one to the other.
    pending: Vec<Pending>,
}

enum Pending {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

fn write_into(bytes: &mut Vec<u8>, position: usize, new: &[u8]) {
    let end = position + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[position..end].copy_from_slice(new);
}

impl Inode {
    fn add(&mut self, change: Pending) {
        match &change {
            Pending::Write(position, bytes) => write_into(&mut self.current, *position, bytes),
            Pending::SetLen(len) => self.current.resize(*len, 0),
        }
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Pending::Write(position, bytes) => {
                    write_into(&mut self.durable, position, &bytes);
                }
                Pending::SetLen(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// Keeps of the pending changes none, all, or a part of each.
    fn lose_power(&mut self, random: &mut Random) {
        let fate = random.below(4);
        for change in std::mem::take(&mut self.pending) {
            match change {
                _ if fate == 0 => {}
                Pending::SetLen(len) if fate == 1 || random.coin() => self.durable.resize(len, 0),
                Pending::SetLen(_) => {}
                Pending::Write(position, bytes) if fate == 1 => {
                    write_into(&mut self.durable, position, &bytes);
                }
                Pending::Write(position, bytes) => {
                    tear(&mut self.durable, position, &bytes, random);
                }
            }
        }
        self.current.clone_from(&self.durable);
    }
}

/// Writes a random part of the sectors that the bytes touch.
fn tear(durable: &mut Vec<u8>, position: usize, bytes: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < bytes.len() {
        let sector_end = (position + at + 1).next_multiple_of(SECTOR_BYTES) - position;
        let end = sector_end.min(bytes.len());
        if random.coin() {
            write_into(durable, position + at, &bytes[at..end]);
        }
        at = end;
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            life: 0,
            random: Random(seed),
            locks: BTreeSet::new(),
            capacity_bytes: u64::MAX,
            fail_write: None,
            fail_sync: None,
            writes: 0,
            syncs: 0,
            names: Names::default(),
            durable_names: Names::default(),
            journal: Vec::new(),
            inodes: BTreeMap::new(),
            next_inode: 1,
        }
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.life += 1;
        self.locks.clear();
        self.fail_write = None;
        self.fail_sync = None;
        if crash == Crash::Process {
            return;
        }
        let kept = self.random.below(self.journal.len() + 1);
        self.commit_names(kept);
        self.journal.clear();
        self.names = self.durable_names.clone();
        let Self {
            inodes,
            names,
            random,
            ..
        } = self;
        inodes.retain(|inode, _| names.files.values().any(|named| named == inode));
        for inode in inodes.values_mut() {
            inode.lose_power(random);
        }
    }

    fn commit_names(&mut self, count: usize) {
        for change in self.journal.drain(..count) {
            self.durable_names.apply(&change);
        }
    }

    fn change_names(&mut self, change: NameChange) {
        self.names.apply(&change);
        self.journal.push(change);
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let files = self
            .names
            .files
            .values()
            .filter_map(|inode| self.inodes.get(inode));
        files.map(|inode| inode.current.len() as u64).sum()
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) {
        let missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty() && !self.names.dirs.contains(*dir))
            .map(Path::to_owned)
            .collect();
        for dir in missing.into_iter().rev() {
            self.change_names(NameChange::MakeDir(dir));
        }
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        let found = self.names.files.get(path).copied();
        match (mode, found) {
            (OpenMode::Create, Some(inode)) => {
                self.set_len(inode, 0);
                Ok(inode)
            }
            (OpenMode::Create, None) => {
                if path
                    .parent()
                    .is_none_or(|dir| !self.names.dirs.contains(dir))
                {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let inode = self.next_inode;
                self.next_inode += 1;
                self.inodes.insert(inode, Inode::default());
                self.change_names(NameChange::Link(path.to_owned(), inode));
                Ok(inode)
            }
            (_, found) => found.ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.names.files.contains_key(from) && !self.names.dirs.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        if !self.names.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_names(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) {
        self.change_names(NameChange::RemoveDir(path.to_owned()));
    }

    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let all = self.names.files.keys().chain(&self.names.dirs);
        let mut names: Vec<String> = all
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.count_sync()?;
        let last = self.journal.iter().rposition(|change| change.touches(dir));
        self.commit_names(last.map_or(0, |last| last + 1));
        Ok(())
    }

    fn count_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        match &mut self.fail_sync {
            Some(0) => {
                self.fail_sync = None;
                Err(io::Error::from_raw_os_error(5))
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
        let position = size(position);
        let grows = (position + bytes.len()).saturating_sub(self.inode(inode).current.len());
        if self.used_bytes().saturating_add(grows as u64) > self.capacity_bytes {
            return Err(io::Error::from_raw_os_error(28));
        }
        if let Some(left) = &mut self.fail_write {
            if *left == 0 {
                self.fail_write = None;
                let half = bytes[..bytes.len() / 2].to_vec();
                self.inode(inode).add(Pending::Write(position, half));
                return Err(io::Error::from_raw_os_error(5));
            }
            *left -= 1;
        }
        self.inode(inode).add(Pending::Write(position, bytes));
        Ok(())
    }

    pub(super) fn read(&mut self, inode: u64, position: u64, len: usize) -> bytes::Bytes {
        let current = &self.inode(inode).current;
        let start = size(position).min(current.len());
        let end = start.saturating_add(len).min(current.len());
        bytes::Bytes::copy_from_slice(&current[start..end])
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        if let Err(error) = self.count_sync() {
            // The kernel drops the pages' dirty mark: some are on the disk, the others never.
            let Self { inodes, random, .. } = self;
            if let Some(inode) = inodes.get_mut(&inode) {
                let current = inode.current.clone();
                inode.lose_power(random);
                inode.current = current;
            }
            return Err(error);
        }
        self.inode(inode).sync();
        Ok(())
    }

    /// Clean pages go: what is read next comes from the disk.
    pub(super) fn drop_pages(&mut self, inode: u64) {
        let inode = self.inode(inode);
        if inode.pending.is_empty() {
            inode.current.clone_from(&inode.durable);
        }
    }

    pub(super) fn allocate(&mut self, inode: u64, len: u64) -> io::Result<()> {
        let grows = size(len).saturating_sub(self.inode(inode).current.len());
        if grows > 0 {
            if self.used_bytes().saturating_add(grows as u64) > self.capacity_bytes {
                return Err(io::Error::from_raw_os_error(28));
            }
            self.inode(inode).add(Pending::SetLen(size(len)));
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) {
        self.inode(inode).add(Pending::SetLen(size(len)));
    }

    pub(super) fn len(&mut self, inode: u64) -> u64 {
        self.inode(inode).current.len() as u64
    }

    pub(super) fn flip_bit(&mut self, path: &Path, byte: u64, bit: u8) {
        let Some(inode) = self.names.files.get(path).copied() else {
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
        let files = self.names.files.iter();
        files
            .map(|(path, inode)| {
                let len = self
                    .inodes
                    .get(inode)
                    .map_or(0, |inode| inode.current.len());
                (path.clone(), len as u64)
            })
            .collect()
    }

    pub(super) fn bytes_of(&self, path: &Path) -> Option<Vec<u8>> {
        let inode = self.names.files.get(path)?;
        Some(self.inodes.get(inode)?.current.clone())
    }
}
