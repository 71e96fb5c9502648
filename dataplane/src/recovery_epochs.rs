//! The recovery epochs of the groups on this node: that of the files of each, and later ones that
//! other nodes know of. The first are in `recovery_epochs` in the data directory.
//!
//! One line for each group that was recovered: its id and the epoch of its files; then a line with
//! the CRC-32C of the lines before it. There are two files with the same bytes, so that one flipped
//! byte costs nothing; the copy is written first. If both are damaged, the node does not start:
//! files of an earlier epoch would be taken for those of a later one, or be deleted as the former.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lograft_core::{GroupId, RecoveryEpoch};
use lograft_storage::Fs;
use tokio::sync::{Mutex, watch};
use tracing::warn;

use crate::blocking::run_blocking;
use crate::incarnation::{with_checksum, without_checksum};
use crate::small_file::{FileError, FilePair};

const FILE: &str = "recovery_epochs";
const COPY: &str = "recovery_epochs.copy";

type Epochs = BTreeMap<GroupId, RecoveryEpoch>;

/// Error of the file of recovery epochs.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryEpochError {
    /// The file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// No file is valid.
    #[error("cannot decode {path}, and no valid copy of it exists: restore it, or wipe the disk")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// The recovery epochs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RecoveryEpochs(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// As on disk.
    own: RwLock<Epochs>,
    /// Later ones of groups on this node, and whether this node is lost by them.
    learned: watch::Sender<BTreeMap<GroupId, Learned>>,
    /// Number of requests that were refused for their epoch.
    refused_count: AtomicU64,
}

/// A later epoch of a group on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    /// The epoch.
    pub(crate) epoch: RecoveryEpoch,
    /// Whether the node that knows it has said that this one was lost by the recovery.
    pub(crate) is_lost: bool,
}

impl RecoveryEpochs {
    /// The epoch of a group's files on this node.
    pub(crate) fn own(&self, group: GroupId) -> RecoveryEpoch {
        self.all_own().get(&group).copied().unwrap_or_default()
    }

    /// The epochs of all files that are of another one than 0.
    pub(crate) fn all_own(&self) -> Epochs {
        let own = self.0.own.read().unwrap_or_else(PoisonError::into_inner);
        own.clone()
    }

    /// The later epochs that this node has learned of.
    pub(crate) fn all_learned(&self) -> Epochs {
        let learned = self.0.learned.borrow();
        learned
            .iter()
            .map(|(group, learned)| (*group, learned.epoch))
            .collect()
    }

    /// The later epoch of a group that this node has learned of, if any.
    pub(crate) fn learned(&self, group: GroupId) -> Option<Learned> {
        self.0.learned.borrow().get(&group).copied()
    }

    /// Takes over that another node knows an epoch of a group of which this node has a replica.
    pub(crate) fn learn(&self, group: GroupId, news: Learned) {
        let own = self.own(group);
        self.0.learned.send_if_modified(|learned| {
            let known = learned.get(&group).copied().unwrap_or_default();
            let is_news = news.epoch > own
                && (news.epoch > known.epoch
                    || (news.epoch == known.epoch && news.is_lost && !known.is_lost));
            if is_news {
                warn!(%group, epoch = %news.epoch, %own, "group was recovered elsewhere");
                learned.insert(group, news);
            }
            is_news
        });
    }

    /// Receives what was learned.
    pub(crate) fn watch_learned(&self) -> watch::Receiver<BTreeMap<GroupId, Learned>> {
        self.0.learned.subscribe()
    }

    /// Counts a request that was refused for its epoch.
    pub(crate) fn count_refused(&self) {
        self.0.refused_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of requests that were refused for their epoch.
    pub(crate) fn refused_count(&self) -> u64 {
        self.0.refused_count.load(Ordering::Relaxed)
    }

    pub(crate) fn set_own(&self, own: Epochs) {
        self.0.learned.send_if_modified(|learned| {
            let before = learned.len();
            learned.retain(|group, news| news.epoch > own.get(group).copied().unwrap_or_default());
            learned.len() != before
        });
        *self.0.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }
}

/// The file of a data directory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RecoveryEpochFile(Arc<FileInner>);

struct FileInner {
    fs: Arc<dyn Fs>,
    files: FilePair,
    epochs: RecoveryEpochs,
    /// Held during a change.
    changing: Mutex<()>,
}

impl RecoveryEpochFile {
    /// Reads the files of a data directory into `epochs`.
    pub(crate) async fn load(
        fs: Arc<dyn Fs>,
        dir: &Path,
        epochs: RecoveryEpochs,
    ) -> Result<Self, RecoveryEpochError> {
        let [file, copy] = [FILE, COPY].map(|name| dir.join(name));
        let files = FilePair { file, copy };
        let (reading, read_files) = (Arc::clone(&fs), files.clone());
        let own = run_blocking(move || read(&*reading, &read_files))
            .await
            .ok_or(RecoveryEpochError::Stopping)??;
        epochs.set_own(own);
        Ok(Self(Arc::new(FileInner {
            fs,
            files,
            epochs,
            changing: Mutex::default(),
        })))
    }

