//! The groups that were opened on this disk, and which of them are fenced, in `groups_opened` in
//! the data directory.
//!
//! A group is in the file before its replica votes or acknowledges for the first time. So a folder
//! that is missing later is found: without the mark, the group would start empty, and its replica
//! would vote as if it never had. A removed group leaves the file.
//!
//! One line for each group: its id and `open`, `fenced`, `joining` or `joining <term> <index>`;
//! then a line with the CRC-32C of the lines before it. There are two files with the same bytes, so
//! that one flipped byte costs nothing; the copy is written first. If both are damaged, every group
//! with a folder counts as fenced: which of them were is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lograft_core::{GroupId, LogId, LogIndex, Term};
use lograft_raft::FenceStage;
use lograft_storage::{Fs, Storage};
use tokio::sync::{Mutex, Notify};
use tracing::warn;

use super::{IncarnationError, with_checksum, without_checksum};
use crate::blocking::run_blocking;
use crate::small_file::{FileError, FilePair};

const FILE: &str = "groups_opened";
const COPY: &str = "groups_opened.copy";

/// Whether the replica of a group on this disk may vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Open,
    Fenced,
    /// It joins its group: not before it has the entry that added it, once that is known.
    Joining(Option<LogId>),
}

/// How a group is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// As it was marked before, or for the first time.
    AsMarked,
    /// Its folder is missing although it was opened before: it is fenced from now on.
    Lost,
    /// As a new replica of a group that has started: it joins.
    Joins,
}

type Marks = BTreeMap<GroupId, Mark>;

/// The marks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GroupMarks(Arc<Inner>);

struct Inner {
    fs: Arc<dyn Fs>,
    files: FilePair,
    /// As on disk.
    marks: ArcSwap<Marks>,
    /// Held during a change.
    changing: Mutex<()>,
    /// Notified when a replica that joins runs.
    joining: Notify,
}

impl GroupMarks {
    /// Reads the files of a data directory.
    pub(crate) async fn load(
        fs: Arc<dyn Fs>,
        dir: &Path,
        storage: Storage,
    ) -> Result<Self, IncarnationError> {
        let dir = dir.to_owned();
        let read = run_blocking(move || {
            let on_disk = storage.groups().map_err(IncarnationError::List)?;
            Ok(Self::read(fs, &dir, on_disk)?)
        });
        read.await.ok_or(IncarnationError::Stopping)?
    }

    /// Reads the files. `on_disk` are the groups with a folder.
    fn read(
        fs: Arc<dyn Fs>,
        dir: &Path,
        on_disk: impl IntoIterator<Item = GroupId>,
    ) -> Result<Self, FileError> {
        let [file, copy] = [FILE, COPY].map(|name| dir.join(name));
        let files = FilePair { file, copy };
        let decoded = files.read(&*fs)?.map(|bytes| bytes.as_deref().map(decode));
        let is_whole = matches!(&decoded, [None, None])
            || matches!(&decoded, [Some(Some(file)), Some(Some(copy))] if file == copy);
        let marks = match decoded {
            [None, None] => Marks::new(),
            [Some(Some(marks)), _] => marks,
            [_, Some(Some(marks))] => {
                let path = files.file.display();
                warn!(%path, "file of opened groups was missing or damaged, restored from its copy");
                marks
            }
            _ => {
                warn!(path = %files.file.display(), "files of opened groups are damaged, all are fenced");
                let fenced = on_disk.into_iter().map(|group| (group, Mark::Fenced));
                fenced.collect()
            }
        };
        // At once, not at the next change: until then a second flipped byte would fence all groups.
        if !is_whole {
            files.replace(&*fs, encode(&marks).as_bytes())?;
        }
        Ok(Self(Arc::new(Inner {
            fs,
            files,
            marks: ArcSwap::from_pointee(marks),
            changing: Mutex::default(),
            joining: Notify::new(),
        })))
    }

    /// Whether the group was opened on this disk before.
    pub(crate) fn is_known(&self, group: GroupId) -> bool {
        self.0.marks.load().contains_key(&group)
    }

    /// The fenced groups.
    pub(crate) fn fenced(&self) -> BTreeSet<GroupId> {
        let marks = self.0.marks.load();
        let fenced = marks.iter().filter(|(_, mark)| **mark == Mark::Fenced);
        fenced.map(|(group, _)| *group).collect()
    }

