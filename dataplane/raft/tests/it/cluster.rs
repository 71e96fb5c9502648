//! Replicas of one group, each with its own storage.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lograft_core::{ClusterId, EntryKind, GroupId, NodeId, Proposal, RecoveryEpoch, Term};
use lograft_raft::{
    Committed, ElectionTurn, GroupConfig, GroupStart, GroupStatus, ProposeError, RaftError,
    RaftGroup, RaftTiming, Role,
};
use lograft_storage::{
    Crash, FaultFs, Fs, GroupOptions, Identity, OpenError, RealFs, Storage, StorageConfig,
    StorageError,
};
use tempfile::TempDir;

use crate::net::Net;
use crate::sum::{Published, Sum, SumMachine};

pub(crate) const GROUP: GroupId = GroupId(7);
/// A timeout for every wait of a test, long enough for a busy machine.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

/// The budget of unflushed bytes of each node: less than a leader sends ahead of the replies.
pub(crate) const UNFLUSHED_MAX_BYTES: usize = 2 * 1024 * 1024;

/// The tail cache of a node on a simulated disk.
pub(crate) const FAULT_DISK_CACHE_BYTES: usize = 2 * 1024 * 1024;

/// The reserve of simulated disks.
pub(crate) const RESERVE_BYTES: u64 = 4 * 1024 * 1024;

/// Short timing, so that the tests are fast, but above scheduling noise.
fn timing() -> RaftTiming {
    RaftTiming {
        heartbeat: Duration::from_millis(60),
        election_min: Duration::from_millis(250),
        election_max: Duration::from_millis(400),
    }
}

pub(crate) struct Replica {
    pub(crate) group: RaftGroup,
    pub(crate) published: Published,
    pub(crate) storage: Storage,
}

impl Replica {
    pub(crate) fn sum(&self) -> Sum {
        self.published.lock().unwrap().1
    }
}

pub(crate) struct Cluster {
    pub(crate) net: Net,
    pub(crate) replicas: BTreeMap<NodeId, Replica>,
    segment_max_bytes: u64,
    timing: RaftTiming,
    /// The simulated disk of each node. Empty if the real file system is used.
    disks: BTreeMap<NodeId, FaultFs>,
    /// Free space below which a disk is low, bytes.
    reserve_bytes: u64,
    /// How replicas start from now on.
    pub(crate) next_start: GroupStart,
    dir: TempDir,
}

pub(crate) fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

/// A batch of `record_count` records and `payload_bytes` bytes, different for each `seed`.
pub(crate) fn batch(seed: u64, record_count: u32, payload_bytes: usize) -> Proposal {
    let mut bytes = vec![0u8; payload_bytes.max(8)];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Proposal {
        record_count,
        ..Proposal::control(EntryKind::Records, 1, Bytes::from(bytes))
    }
}

impl Cluster {
    /// A group of `voters` nodes numbered from 1, all voters, with a ready leader.
    pub(crate) async fn of(voters: u64) -> Self {
        Self::with_segments(voters, 64 * 1024 * 1024).await
    }

    pub(crate) async fn with_segments(voters: u64, segment_max_bytes: u64) -> Self {
        Self::with(voters, segment_max_bytes, timing(), BTreeMap::new()).await
    }

    /// A group on simulated disks, which can lose power.
    pub(crate) async fn on_fault_disks(voters: u64, seed: u64) -> Self {
        let disks = nodes(1..=voters).into_iter();
        let disks = disks
            .map(|node| (node, FaultFs::new(seed * 100 + node.get())))
            .collect();
        Self::with(voters, 256 * 1024, timing(), disks).await
    }

    /// A group with slow elections, so that only a leadership transfer can be fast.
    pub(crate) async fn with_slow_elections(voters: u64) -> Self {
        let (election_min, election_max) = (Duration::from_secs(2), Duration::from_millis(2500));
        let timing = RaftTiming {
            election_min,
            election_max,
            ..timing()
        };
        Self::with(voters, 64 * 1024 * 1024, timing, BTreeMap::new()).await
    }

    async fn with(
        voters: u64,
        segment_max_bytes: u64,
        timing: RaftTiming,
        disks: BTreeMap<NodeId, FaultFs>,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let (net, replicas) = (Net::default(), BTreeMap::new());
        let mut cluster = Self {
            net,
            replicas,
            segment_max_bytes,
            timing,
            reserve_bytes: if disks.is_empty() { 0 } else { RESERVE_BYTES },
            disks,
            next_start: GroupStart::default(),
            dir,
        };
        for id in 1..=voters {
            cluster.start(NodeId(id)).await;
        }
        cluster.replicas[&NodeId(1)]
            .group
            .initialize(nodes(1..=voters))
            .await
            .unwrap();
        cluster.leader().await;
        cluster
    }

