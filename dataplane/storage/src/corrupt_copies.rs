//! Corrupt copies: the files of replicas that have met damage, moved aside until the replica is
//! repaired.
//!
//! The directory of a copy is also the durable sign that the replica lost its log: while it is the
//! only one of its group, the replica must not start with an empty log (see
//! [`Storage::set_aside_groups`]). So a copy can be emptied, and is removed only when the group has
//! another whole replica.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lograft_core::GroupId;
use lograft_core::limits::CORRUPT_COPIES_MAX_COUNT;

use crate::config::CorruptCopies;
use crate::error::{Action, StorageError};
use crate::files::Files;
use crate::fs::OpenMode;
use crate::layout::{corrupt_copy_prefix, group_name, parse_corrupt_copy_name};
use crate::storage::Storage;

/// Bytes of the files in a directory. A file that cannot be measured counts as empty.
fn dir_bytes(files: &Files, dir: &Path) -> Result<u64, StorageError> {
    let len = |name: &String| {
        let path = dir.join(name);
        let file = files.open_if_exists(&path, OpenMode::Read)?;
        let len = file.map_or(Ok(0), |file| file.len());
        len.map_err(|source| StorageError::io(Action::Measure, &path, source))
    };
    let names = files.list(dir)?;
    let mut sum = 0;
    for measured in names.iter().map(len) {
        match measured {
            Err(error) if error.is_retryable() => return Err(error),
            measured => sum += measured.unwrap_or(0),
        }
    }
    Ok(sum)
}

impl Storage {
    /// Closes a group and moves its files aside as a corrupt copy: for a replica of which a read
    /// has met damage ([`crate::GroupLog::damage`]). Returns their new directory. The next open
    /// creates an empty log. If the files cannot be moved, the node must end unless the error is
    /// retryable.
    pub fn set_aside_group(&self, group: GroupId) -> Result<PathBuf, StorageError> {
        self.close_group(group)?;
        self.move_aside(group)
    }

    pub(crate) fn move_aside(&self, group: GroupId) -> Result<PathBuf, StorageError> {
        let (env, groups_dir) = (self.env(), self.env().groups_dir());
        let names = env.write_files.list(&groups_dir)?;
        let copies = names
            .iter()
            .filter_map(|name| parse_corrupt_copy_name(name));
        // Above the numbers of all groups, so that they say which copies are the oldest.
        let number = copies.map(|(_, number)| number + 1).max().unwrap_or(1);
        let kept = groups_dir.join(format!("{}{number}", corrupt_copy_prefix(group)));
        let mut copies = self.copies_of(group)?;
        while copies.len() >= CORRUPT_COPIES_MAX_COUNT {
            if let Some((_, oldest)) = copies.pop_first() {
                env.write_files.remove_dir_all(&oldest)?;
            }
        }
        env.write_files.rename(&env.group_dir(group), &kept)?;
        env.write_files.sync_dir(&groups_dir)?;
        let bytes = dir_bytes(&env.write_files, &kept).unwrap_or(0);
        env.copies_bytes.lock().insert(kept.clone(), bytes);
        Ok(kept)
    }

    /// The groups that have only a corrupt copy: their files were moved aside, and no new ones were
    /// created since. Opening such a group creates an empty log, without the vote and the
    /// acknowledged entries of the old one.
    pub fn set_aside_groups(&self) -> Result<Vec<GroupId>, StorageError> {
        let names = self.env().files.list(&self.env().groups_dir())?;
        let copies = names
            .iter()
            .filter_map(|name| parse_corrupt_copy_name(name));
        let mut groups: Vec<GroupId> = copies
            .map(|(group, _)| group)
            .filter(|group| !names.contains(&group_name(*group)))
            .collect();
        groups.dedup();
        Ok(groups)
    }

