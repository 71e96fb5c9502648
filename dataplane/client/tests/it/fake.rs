//! A cluster of fakes: nodes in this process, one runtime each so that a node can be killed with
//! all its connections, over one shared state.

mod net;
mod service;

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use lograft_client::{Client, ClientConfig, Reason};
use lograft_core::record_batch::BatchView;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::certs::Ca;

pub const TOPIC: &str = "clicks";

/// What goes wrong with one produce request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is refused and not appended.
    Reject(Reason),
    /// It is appended, yet the reply is an error.
    AppendThen(Reason),
    /// The stream ends before it is looked at.
    Drop,
    /// It is appended, and the stream ends without a reply.
    AppendThenDrop,
    /// It is appended, and another node leads from then on.
    AppendThenMoveLeader,
}

/// What goes wrong with one reply to a consumer.
#[derive(Clone, Copy, Debug)]
pub enum ReadFault {
    None,
    /// A bit is flipped on the way.
    Corrupt,
    /// The stream ends instead.
    Drop,
}

#[derive(Clone)]
pub struct Stored {
    pub base_offset: u64,
    pub count: u32,
    pub data: Bytes,
    pub crc32c: u32,
}

#[derive(Default)]
pub struct Sequence {
    pub epoch: u32,
    pub next: u64,
    /// Base sequence and base offset of the last batches.
    pub recent: VecDeque<(u64, u64)>,
}

#[derive(Default)]
pub struct Partition {
    pub leader: Option<usize>,
    pub epoch: u64,
    pub start: u64,
    pub log: Vec<Stored>,
    pub producers: BTreeMap<u64, Sequence>,
}

impl Partition {
    pub fn end(&self) -> u64 {
        self.log
            .last()
            .map_or(self.start, |b| b.base_offset + u64::from(b.count))
    }
}

#[derive(Default)]
pub struct State {
    pub addresses: Vec<SocketAddr>,
    pub topics: BTreeMap<String, Vec<Partition>>,
    pub faults: VecDeque<Fault>,
    pub read_faults: VecDeque<ReadFault>,
    pub next_producer: u64,
    /// Bytes handed to consumers' streams.
    pub served_bytes: usize,
    pub produce_requests: usize,
    /// Bytes of batches that came in.
    pub produce_bytes: usize,
    /// Take produce requests and answer none.
    pub hold: bool,
}

impl State {
    pub fn partition(&mut self, topic: &str, partition: u32) -> Option<&mut Partition> {
        self.topics.get_mut(topic)?.get_mut(partition as usize)
    }

    pub fn move_leader(&mut self, topic: &str, partition: u32) {
        let nodes = self.addresses.len();
        if let Some(partition) = self.partition(topic, partition) {
            partition.leader = partition.leader.map(|leader| (leader + 1) % nodes);
            partition.epoch += 1;
        }
    }
}

pub struct Shared {
    state: Mutex<State>,
    pub changed: Notify,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// A cluster of fakes with one topic.
pub struct Cluster {
    pub ca: Ca,
    shared: Arc<Shared>,
    nodes: Vec<Option<Runtime>>,
}

impl Cluster {
    pub fn start(nodes: usize, partitions: u32) -> Self {
        let shared = Arc::new(Shared {
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

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    pub fn notify(&self) {
        self.shared.changed.notify_waiters();
    }

    /// Ends a node and all its connections at once.
    pub fn kill(&mut self, node: usize) {
        let runtime = self.nodes[node].take().unwrap();
        // A runtime must not be ended within another.
        let end = move || runtime.shutdown_timeout(Duration::from_secs(10));
        std::thread::spawn(end).join().unwrap();
    }

    pub fn restart(&mut self, node: usize) {
        let address = self.state().addresses[node];
        let listener = until("the port is free", || TcpListener::bind(address).ok());
        self.nodes[node] = Some(self.serve(node, listener));
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.state()
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    pub fn config(&self) -> ClientConfig {
        ClientConfig {
            jitter_seed: Some(1),
            request_timeout: Duration::from_secs(10),
            ..ClientConfig::new(self.endpoints(), self.ca.client())
        }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.config()).await.unwrap()
    }

    /// Every value of a partition, in the log's order.
    pub fn values(&self, partition: u32) -> Vec<Bytes> {
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

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes
            .drain(..)
            .flatten()
            .for_each(Runtime::shutdown_background);
    }
}

/// Looks again and again until there is something; fails after 20 s.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