    /// Whether the group is marked as one that joins.
    pub(crate) fn is_joining(&self, group: GroupId) -> bool {
        matches!(self.stage(group), FenceStage::Joining(_))
    }

    /// The stage at which the fence of a group starts.
    fn stage(&self, group: GroupId) -> FenceStage {
        match self.0.marks.load().get(&group) {
            None | Some(Mark::Open) => FenceStage::Lifted,
            Some(Mark::Fenced) => FenceStage::Asking,
            Some(Mark::Joining(target)) => FenceStage::Joining(*target),
        }
    }

    /// Marks a group before its first use. Returns the stage at which its fence starts.
    pub(crate) async fn open(
        &self,
        group: GroupId,
        opening: Opening,
    ) -> Result<FenceStage, IncarnationError> {
        self.change(move |marks| {
            let mark = marks.entry(group).or_insert(Mark::Open);
            match opening {
                Opening::AsMarked => {}
                Opening::Lost => *mark = Mark::Fenced,
                Opening::Joins => *mark = Mark::Joining(None),
            }
        })
        .await?;
        Ok(self.stage(group))
    }

    /// Records the entry that added a group that joins. Returns false if it does not join any more.
    pub(crate) async fn set_target(
        &self,
        group: GroupId,
        target: LogId,
    ) -> Result<bool, IncarnationError> {
        self.change(move |marks| {
            if let Some(mark @ Mark::Joining(None)) = marks.get_mut(&group) {
                *mark = Mark::Joining(Some(target));
            }
        })
        .await?;
        Ok(self.stage(group) == FenceStage::Joining(Some(target)))
    }

    /// Notifies that a replica that joins runs.
    pub(crate) fn notify_joining(&self) {
        self.0.joining.notify_one();
    }

    /// Waits for that.
    pub(crate) async fn wait_joining(&self) {
        self.0.joining.notified().await;
    }

    /// Fences these groups and all that are known.
    pub(crate) async fn fence_all(
        &self,
        on_disk: impl IntoIterator<Item = GroupId>,
    ) -> Result<(), IncarnationError> {
        let on_disk: Vec<GroupId> = on_disk.into_iter().collect();
        self.change(move |marks| {
            let known: Vec<GroupId> = marks.keys().copied().collect();
            let all = known.into_iter().chain(on_disk);
            marks.extend(all.map(|group| (group, Mark::Fenced)));
        })
        .await
    }

    /// Lifts the fence of a group.
    pub(crate) async fn lift(&self, group: GroupId) -> Result<(), IncarnationError> {
        self.change(move |marks| {
            marks.insert(group, Mark::Open);
        })
        .await
    }

    /// Forgets a group whose files were deleted.
    pub(crate) async fn forget(&self, group: GroupId) -> Result<(), IncarnationError> {
        self.change(move |marks| {
            marks.remove(&group);
        })
        .await
    }

    /// Changes the marks on disk, then in memory.
    async fn change(&self, change: impl FnOnce(&mut Marks)) -> Result<(), IncarnationError> {
        let _changing = self.0.changing.lock().await;
        let before = self.0.marks.load_full();
        let mut after = Marks::clone(&before);
        change(&mut after);
        if after == *before {
            return Ok(());
        }
        let text = encode(&after);
        let inner = Arc::clone(&self.0);
        let written = run_blocking(move || inner.files.replace(&*inner.fs, text.as_bytes()));
        written.await.ok_or(IncarnationError::Stopping)??;
        self.0.marks.store(Arc::new(after));
        Ok(())
    }
}

fn encode(marks: &Marks) -> String {
    let lines = marks.iter().map(|(group, mark)| {
        let mark = match mark {
            Mark::Open => "open".to_owned(),
            Mark::Fenced => "fenced".to_owned(),
            Mark::Joining(None) => "joining".to_owned(),
            Mark::Joining(Some(LogId { term, index })) => {
                format!("joining {} {}", term.get(), index.get())
            }
        };
        format!("{} {mark}\n", group.get())
    });
    with_checksum(&lines.collect::<String>())
}