    /// Opens the storage of a node.
    async fn storage(&self, node: NodeId) -> Storage {
        let mut config = StorageConfig::new(self.data_dir(node));
        config.segment_max_bytes = self.segment_max_bytes;
        config.segment_min_bytes = config.segment_min_bytes.min(self.segment_max_bytes);
        config.reserve_bytes = self.reserve_bytes;
        config.unflushed_max_bytes = UNFLUSHED_MAX_BYTES;
        if !self.disks.is_empty() {
            // Small, so that a replica that lags is served from the disk.
            config.tail_cache_max_bytes = FAULT_DISK_CACHE_BYTES;
        }
        let storage = open_storage(self.disks.get(&node), config).await;
        let cluster_id = ClusterId::from_bytes([1; 16]);
        storage
            .write_identity(&Identity {
                cluster_id,
                node_id: node,
            })
            .unwrap();
        storage
    }

    /// Starts the replica of a node, on its existing files if there are any.
    pub(crate) async fn start(&mut self, node: NodeId) {
        let started = self.start_replica(node).await;
        started.unwrap();
    }

    async fn start_replica(&mut self, node: NodeId) -> Result<(), RaftError> {
        let storage = self.storage(node).await;
        let (log, _) = storage.open_group(GROUP, GroupOptions::default()).unwrap();
        let (machine, published) = SumMachine::new();
        let config = GroupConfig {
            group: GROUP,
            node,
            epoch: RecoveryEpoch::ZERO,
            timing: self.timing,
            turn: ElectionTurn::among(&[], node),
            start: self.next_start,
        };
        let starting =
            RaftGroup::start(config, log.clone(), Box::new(machine), self.net.from(node));
        let group = match starting.await {
            Ok(group) => group,
            Err(error) => {
                assert!(log.damage().is_some(), "{error}");
                drop(log);
                storage.set_aside_group(GROUP).unwrap();
                return Err(error);
            }
        };
        self.net.attach(node, group.clone());
        self.net.reconnect(node);
        self.replicas.insert(
            node,
            Replica {
                group,
                published,
                storage,
            },
        );
        Ok(())
    }

    /// Disconnects a node and stops its replica.
    pub(crate) async fn crash(&mut self, node: NodeId) {
        self.net.cut(node);
        self.net.detach(node);
        let replica = self.replicas.remove(&node).unwrap();
        replica.group.shutdown().await;
        assert!(replica.group.status().fatal.is_none());
        replica.storage.close_group(GROUP).unwrap();
    }

