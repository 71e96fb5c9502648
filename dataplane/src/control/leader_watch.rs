//! Watches the leaderships of all other nodes: one stream to each of them stays open. An open
//! stream also shows that the node is reachable.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use lograft_core::NodeId;
use lograft_core::limits::LEADER_WATCH_RETRY_INTERVAL;
use tokio::task::AbortHandle;
use tracing::{debug, info};

use super::known_leaders::KnownLeaders;
use super::local_member::LocalMember;
use super::peer_calls::PeerCalls;
use super::reachability::Reachability;
use crate::state_machine::MetaView;

/// Keeps a watch stream to every other member of the cluster.
#[derive(Clone)]
pub(crate) struct LeaderWatch {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) leaders: Arc<KnownLeaders>,
    pub(crate) reachability: Arc<Reachability>,
}

/// The tasks that watch nodes; aborted on drop.
#[derive(Default)]
struct WatchTasks(BTreeMap<NodeId, AbortHandle>);

impl Drop for WatchTasks {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

impl LeaderWatch {
    /// Runs until dropped. Starts and ends streams as members are added and removed.
    pub(crate) async fn run(self) {
        let mut version = self.view.watch();
        let mut tasks = WatchTasks::default();
        loop {
            let metadata = self.view.load();
            let me = self.member.node();
            let others: Vec<NodeId> = metadata
                .members()
                .map(|node| node.id)
                .filter(|id| Some(*id) != me)
                .collect();
            tasks.0.retain(|node, task| {
                let is_member = others.contains(node);
                if !is_member {
                    task.abort();
                    self.leaders.forget(*node);
                    self.reachability.set_unreachable(*node);
                }
                is_member
            });
            for node in others {
                tasks
                    .0
                    .entry(node)
                    .or_insert_with(|| tokio::spawn(self.clone().watch_node(node)).abort_handle());
            }
            if version.changed().await.is_err() {
                return;
            }
        }
    }

    async fn watch_node(self, node: NodeId) {
        loop {
            self.watch_once(node).await;
            tokio::time::sleep(LEADER_WATCH_RETRY_INTERVAL).await;
        }
    }

    async fn watch_once(&self, node: NodeId) {
        let Some(route) = self.member.route_to(node) else {
            return;
        };
        let mut stream = match self.peers.watch_leaders(route).await {
            Ok(stream) => stream,
            Err(error) => return debug!(node_id = %node, %error, "cannot open the leader watch"),
        };
        // The first item lists everything that the node leads: older announcements are void.
        self.leaders.forget(node);
        self.reachability.set_reachable(node);
        info!(node_id = %node, "node became reachable");
        while let Some(Ok(changes)) = stream.next().await {
            self.leaders.record(node, &changes);
        }
        self.reachability.set_unreachable(node);
        info!(node_id = %node, "node became unreachable");
    }
}
