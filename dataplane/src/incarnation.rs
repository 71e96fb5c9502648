//! The incarnations of this node and of the others, and the files that they are kept in.
//!
//! A node whose disk is older than what it has promised may not vote. It is found by its
//! incarnation ([`lograft_core::incarnation`]): each node says its own with all that it exchanges,
//! and is told what the others have seen of it. `control/disk_fence` acts on it.

pub(crate) mod group_marks;
mod number_file;
mod seen_file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lograft_core::limits::NODES_MAX_COUNT;
use lograft_core::{Incarnation, NodeId, SeenIncarnations};
use lograft_storage::{Fs, StorageError};
use tokio::sync::watch;

use crate::blocking::run_blocking;
use crate::small_file::FileError;

/// Error of a file with incarnations.
#[derive(Debug, thiserror::Error)]
pub enum IncarnationError {
    /// The file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directories of the logs cannot be read.
    #[error("cannot list the logs")]
    List(#[source] StorageError),
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// The incarnations of this node and the others. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Incarnations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: RwLock<State>,
    /// A newer incarnation of this node that others have seen.
    heard: watch::Sender<Option<Heard>>,
}

/// A newer incarnation of this node than this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The newest one.
    pub(crate) incarnation: Incarnation,
    /// Whether its process runs: a node that had answered before has heard of it since. The first
    /// answer of a node may be a memory from before this process.
    pub(crate) is_live: bool,
}

#[derive(Debug, Default)]
struct State {
    own: Option<Incarnation>,
    seen: SeenIncarnations,
    /// The nodes that have said what they have seen of this one.
    answered: BTreeSet<NodeId>,
    /// Whether one of them has seen this process, and none newer.
    is_confirmed: bool,
}

impl Incarnations {
    /// This process's incarnation; `None` before it is raised.
    pub fn own(&self) -> Option<Incarnation> {
        self.read().own
    }

    /// Publishes this process's incarnation. It MUST be on disk.
    pub(crate) fn set_own(&self, own: Incarnation) {
        self.write().own = Some(own);
        self.0.heard.send_if_modified(|heard| {
            heard
                .take_if(|heard| !own.is_behind(heard.incarnation))
                .is_some()
        });
    }

    /// The newest incarnation of another node.
    pub(crate) fn seen(&self, node: NodeId) -> Option<Incarnation> {
        self.read().seen.get(node)
    }

    /// All that was seen of other nodes.
    pub(crate) fn all_seen(&self) -> SeenIncarnations {
        self.read().seen.clone()
    }

    /// Takes over what was seen before this process.
    pub(crate) fn set_seen(&self, seen: SeenIncarnations) {
        self.write().seen = seen;
    }

    /// Forgets all nodes but these.
    pub(crate) fn retain(&self, is_member: impl Fn(NodeId) -> bool) {
        self.write().seen.retain(is_member);
    }

    /// Takes over what another node says of itself. Returns whether it is current: if not, the node
    /// is on an older disk.
    pub fn observe(&self, node: NodeId, incarnation: Incarnation) -> bool {
        if self.seen(node) == Some(incarnation) {
            return true;
        }
        let seen = &mut self.write().seen;
        if seen.get(node).is_none() && seen.len() >= NODES_MAX_COUNT {
            return true;
        }
        seen.observe(node, incarnation)
    }

    /// Takes over what another node has seen of this one.
    pub fn hear_of_self(&self, from: NodeId, seen: Incarnation) {
        let mut state = self.write();
        let Some(own) = state.own else { return };
        if !own.is_behind(seen) {
            state.is_confirmed |= own.session == seen.session;
            return;
        }
        state.is_confirmed = false;
        let is_live = state.answered.contains(&from);
        drop(state);
        self.0.heard.send_if_modified(|heard| {
            let known = heard.map(|heard| heard.incarnation);
            let is_news = known.is_none_or(|known| seen.number > known.number);
            let was_live = heard.is_some_and(|heard| heard.is_live);
            if is_news {
                *heard = Some(Heard {
                    incarnation: seen,
                    is_live: is_live || was_live,
                });
            }
            is_news
        });
    }

    /// Notes that a node has said what it has seen of this one, if anything.
    pub fn set_answered(&self, node: NodeId) {
        let mut state = self.write();
        if state.answered.len() < NODES_MAX_COUNT {
            state.answered.insert(node);
        }
    }

