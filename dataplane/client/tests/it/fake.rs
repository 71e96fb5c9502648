//! A cluster of fake nodes with a shared state. Each node has its own runtime, so that it can be
//! killed together with all its connections.

pub(crate) mod groups;
mod net;
mod service;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use bytes::Bytes;
use lograft_client::{Client, ClientConfig, Reason};
use lograft_core::record_batch::BatchView;
use lograft_proto::log::v1::ConsumeRequest;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::certs::Ca;

pub(crate) const TOPIC: &str = "clicks";

/// The fault of one produce request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// No fault.
    None,
    /// The batch is refused and not appended.
    Reject(Reason),
    /// The batch is refused, for a reason of a later version, and not appended.
    RejectNewer { retryable: bool },
    /// The batch is appended, but the reply is an error.
    AppendThen(Reason),
    /// The stream ends before the request is processed.
    Drop,
    /// The batch is appended, and the stream ends without a reply.
    AppendThenDrop,
    /// The batch is appended, and another node becomes the leader.
    AppendThenMoveLeader,
    /// The batch is not appended, and the acknowledgement of another batch is sent.
    AckAnother(Other),
}

/// How the acknowledgement of another batch differs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Other {
    Request,
    Topic,
    Partition,
    RecordCount,
}

/// The fault of one reply to a consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReadFault {
    None,
    /// A bit is flipped in transit.
    Corrupt,
    /// The stream ends instead.
    Drop,
    /// The stream ends for a reason of a later version.
    Newer {
        retryable: bool,
    },
    /// The stream ends for this reason.
    Reject(Reason),
}

#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) base_offset: u64,
    pub(crate) count: u32,
    pub(crate) data: Bytes,
    pub(crate) crc32c: u32,
}

#[derive(Default)]
pub(crate) struct Sequence {
    pub(crate) epoch: u32,
    pub(crate) next: u64,
    /// Base sequence and base offset of the last batches.
    pub(crate) recent: VecDeque<(u64, u64)>,
}

#[derive(Default)]
pub(crate) struct Partition {
    pub(crate) leader: Option<usize>,
    pub(crate) epoch: u64,
    pub(crate) start: u64,
    pub(crate) log: Vec<Stored>,
    pub(crate) producers: BTreeMap<u64, Sequence>,
}

impl Partition {
    pub(crate) fn end(&self) -> u64 {
        self.log
            .last()
            .map_or(self.start, |b| b.base_offset + u64::from(b.count))
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) topics: BTreeMap<String, Vec<Partition>>,
    pub(crate) faults: VecDeque<Fault>,
    pub(crate) read_faults: VecDeque<ReadFault>,
    pub(crate) next_producer: u64,
    /// Bytes sent to consumers.
    pub(crate) served_bytes: usize,
    /// Nodes that lost the leadership continue to serve readers, as if they forwarded.
    pub(crate) forwards_reads: bool,
    /// Nodes that have served readers.
    pub(crate) served_by: BTreeSet<usize>,
    pub(crate) produce_requests: usize,
    /// The topics' own limit for batches.
    pub(crate) batch_max_bytes: Option<u32>,
    /// Bytes of received batches.
    pub(crate) produce_bytes: usize,
    /// Accept produce requests and never reply.
    pub(crate) hold: bool,
    /// The version of the metadata.
    pub(crate) metadata_version: u64,
    /// Nodes with an old copy of the metadata, of this version, without any topic.
    pub(crate) lagging: BTreeMap<usize, u64>,
    /// Nodes that say so if they are asked for their metadata.
    pub(crate) not_ready: BTreeSet<usize>,
    /// Nodes that have returned metadata, in order.
    pub(crate) metadata_by: Vec<usize>,
    /// Calls of clients that only asked whether a node replies.
    pub(crate) probes: usize,
    /// Zones of the nodes.
    pub(crate) zones: BTreeMap<usize, &'static str>,
    /// Nodes whose replicas are behind, and say so.
    pub(crate) behind: BTreeSet<usize>,
    /// Nodes of a version before 0.3.0, which forward reads to the leader.
    pub(crate) former: BTreeSet<usize>,
    /// Nodes that answer with this end of the log, whatever they are told.
    pub(crate) old_ends: BTreeMap<usize, u64>,
    /// The requests of consumers, with the nodes that got them.
    pub(crate) consumes: Vec<(usize, ConsumeRequest)>,
    /// If set, no node finds a leader for offsets, and says so after this time.
    pub(crate) leaderless_after: Option<Duration>,
    /// How many replies with offsets say that the partitions have no leader.
    pub(crate) offsets_without_leader: u32,
    pub(crate) groups: BTreeMap<String, groups::FakeGroup>,
}

