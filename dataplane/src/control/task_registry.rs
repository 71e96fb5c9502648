//! Background tasks of the control loop. A task runs once at a time: the loop checks again and
//! again, and must not start a second task for the same work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lograft_core::GroupId;
use tokio::sync::Notify;

/// The work of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TaskKind {
    /// Initializes a partition's raft group, or records in the metadata that it has started.
    Start(GroupId),
    /// Reassigns a partition's replicas.
    Reassign(GroupId),
    /// Trims or purges a log.
    Retention(GroupId),
    /// Closes a corrupt replica, or reports it to the meta group.
    Repair(GroupId),
    /// Transfers a leadership to its preferred leader; one at a time.
    PreferredLeader,
    /// Hands leaderships over because the disk is low; one group after the other.
    DiskHandover,
    /// Changes the meta group's membership, or continues a decommission.
    Meta,
    /// Balances replicas.
    Rebalance,
    /// Carries out a recovery of the metadata.
    MetaRecovery,
    /// Updates this node's registration.
    Registration,
}

/// The running tasks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskRegistry {
    running: Arc<Mutex<BTreeSet<TaskKind>>>,
    wake: Arc<Notify>,
}

/// Marks a task as running until dropped.
#[derive(Debug)]
struct TaskGuard {
    running: Arc<Mutex<BTreeSet<TaskKind>>>,
    kind: TaskKind,
}

impl TaskRegistry {
    /// Spawns a task unless one of the same kind is running. A task returns whether it made
    /// progress; if so, the control loop runs again at once, otherwise after its interval.
    pub(crate) fn spawn_once(
        &self,
        kind: TaskKind,
        task: impl Future<Output = bool> + Send + 'static,
    ) {
        let Some(guard) = self.register(kind) else {
            return;
        };
        let wake = Arc::clone(&self.wake);
        tokio::spawn(async move {
            let is_progress = task.await;
            drop(guard);
            if is_progress {
                wake.notify_one();
            }
        });
    }

    /// Number of running tasks that match.
    pub(crate) fn count(&self, is_match: impl Fn(&TaskKind) -> bool) -> usize {
        let running = lock(&self.running);
        running.iter().filter(|kind| is_match(kind)).count()
    }

    /// The notification that ends the control loop's wait.
    pub(crate) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    fn register(&self, kind: TaskKind) -> Option<TaskGuard> {
        let is_new = lock(&self.running).insert(kind);
        is_new.then(|| TaskGuard {
            running: Arc::clone(&self.running),
            kind,
        })
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.kind);
    }
}

fn lock(running: &Mutex<BTreeSet<TaskKind>>) -> MutexGuard<'_, BTreeSet<TaskKind>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_runs_again_only_after_it_has_ended() {
        let tasks = TaskRegistry::default();
        let first = tasks.register(TaskKind::Reassign(GroupId(1)));
        assert!(first.is_some() && tasks.register(TaskKind::Reassign(GroupId(1))).is_none());
        assert!(
            tasks.register(TaskKind::Reassign(GroupId(2))).is_some(),
            "its guard was dropped at once"
        );
        let is_reassign = |kind: &TaskKind| matches!(kind, TaskKind::Reassign(_));
        assert_eq!(tasks.count(is_reassign), 1);
        drop(first);
        assert!(tasks.register(TaskKind::Reassign(GroupId(1))).is_some());
    }
}
