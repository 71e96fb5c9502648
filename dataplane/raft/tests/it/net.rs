//! A transport between replicas in one process, with injected network faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use futures_util::{FutureExt, TryStreamExt};
use lograft_core::{GroupId, NodeId};
use lograft_raft::wire::{
    AppendReply, AppendRequest, SnapshotReply, SnapshotRequest, TransferReply, TransferRequest,
    VoteReply, VoteRequest,
};
use lograft_raft::{AppendReplies, PeerTransport, RaftError, RaftGroup, TransportError};
use tokio::sync::watch;

/// The network between all replicas. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<NetState>);

#[derive(Default)]
struct NetState {
    groups: Mutex<BTreeMap<NodeId, RaftGroup>>,
    cuts: watch::Sender<Cuts>,
    stalled: watch::Sender<BTreeSet<NodeId>>,
    loses_transfers: AtomicBool,
    snapshots: AtomicU64,
}

/// The links that are cut.
#[derive(Clone, Debug, Default)]
struct Cuts {
    /// Nodes without any link.
    alone: BTreeSet<NodeId>,
    /// Nodes that reach only each other, as the others do.
    side: BTreeSet<NodeId>,
}

impl Cuts {
    fn separate(&self, from: NodeId, to: NodeId) -> bool {
        self.alone.contains(&from)
            || self.alone.contains(&to)
            || self.side.contains(&from) != self.side.contains(&to)
    }
}

impl Net {
    pub(crate) fn attach(&self, node: NodeId, group: RaftGroup) {
        self.0.groups.lock().unwrap().insert(node, group);
    }

    pub(crate) fn detach(&self, node: NodeId) {
        self.0.groups.lock().unwrap().remove(&node);
    }

    /// Disconnects a node from all others: streams break, calls fail.
    pub(crate) fn cut(&self, node: NodeId) {
        self.0.cuts.send_modify(|cuts| {
            cuts.alone.insert(node);
        });
    }

    /// Reconnects a node.
    pub(crate) fn reconnect(&self, node: NodeId) {
        self.0.cuts.send_modify(|cuts| {
            cuts.alone.remove(&node);
        });
    }

    /// Separates these nodes from the others; none ends the separation.
    pub(crate) fn split(&self, side: &[NodeId]) {
        let side: BTreeSet<NodeId> = side.iter().copied().collect();
        self.0.cuts.send_modify(|cuts| cuts.side = side);
    }

    /// Stops all append requests to a node, while its heartbeats still arrive.
    pub(crate) fn stall(&self, node: NodeId) {
        self.0.stalled.send_modify(|stalled| {
            stalled.insert(node);
        });
    }

    pub(crate) fn unstall(&self, node: NodeId) {
        self.0.stalled.send_modify(|stalled| {
            stalled.remove(&node);
        });
    }

    /// Sets whether leadership transfer requests are lost.
    pub(crate) fn lose_transfers(&self, lose: bool) {
        self.0.loses_transfers.store(lose, Ordering::Relaxed);
    }

    /// The number of installed snapshots.
    pub(crate) fn snapshots(&self) -> u64 {
        self.0.snapshots.load(Ordering::Relaxed)
    }

    pub(crate) fn from(&self, node: NodeId) -> Arc<dyn PeerTransport> {
        Arc::new(NodeTransport {
            net: self.clone(),
            from: node,
        })
    }
}

/// The transport of one node.
struct NodeTransport {
    net: Net,
    from: NodeId,
}

impl NodeTransport {
    fn replica(&self, to: NodeId) -> Result<RaftGroup, TransportError> {
        let unreachable = || TransportError::Unreachable {
            node: to,
            source: "disconnected".into(),
        };
        if self.net.0.cuts.borrow().separate(self.from, to) {
            return Err(unreachable());
        }
        self.net
            .0
            .groups
            .lock()
            .unwrap()
            .get(&to)
            .cloned()
            .ok_or_else(unreachable)
    }

    fn call<T, F>(
        &self,
        to: NodeId,
        call: impl FnOnce(RaftGroup) -> F,
    ) -> BoxFuture<'static, Result<T, TransportError>>
    where
        F: Future<Output = Result<T, RaftError>> + Send + 'static,
        T: Send + 'static,
    {
        let called = self.replica(to).map(call);
        async move {
            called?.await.map_err(|error| TransportError::Refused {
                node: to,
                source: error.into(),
            })
        }
        .boxed()
    }
}

impl PeerTransport for NodeTransport {
    fn append_stream(
        &self,
        to: NodeId,
        _: GroupId,
        requests: BoxStream<'static, AppendRequest>,
    ) -> BoxFuture<'static, Result<AppendReplies, TransportError>> {
        let group = self.replica(to);
        let cuts = self.net.0.cuts.subscribe();
        let stalled = self.net.0.stalled.subscribe();
        let requests = requests.then(move |request| {
            let mut stalled = stalled.clone();
            async move {
                stalled
                    .wait_for(|stalled| !stalled.contains(&to))
                    .await
                    .ok();
                request
            }
        });
        let from = self.from;
        let broken = move |mut cuts: watch::Receiver<Cuts>| {
            let broken = async move {
                cuts.wait_for(|cuts| cuts.separate(from, to)).await.ok();
            };
            broken.boxed()
        };
        async move {
            let replies = group?.on_append_stream(requests.take_until(broken(cuts.clone())));
            let replies = replies.map_err(move |error| match error {
                RaftError::NoRoom => TransportError::NoRoom { node: to },
                error => TransportError::Refused {
                    node: to,
                    source: error.into(),
                },
            });
            Ok(replies.take_until(broken(cuts)).boxed())
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        to: NodeId,
        _: GroupId,
        request: AppendRequest,
        _: Duration,
    ) -> BoxFuture<'static, Result<AppendReply, TransportError>> {
        self.call(to, |group| async move { group.on_heartbeat(request).await })
    }

    fn vote(
        &self,
        to: NodeId,
        _: GroupId,
        request: VoteRequest,
        _: Duration,
    ) -> BoxFuture<'static, Result<VoteReply, TransportError>> {
        self.call(to, move |group| async move { group.on_vote(request).await })
    }

    fn install_snapshot(
        &self,
        to: NodeId,
        _: GroupId,
        request: SnapshotRequest,
        _: Duration,
    ) -> BoxFuture<'static, Result<SnapshotReply, TransportError>> {
        let net = self.net.clone();
        self.call(to, |group| async move {
            let reply = group.on_snapshot(request).await?;
            net.0.snapshots.fetch_add(1, Ordering::Relaxed);
            Ok(reply)
        })
    }

    fn transfer_leader(
        &self,
        to: NodeId,
        _: GroupId,
        request: TransferRequest,
        _: Duration,
    ) -> BoxFuture<'static, Result<TransferReply, TransportError>> {
        self.call(to, move |group| async move {
            group.on_transfer_leader(request).await
        })
    }
}