    /// Whether another node has seen this process, and none has seen a newer one.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.read().is_confirmed
    }

    /// Whether another node has said what it has seen of this one.
    pub(crate) fn has_answers(&self) -> bool {
        !self.read().answered.is_empty()
    }

    /// Whether all of these nodes have said what they have seen of this one.
    pub(crate) fn have_answered(&self, nodes: &[NodeId]) -> bool {
        let state = self.read();
        nodes.iter().all(|node| state.answered.contains(node))
    }

    /// The newest incarnation that others have seen of this node, if this process is behind it.
    pub(crate) fn heard(&self) -> Option<Heard> {
        *self.0.heard.borrow()
    }

    /// Receives changes of [`Self::heard`].
    pub(crate) fn watch_heard(&self) -> watch::Receiver<Option<Heard>> {
        self.0.heard.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a data directory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct IncarnationFiles {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl IncarnationFiles {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { fs, dir }
    }

    /// Raises the number at the start of a process, and reads what it has seen of others before.
    ///
    /// On a full disk the number is not stored: the next start will say it again, and count as a
    /// second process. Its groups are caught up then, which is better than no start at all.
    pub(crate) async fn start(
        &self,
        known: &Incarnations,
    ) -> Result<Incarnation, IncarnationError> {
        let (number, seen) = self
            .blocking(|fs, dir| {
                let number = number_file::raise_at_start(fs, dir)?;
                Ok((number, seen_file::read(fs, dir)?))
            })
            .await?;
        let own = Incarnation {
            number,
            session: self.fs.random_u64(),
        };
        known.set_seen(seen);
        known.set_own(own);
        Ok(own)
    }

    /// Raises the number above the present one, and above `others`. Publishes it.
    pub(crate) async fn raise(
        &self,
        known: &Incarnations,
        others: u64,
    ) -> Result<(), IncarnationError> {
        let Some(own) = known.own() else {
            return Ok(());
        };
        let floor = own.number.max(others);
        let number = self
            .blocking(move |fs, dir| number_file::raise(fs, dir, floor))
            .await?;
        known.set_own(Incarnation { number, ..own });
        Ok(())
    }

    /// Stores what was seen of other nodes, durably.
    pub(crate) async fn store_seen(&self, seen: SeenIncarnations) -> Result<(), IncarnationError> {
        self.blocking(move |fs, dir| seen_file::write(fs, dir, &seen))
            .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        access: impl FnOnce(&dyn Fs, &Path) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, IncarnationError> {
        let Self { fs, dir } = self.clone();
        let accessed = run_blocking(move || access(&*fs, &dir)).await;
        Ok(accessed.ok_or(IncarnationError::Stopping)??)
    }
}

/// The checksum of a text, as a file has it.
fn checksum(text: &str) -> String {
    format!("{:08x}", crc32c::crc32c(text.as_bytes()))
}

/// A text with a checksum in its last line, as the files with several lines have it.
pub(crate) fn with_checksum(text: &str) -> String {
    format!("{text}{}\n", checksum(text))
}

/// The text without its checksum; `None` if that is wrong.
pub(crate) fn without_checksum(bytes: &[u8]) -> Option<String> {
    let whole = String::from_utf8_lossy(bytes);
    let body_len = whole.strip_suffix('\n')?.rfind('\n').map_or(0, |at| at + 1);
    let body = &whole[..body_len];
    (with_checksum(body) == whole).then(|| body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(number: u64, session: u64) -> Incarnation {
        Incarnation { number, session }
    }

    #[test]
    fn a_process_is_behind_until_its_disk_has_passed_what_others_have_seen() {
        let (known, peer) = (Incarnations::default(), NodeId(2));
        let heard = || known.heard().map(|heard| heard.incarnation);
        known.hear_of_self(peer, of(9, 9));
        assert_eq!(heard(), None, "it has said nothing yet");
        known.set_own(of(3, 1));
        known.hear_of_self(peer, of(2, 7));
        assert_eq!(heard(), None);
        known.hear_of_self(peer, of(5, 7));
        known.hear_of_self(peer, of(4, 7));
        assert_eq!(heard(), Some(of(5, 7)));
        known.hear_of_self(peer, of(6, 7));
        assert_eq!(heard(), Some(of(6, 7)), "the newest one");
        known.set_own(of(6, 1));
        assert!(heard().is_some(), "the same number of another process");
        known.set_own(of(7, 1));
        assert_eq!(heard(), None);
    }

    #[test]
    fn what_a_node_says_first_is_a_memory_and_what_it_says_later_is_news() {
        let known = Incarnations::default();
        let is_live = || known.heard().map(|heard| heard.is_live);
        let say = |node: u64, seen| {
            known.hear_of_self(NodeId(node), seen);
            known.set_answered(NodeId(node));
        };
        known.set_own(of(3, 1));
        say(2, of(5, 7));
        assert_eq!(is_live(), Some(false));
        assert!(!known.is_confirmed());
        known.set_own(of(6, 1));
        say(2, of(6, 1));
        assert!(known.is_confirmed());
        // A node that was down until now remembers more.
        say(3, of(9, 7));
        assert_eq!(is_live(), Some(false));
        assert!(!known.is_confirmed());
        known.set_own(of(10, 1));
        say(2, of(11, 7));
        assert_eq!(is_live(), Some(true));
    }

    #[test]
    fn all_must_have_answered() {
        let known = Incarnations::default();
        let nodes = [NodeId(1), NodeId(2)];
        known.set_answered(NodeId(2));
        assert!(!known.have_answered(&nodes));
        known.set_answered(NodeId(1));
        assert!(known.have_answered(&nodes) && known.have_answered(&[]));
    }

    #[test]
    fn a_changed_byte_is_found() {
        for text in ["", "1 open\n", "1 open\n2 fenced\n"] {
            let whole = with_checksum(text).into_bytes();
            assert_eq!(without_checksum(&whole).as_deref(), Some(text));
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 1;
                assert_eq!(without_checksum(&changed), None, "byte {at}");
                assert_eq!(without_checksum(&whole[..at]), None, "cut at {at}");
            }
        }
    }
}
