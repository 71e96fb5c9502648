//! The state machine of a coordinator: the consumer groups that it has, which the node that leads
//! it reads.

use std::collections::BTreeSet;
use std::collections::hash_map::{Entry as MapEntry, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lograft_core::consumer_group::{Applied, CoordinatorState, GroupCodecError, GroupCommand};
use lograft_core::{Entry, EntryKind, GroupId, LogId, LogIndex};
use lograft_raft::{BoxError, Response, StateMachine};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::fatal::{FatalError, FatalSink};

/// The applied state of a coordinator: written by its state machine, read by everyone else. Cheap
/// to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedGroups(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<CoordinatorState>,
    /// Those who wait for a change of a group, by its name. A group without them has no entry.
    listeners: Mutex<HashMap<Arc<str>, Listeners>>,
    /// Groups whose membership has changed since [`SharedGroups::take_changed`].
    changed: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Listeners {
    notify: Arc<Notify>,
    count: usize,
}

impl SharedGroups {
    /// The state itself. MUST NOT be held across an await: apply waits for the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, CoordinatorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The groups whose membership has changed since the last call. To be called all the time, or
    /// the names pile up.
    pub(crate) fn take_changed(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.changed())
    }

    fn changed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0
            .changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the membership of a group, until dropped.
    pub(crate) fn changes(&self, group: &str) -> GroupChanges {
        let name: Arc<str> = group.into();
        let mut all = self.listeners();
        let listeners = all.entry(Arc::clone(&name)).or_default();
        listeners.count += 1;
        GroupChanges {
            groups: self.clone(),
            notify: Arc::clone(&listeners.notify),
            name,
        }
    }

    fn wake(&self, group: &str) {
        if let Some(listeners) = self.listeners().get(group) {
            listeners.notify.notify_waiters();
        }
    }

    fn wake_all(&self) {
        for listeners in self.listeners().values() {
            listeners.notify.notify_waiters();
        }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<Arc<str>, Listeners>> {
        let listeners = self.0.listeners.lock();
        listeners.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes of a group's membership.
pub(crate) struct GroupChanges {
    groups: SharedGroups,
    name: Arc<str>,
    notify: Arc<Notify>,
}

impl GroupChanges {
    /// Ends at the next change after this call: to be made before the state is looked at.
    pub(crate) fn next(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for GroupChanges {
    fn drop(&mut self) {
        if let MapEntry::Occupied(mut entry) = self.groups.listeners().entry(Arc::clone(&self.name))
        {
            entry.get_mut().count -= 1;
            if entry.get().count == 0 {
                entry.remove();
            }
        }
    }
}

/// Applies the entries of a coordinator to its shared state.
pub(crate) struct CoordinatorMachine {
    group: GroupId,
    groups: SharedGroups,
    /// The consumer groups whose membership has changed since they were published.
    changed: BTreeSet<String>,
    fatal: Arc<dyn FatalSink>,
}

impl CoordinatorMachine {
    /// A state machine that applies to `groups`.
    pub(crate) fn new(group: GroupId, groups: SharedGroups, fatal: Arc<dyn FatalSink>) -> Self {
        Self {
            group,
            groups,
            changed: BTreeSet::new(),
            fatal,
        }
    }

    fn report(&self, index: LogIndex, source: GroupCodecError) {
        let group = self.group;
        self.fatal.report(FatalError::GroupCommand {
            group,
            index,
            source,
        });
    }

    /// Ends the node if a newer version wrote the state. The replica is intact and would otherwise
    /// count as corrupt.
    fn report_newer(&self, error: &GroupCodecError) {
        if let GroupCodecError::UnknownVersion { found } = error {
            let (group, found) = (self.group, *found);
            let source = GroupCodecError::UnknownVersion { found };
            self.fatal.report(FatalError::GroupState { group, source });
        }
    }

    fn apply_command(&mut self, entry: &Entry) -> Response {
        let index = entry.id.index;
        let command = match GroupCommand::decode(&entry.proposal.payload) {
            Ok(command) => command,
            // Skipping it would make this replica diverge from the others: state machine safety.
            Err(source) => {
                self.report(index, source);
                return Response::None;
            }
        };
        let outcome = self.groups.lock().apply(&command);
        if let GroupCommand::PutMembership { group, .. } = command {
            self.changed.insert(group);
        }
        match Applied::encode(&outcome) {
            Ok(bytes) => Response::Command(bytes.into()),
            Err(source) => {
                self.report(index, source);
                Response::None
            }
        }
    }
}

impl StateMachine for CoordinatorMachine {
    fn apply(&mut self, entry: &Entry) -> Response {
        match entry.proposal.kind {
            EntryKind::Command => self.apply_command(entry),
            EntryKind::Blank | EntryKind::Membership | EntryKind::Records | EntryKind::Trim => {
                Response::None
            }
        }
    }

    fn batch_done(&mut self, _applied: LogId) {
        let changed = std::mem::take(&mut self.changed);
        for group in &changed {
            self.groups.wake(group);
        }
        if !changed.is_empty() {
            self.groups.changed().extend(changed);
        }
    }

    fn checkpoint(&self) -> Bytes {
        // Encoding cannot fail: the writer is memory. It must not fall back to an empty checkpoint,
        // which would be restored as a coordinator without groups.
        let state = self.groups.lock();
        state.encode().expect("groups have an encoding").into()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let state = if bytes.is_empty() {
            CoordinatorState::default()
        } else {
            CoordinatorState::decode(bytes).inspect_err(|error| self.report_newer(error))?
        };
        *self.groups.lock() = state;
        self.changed.clear();
        self.groups.wake_all();
        Ok(())
    }
}