    /// The epochs.
    pub(crate) fn epochs(&self) -> &RecoveryEpochs {
        &self.0.epochs
    }

    /// Stores the epoch of a group's files durably, then publishes it. 0 forgets the group.
    pub(crate) async fn set(
        &self,
        group: GroupId,
        epoch: RecoveryEpoch,
    ) -> Result<(), RecoveryEpochError> {
        let _changing = self.0.changing.lock().await;
        let before = self.0.epochs.all_own();
        let mut after = before.clone();
        if epoch.is_zero() {
            after.remove(&group);
        } else {
            after.insert(group, epoch);
        }
        if after == before {
            return Ok(());
        }
        let text = encode(&after);
        let inner = Arc::clone(&self.0);
        run_blocking(move || inner.files.replace(&*inner.fs, text.as_bytes()))
            .await
            .ok_or(RecoveryEpochError::Stopping)??;
        self.0.epochs.set_own(after);
        Ok(())
    }
}

fn read(fs: &dyn Fs, files: &FilePair) -> Result<Epochs, RecoveryEpochError> {
    let decoded = files.read(fs)?.map(|bytes| bytes.as_deref().map(decode));
    match decoded {
        [None, None] => Ok(Epochs::new()),
        [Some(Some(file)), Some(Some(copy))] if file == copy => Ok(file),
        [Some(Some(epochs)), _] | [_, Some(Some(epochs))] => {
            let path = files.file.display();
            warn!(%path, "a file of recovery epochs was missing or damaged, restored");
            files.replace(fs, encode(&epochs).as_bytes())?;
            Ok(epochs)
        }
        _ => Err(RecoveryEpochError::Malformed {
            path: files.file.clone(),
        }),
    }
}

fn encode(epochs: &Epochs) -> String {
    let lines = epochs
        .iter()
        .map(|(group, epoch)| format!("{} {}\n", group.get(), epoch.get()));
    with_checksum(&lines.collect::<String>())
}

fn decode(bytes: &[u8]) -> Option<Epochs> {
    let text = without_checksum(bytes)?;
    let epochs = text.lines().map(|line| {
        let (group, epoch) = line.split_once(' ')?;
        Some((
            GroupId(group.parse().ok()?),
            RecoveryEpoch(epoch.parse().ok()?),
        ))
    });
    epochs.collect()
}

#[cfg(test)]
mod tests {
    use lograft_core::NodeId;
    use lograft_storage::RealFs;

    use super::*;

    fn epoch(generation: u64) -> RecoveryEpoch {
        RecoveryEpoch::new(generation, NodeId(2)).unwrap()
    }

    async fn load(dir: &Path) -> Result<RecoveryEpochFile, RecoveryEpochError> {
        RecoveryEpochFile::load(Arc::new(RealFs), dir, RecoveryEpochs::default()).await
    }

    #[tokio::test]
    async fn epochs_are_kept_over_a_restart_and_one_flipped_byte() {
        let dir = tempfile::tempdir().unwrap();
        let file = load(dir.path()).await.unwrap();
        assert_eq!(file.epochs().own(GroupId(7)), RecoveryEpoch::ZERO);
        file.set(GroupId(7), epoch(1)).await.unwrap();
        file.set(GroupId::META, epoch(3)).await.unwrap();
        file.set(GroupId(8), epoch(1)).await.unwrap();
        file.set(GroupId(8), RecoveryEpoch::ZERO).await.unwrap();
        let [first, copy] = [FILE, COPY].map(|name| dir.path().join(name));
        let whole = std::fs::read(&first).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            for path in [&first, &copy] {
                std::fs::write(path, &damaged).unwrap();
                let file = load(dir.path()).await.unwrap();
                let expected = Epochs::from([(GroupId(7), epoch(1)), (GroupId::META, epoch(3))]);
                assert_eq!(file.epochs().all_own(), expected, "byte {at}");
                assert_eq!(std::fs::read(path).unwrap(), whole, "byte {at}");
            }
        }
        for path in [&first, &copy] {
            std::fs::write(path, b"7 1\n").unwrap();
        }
        let refused = load(dir.path()).await.map(drop).unwrap_err();
        assert!(matches!(refused, RecoveryEpochError::Malformed { .. }));
    }

    #[tokio::test]
    async fn only_later_epochs_are_news_and_storing_one_ends_the_news() {
        let dir = tempfile::tempdir().unwrap();
        let file = load(dir.path()).await.unwrap();
        let epochs = file.epochs();
        let news = |generation, is_lost| Learned {
            epoch: epoch(generation),
            is_lost,
        };
        epochs.learn(GroupId(7), news(2, false));
        epochs.learn(GroupId(7), news(1, true));
        assert_eq!(epochs.learned(GroupId(7)), Some(news(2, false)));
        epochs.learn(GroupId(7), news(2, true));
        epochs.learn(GroupId(7), news(2, false));
        assert_eq!(epochs.learned(GroupId(7)), Some(news(2, true)));
        file.set(GroupId(7), epoch(2)).await.unwrap();
        assert_eq!(epochs.learned(GroupId(7)), None);
        epochs.learn(GroupId(7), news(2, false));
        assert_eq!(epochs.learned(GroupId(7)), None, "it has that one");
    }
}