impl State {
    pub(crate) fn partition(&mut self, topic: &str, partition: u32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.get_mut(partition as usize)
    }

    pub(crate) fn move_leader(&mut self, topic: &str, partition: u32) {
        let nodes = self.addresses.len();
        if let Some(partition) = self.partition(topic, partition) {
            partition.leader = partition.leader.map(|leader| (leader + 1) % nodes);
            partition.epoch += 1;
        }
    }
}

pub(crate) struct ClusterState {
    state: Mutex<State>,
    pub(crate) changed: Notify,
}

impl ClusterState {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// A cluster of fake nodes with one topic.
pub(crate) struct Cluster {
    pub(crate) ca: Ca,
    shared: Arc<ClusterState>,
    nodes: Vec<Option<Runtime>>,
}

impl Cluster {
    pub(crate) fn start(nodes: usize, partitions: u32) -> Self {
        let shared = Arc::new(ClusterState {
            state: Mutex::default(),
            changed: Notify::new(),
        });
        let leader = |partition: u32| Some(partition as usize % nodes);
        let partitions = (0..partitions)
            .map(|p| Partition {
                leader: leader(p),
                epoch: 1,
                ..Partition::default()
            })
            .collect();
        shared.state().topics.insert(TOPIC.to_owned(), partitions);
        let mut cluster = Self {
            ca: Ca::new(),
            shared,
            nodes: Vec::new(),
        };
        for node in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            cluster
                .state()
                .addresses
                .push(listener.local_addr().unwrap());
            let runtime = cluster.serve(node, listener);
            cluster.nodes.push(Some(runtime));
        }
        cluster
    }

    fn serve(&self, node: usize, listener: TcpListener) -> Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(net::serve(
            listener,
            net::server_tls(&self.ca),
            service::Fake {
                node,
                shared: Arc::clone(&self.shared),
            },
        ));
        runtime
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Streams look at the state again.
    pub(crate) fn notify(&self) {
        self.shared.changed.notify_waiters();
    }

    /// Ends a node and all its connections.
    pub(crate) fn kill(&mut self, node: usize) {
        let runtime = self.nodes[node].take().unwrap();
        // A runtime must not be shut down within another one.
        let end = move || runtime.shutdown_timeout(Duration::from_secs(10));
        std::thread::spawn(end).join().unwrap();
    }

    /// Stops all of a node, as SIGSTOP does: its kernel accepts connections and bytes, and nothing
    /// is answered until the guard is dropped.
    pub(crate) fn hang(&self, node: usize) -> Hung {
        let (resume, resumed) = mpsc::channel();
        let (hangs, is_hanging) = mpsc::channel();
        // The only thread of the node.
        self.nodes[node].as_ref().unwrap().spawn(async move {
            hangs.send(()).unwrap();
            let _ = resumed.recv();
        });
        is_hanging.recv().unwrap();
        Hung { _resume: resume }
    }

    pub(crate) fn restart(&mut self, node: usize) {
        let address = self.state().addresses[node];
        let listener = until("the port is free", || TcpListener::bind(address).ok());
        self.nodes[node] = Some(self.serve(node, listener));
    }

    /// Starts a node that was killed on another port.
    pub(crate) fn restart_elsewhere(&mut self, node: usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.state().addresses[node] = listener.local_addr().unwrap();
        self.nodes[node] = Some(self.serve(node, listener));
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.state()
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig {
            jitter_seed: Some(1),
            request_timeout: Duration::from_secs(10),
            ..ClientConfig::new(self.endpoints(), self.ca.client())
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.config()).await.unwrap()
    }

    /// All values of a partition, in log order.
    pub(crate) fn values(&self, partition: u32) -> Vec<Bytes> {
        let mut state = self.state();
        let log = &state.partition(TOPIC, partition).unwrap().log;
        let views = log
            .iter()
            .map(|b| BatchView::parse(b.data.clone()).unwrap());
        views
            .flat_map(|view| view.records().unwrap())
            .map(|record| record.unwrap().value.unwrap())
            .collect()
    }
}

/// A node that hangs for as long as this exists.
pub(crate) struct Hung {
    _resume: mpsc::Sender<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes
            .drain(..)
            .flatten()
            .for_each(Runtime::shutdown_background);
    }
}

/// Polls until there is a value. Fails after 20 s.
pub(crate) fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