    /// The data directory of a node.
    pub(crate) fn data_dir(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    /// Cuts the power of all nodes at once and restarts them.
    pub(crate) async fn power_failure(&mut self) {
        for disk in self.disks.values_mut() {
            *disk = disk.crash(Crash::Power);
        }
        let replicas = std::mem::take(&mut self.replicas);
        for (node, replica) in replicas {
            self.net.cut(node);
            self.net.detach(node);
            replica.group.shutdown().await;
        }
        let nodes: Vec<_> = self.disks.keys().copied().collect();
        for node in nodes {
            self.start(node).await;
        }
    }

    /// Restarts a node whose process has ended; what its disk has kept depends on `crash`.
    pub(crate) async fn restart(&mut self, node: NodeId, crash: Crash) {
        let disk = self.disks[&node].crash(crash);
        self.disks.insert(node, disk);
        self.net.cut(node);
        self.net.detach(node);
        if let Some(replica) = self.replicas.remove(&node) {
            replica.group.shutdown().await;
        }
        self.start(node).await;
    }

    /// The simulated disk of a node.
    pub(crate) fn disk(&self, node: NodeId) -> &FaultFs {
        &self.disks[&node]
    }

    /// Starts the replica of a node, if its log is not damaged where the start reads it: it is set
    /// aside then.
    pub(crate) async fn try_start(&mut self, node: NodeId) -> bool {
        let storage = self.storage(node).await;
        let opened = storage.open_group(GROUP, GroupOptions::default());
        let is_damaged = matches!(opened, Err(OpenError::Corrupt { .. }));
        assert!(is_damaged || opened.is_ok(), "{opened:?}");
        drop((opened, storage));
        !is_damaged && self.start_replica(node).await.is_ok()
    }

    /// Makes a part of one of a stopped node's segments unreadable.
    pub(crate) fn fail_a_segment(&self, node: NodeId, seed: u64) {
        let disk = &self.disks[&node];
        let files = disk.files().into_iter();
        let segments: Vec<_> = files
            .filter(|(path, _)| path.extension().is_some_and(|suffix| suffix == "seg"))
            .filter(|(path, _)| path.to_string_lossy().contains("group-"))
            .collect();
        let nth = usize::try_from(seed).unwrap() % segments.len();
        let (path, _) = &segments[nth];
        let at = 200 + seed * 4096 % 40_000;
        disk.fail_reads(path, at..at + 512);
    }

    /// The storage of a node without a replica.
    pub(crate) async fn stopped_storage(&self, node: NodeId) -> Storage {
        self.storage(node).await
    }

    /// Closes a node's replica and sets its files aside.
    pub(crate) async fn set_aside(&mut self, node: NodeId) {
        self.net.cut(node);
        self.net.detach(node);
        let replica = self.replicas.remove(&node).unwrap();
        replica.group.shutdown().await;
        replica.storage.set_aside_group(GROUP).unwrap();
    }

    /// Makes every further sync of a node's disk fail.
    pub(crate) fn fail_syncs(&self, node: NodeId) {
        self.disks[&node].fail_sync_after(0);
    }

    pub(crate) fn group(&self, node: NodeId) -> &RaftGroup {
        &self.replicas[&node].group
    }

    /// Waits for a ready leader.
    pub(crate) async fn leader(&self) -> NodeId {
        self.leader_among(&self.replicas.keys().copied().collect())
            .await
    }

    pub(crate) async fn leader_among(&self, among: &BTreeSet<NodeId>) -> NodeId {
        let find = || {
            let ready = self.replicas.iter().filter(|(node, replica)| {
                among.contains(node) && replica.group.watch().borrow().ready
            });
            // A disconnected old leader may still consider itself the leader.
            ready
                .max_by_key(|(_, replica)| replica.group.status().term)
                .map(|(node, _)| *node)
        };
        eventually("a leader is ready", || find().is_some()).await;
        find().unwrap()
    }

    /// Proposes to the current leader, with retries until the proposal is committed.
    pub(crate) async fn write(&self, proposal: Proposal) -> Committed {
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            let leader = self.leader().await;
            let group = self.group(leader);
            match propose(group, proposal.clone(), group.status().term).await {
                Ok(committed) => return committed,
                Err(_) if tokio::time::Instant::now() < deadline => tokio::task::yield_now().await,
                Err(error) => panic!("not committed in time: {error}"),
            }
        }
    }

    /// Waits until all running replicas have applied the same entries, and returns their sum.
    pub(crate) async fn converged(&self) -> Sum {
        let leader = self.leader().await;
        let sum = self.replicas[&leader].sum();
        for (node, replica) in &self.replicas {
            eventually(&format!("node {node} has applied {sum:?}"), || {
                replica.sum() == sum
            })
            .await;
        }
        sum
    }

    pub(crate) async fn shutdown(self) {
        for (node, replica) in &self.replicas {
            self.net.cut(*node);
            replica.group.shutdown().await;
            let status = replica.group.status();
            assert_eq!(status.role, Role::Stopped);
            assert!(status.fatal.is_none(), "{:?}", status.fatal);
        }
    }
}

/// Opens the storage of a node, once all tasks from before its restart have released it.
async fn open_storage(disk: Option<&FaultFs>, config: StorageConfig) -> Storage {
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    let (fs, may_fail): (Arc<dyn Fs>, bool) = match disk {
        Some(disk) => (Arc::new(disk.clone()), true),
        None => (Arc::new(RealFs), false),
    };
    loop {
        let on_fatal = Arc::new(move |error| assert!(may_fail, "storage failed: {error}"));
        match Storage::open(fs.clone(), config.clone(), on_fatal) {
            Ok(storage) => return storage,
            Err(StorageError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("cannot open the storage: {error}"),
        }
    }
}

pub(crate) async fn propose(
    group: &RaftGroup,
    proposal: Proposal,
    term: Term,
) -> Result<Committed, ProposeError> {
    group.propose(proposal, term).await?.await
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the current status of a replica meets `condition`.
pub(crate) async fn until(
    group: &RaftGroup,
    what: &str,
    mut condition: impl FnMut(&GroupStatus) -> bool,
) -> GroupStatus {
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        let status = group.status();
        if condition(&status) {
            return status;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