fn decode(bytes: &[u8]) -> Option<Marks> {
    let text = without_checksum(bytes)?;
    let marks = text.lines().map(|line| {
        let (group, mark) = line.split_once(' ')?;
        let mark = match mark.split(' ').collect::<Vec<_>>()[..] {
            ["open"] => Mark::Open,
            ["fenced"] => Mark::Fenced,
            ["joining"] => Mark::Joining(None),
            ["joining", term, index] => {
                let (term, index) = (Term(term.parse().ok()?), LogIndex(index.parse().ok()?));
                Mark::Joining(Some(LogId { term, index }))
            }
            _ => return None,
        };
        Some((GroupId(group.parse().ok()?), mark))
    });
    marks.collect()
}

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    fn marks_in(dir: &Path, on_disk: &[u64]) -> GroupMarks {
        let on_disk = on_disk.iter().copied().map(GroupId);
        GroupMarks::read(Arc::new(RealFs), dir, on_disk).unwrap()
    }

    #[tokio::test]
    async fn marks_are_kept_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let marks = marks_in(dir.path(), &[1]);
        assert!(!marks.is_known(GroupId(1)), "an upgrade: nothing is fenced");
        let open = async |marks: &GroupMarks, group, opening| {
            marks.open(GroupId(group), opening).await.unwrap()
        };
        let (lifted, asking) = (FenceStage::Lifted, FenceStage::Asking);
        assert_eq!(open(&marks, 1, Opening::AsMarked).await, lifted);
        assert_eq!(open(&marks, 2, Opening::AsMarked).await, lifted);
        assert_eq!(open(&marks, 2, Opening::Lost).await, asking);
        let marks = marks_in(dir.path(), &[]);
        assert!(marks.is_known(GroupId(1)));
        assert_eq!(marks.fenced(), [GroupId(2)].into());
        assert_eq!(open(&marks, 2, Opening::AsMarked).await, asking);
        marks.lift(GroupId(2)).await.unwrap();
        marks.fence_all([GroupId(3)]).await.unwrap();
        marks.forget(GroupId(1)).await.unwrap();
        let marks = marks_in(dir.path(), &[]);
        assert_eq!(marks.fenced(), [GroupId(2), GroupId(3)].into());
        assert!(!marks.is_known(GroupId(1)));
    }

    #[tokio::test]
    async fn a_replica_that_joins_still_does_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (group, target) = (
            GroupId(7),
            LogId {
                term: Term(3),
                index: LogIndex(41),
            },
        );
        let marks = marks_in(dir.path(), &[]);
        assert!(!marks.set_target(group, target).await.unwrap(), "unknown");
        let joins = marks.open(group, Opening::Joins).await.unwrap();
        assert_eq!(joins, FenceStage::Joining(None));
        let marks = marks_in(dir.path(), &[]);
        assert!(marks.is_joining(group) && marks.fenced().is_empty());
        assert!(marks.set_target(group, target).await.unwrap());
        let other = LogId {
            index: LogIndex(50),
            ..target
        };
        assert!(!marks.set_target(group, other).await.unwrap(), "it has one");
        let marks = marks_in(dir.path(), &[]);
        let opened = marks.open(group, Opening::AsMarked).await.unwrap();
        assert_eq!(opened, FenceStage::Joining(Some(target)));
        marks.lift(group).await.unwrap();
        assert!(!marks_in(dir.path(), &[]).is_joining(group));
    }

    #[tokio::test]
    async fn damage_fences_all_groups_with_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let marks = marks_in(dir.path(), &[]);
        marks.open(GroupId(1), Opening::AsMarked).await.unwrap();
        let [file, copy] = [FILE, COPY].map(|name| dir.path().join(name));
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            for path in [&file, &copy] {
                std::fs::write(path, &damaged).unwrap();
                assert!(
                    marks_in(dir.path(), &[1, 4]).fenced().is_empty(),
                    "byte {at}"
                );
                let restored = [&file, &copy].map(|path| std::fs::read(path).unwrap());
                assert_eq!(restored, [whole.clone(), whole.clone()], "byte {at}");
            }
            std::fs::write(&file, &damaged).unwrap();
            std::fs::write(&copy, &damaged).unwrap();
            let fenced = marks_in(dir.path(), &[1, 4]).fenced();
            assert_eq!(fenced, [GroupId(1), GroupId(4)].into(), "byte {at}");
            assert_eq!(marks_in(dir.path(), &[]).fenced(), fenced, "written too");
            std::fs::write(&file, &whole).unwrap();
            std::fs::write(&copy, &whole).unwrap();
        }
    }
}