    /// The corrupt copies of each group that has any. Two copies of a group that has no other files
    /// mean that the replica was damaged again while it was being repaired: it MUST leave its raft
    /// group once more before it is opened.
    pub fn corrupt_copies(&self) -> Result<BTreeMap<GroupId, CorruptCopies>, StorageError> {
        let (env, groups_dir) = (self.env(), self.env().groups_dir());
        let mut found: BTreeMap<GroupId, CorruptCopies> = BTreeMap::new();
        for name in env.files.list(&groups_dir)? {
            let Some((group, number)) = parse_corrupt_copy_name(&name) else {
                continue;
            };
            let bytes = self.copy_bytes(groups_dir.join(name))?;
            let copies = found.entry(group).or_insert(CorruptCopies {
                oldest: number,
                ..CorruptCopies::default()
            });
            copies.count += 1;
            copies.oldest = copies.oldest.min(number);
            copies.bytes += bytes;
        }
        Ok(found)
    }

    /// Bytes of a copy. They are measured once: a copy does not change, but for being emptied.
    fn copy_bytes(&self, copy: PathBuf) -> Result<u64, StorageError> {
        if let Some(bytes) = self.env().copies_bytes.lock().get(&copy) {
            return Ok(*bytes);
        }
        let bytes = dir_bytes(&self.env().files, &copy)?;
        self.env().copies_bytes.lock().insert(copy, bytes);
        Ok(bytes)
    }

    fn remove_copy(&self, copy: &Path) -> Result<(), StorageError> {
        self.env().write_files.remove_dir_all(copy)?;
        self.env().copies_bytes.lock().remove(copy);
        Ok(())
    }

    /// Removes the corrupt copies of a group. Blocks until they are removed.
    pub fn remove_set_aside(&self, group: GroupId) -> Result<(), StorageError> {
        let copies = self.copies_of(group)?;
        copies.values().try_for_each(|copy| self.remove_copy(copy))
    }

    /// Removes the corrupt copies of a group that is open again and repaired. Does nothing if it is
    /// not open: a copy may then be the only sign that the replica lost its log.
    pub fn remove_repaired_copies(&self, group: GroupId) -> Result<(), StorageError> {
        // Listed while the group is known to be open: a copy made after that has another number.
        let copies = self.if_in_use(group, || self.copies_of(group));
        let copies = copies.transpose()?.unwrap_or_default();
        copies.values().try_for_each(|copy| self.remove_copy(copy))
    }

    /// Removes all corrupt copies of a group but the oldest, which has the most entries: the group
    /// has evicted the replica again since the newest was made. Blocks until they are removed.
    pub fn merge_set_aside(&self, group: GroupId) -> Result<(), StorageError> {
        let copies = self.copies_of(group)?;
        let mut newer = copies.values().skip(1);
        newer.try_for_each(|copy| self.remove_copy(copy))?;
        self.env().write_files.sync_dir(&self.env().groups_dir())
    }

    /// Removes the files of the corrupt copies of a group, to make room, and keeps their empty
    /// directories: they still say that the replica lost its log. MUST be called only when the
    /// group goes on without the replica, so that other nodes have all committed entries.
    pub fn empty_set_aside(&self, group: GroupId) -> Result<(), StorageError> {
        let files = &self.env().write_files;
        for copy in self.copies_of(group)?.into_values() {
            for name in files.list(&copy)? {
                files.remove_file(&copy.join(name))?;
            }
            self.env().copies_bytes.lock().insert(copy, 0);
        }
        Ok(())
    }

    /// The directories of the corrupt copies of a group, by their number.
    fn copies_of(&self, group: GroupId) -> Result<BTreeMap<u64, PathBuf>, StorageError> {
        let groups_dir = self.env().groups_dir();
        let names = self.env().write_files.list(&groups_dir)?;
        let copies = names.iter().filter_map(|name| {
            let (owner, number) = parse_corrupt_copy_name(name)?;
            (owner == group).then(|| (number, groups_dir.join(name)))
        });
        Ok(copies.collect())
    }
}
