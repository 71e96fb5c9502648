//! The names on a simulated disk: which are durable, and which a power loss may take back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The directory tree of a simulated disk, as the process sees it and as it is on the disk.
#[derive(Default)]
pub(super) struct NameTable {
    current: Names,
    durable: Names,
    /// The changes that lead from `durable` to `current`, in their order.
    journal: Vec<NameChange>,
}

#[derive(Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

/// A change of the directory tree.
#[derive(Clone)]
pub(super) enum NameChange {
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

impl NameTable {
    pub(super) fn change(&mut self, change: NameChange) {
        self.current.apply(&change);
        self.journal.push(change);
    }

    /// Makes the changes in `dir` durable, and all earlier changes with them: a file system
    /// journal commits in order.
    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let last = self.journal.iter().rposition(|change| change.touches(dir));
        self.commit(last.map_or(0, |last| last + 1));
    }

    fn commit(&mut self, count: usize) {
        for change in self.journal.drain(..count) {
            self.durable.apply(&change);
        }
    }

    /// How many changes are not durable.
    pub(super) fn pending_count(&self) -> usize {
        self.journal.len()
    }

    /// Keeps the first `kept` of the changes that are not durable, and loses the others.
    pub(super) fn lose_power(&mut self, kept: usize) {
        self.commit(kept);
        self.journal.clear();
        self.current = self.durable.clone();
    }

    pub(super) fn has_dir(&self, path: &Path) -> bool {
        self.current.dirs.contains(path)
    }

    pub(super) fn inode(&self, path: &Path) -> Option<u64> {
        self.current.files.get(path).copied()
    }

    /// All files and their inodes.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PathBuf, u64)> {
        let files = self.current.files.iter();
        files.map(|(path, inode)| (path, *inode))
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let all = self.current.files.keys().chain(&self.current.dirs);
        let mut names: Vec<String> = all
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort_unstable();
        names
    }
}
