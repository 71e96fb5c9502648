//! The groups that this node leads and can serve.

use std::sync::Arc;

use lograft_raft::RaftGroup;
use tokio::sync::watch;

use super::known_leaders::LedGroups;
use crate::serving::replica::ReplicaMap;

/// Publishes the groups that this node leads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LedGroupsPublisher {
    replicas: ReplicaMap,
    led: Arc<watch::Sender<Arc<LedGroups>>>,
}

impl LedGroupsPublisher {
    /// Without any group.
    pub(crate) fn new(replicas: ReplicaMap) -> Self {
        Self {
            replicas,
            led: Arc::default(),
        }
    }

    /// Receives the groups when they change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<LedGroups>> {
        self.led.subscribe()
    }

    /// Publishes the groups that are led now.
    pub(crate) fn publish(&self) {
        let mut led = LedGroups::new();
        let mut add = |raft: &RaftGroup| {
            let status = raft.watch();
            let status = status.borrow();
            if status.ready {
                led.insert(status.group, status.term);
            }
        };
        if let Some(meta) = self.replicas.meta() {
            add(&meta.raft);
        }
        self.replicas
            .all()
            .values()
            .for_each(|replica| add(&replica.raft));
        self.led.send_if_modified(|known| {
            let is_new = **known != led;
            if is_new {
                *known = Arc::new(led);
            }
            is_new
        });
    }
}
