//! Real replicas on loopback, over real mTLS and real files.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lograft_core::capacity::Capacity;
use lograft_core::{
    ClusterId, Entry, EntryKind, FeatureLevel, GroupId, Incarnation, LogId, LogIndex, Proposal,
    RecoveryEpoch, Term, Vote,
};
use lograft_raft::{
    BoxError, GroupConfig, PeerTransport, RaftGroup, Response, StateMachine, TransportError, wire,
};
use lograft_storage::{GroupOptions, RealFs, Storage, StorageConfig, WriterDrive};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::*;
use crate::api::grpc::peer_checks::{Claim, GroupLookup};
use crate::api::grpc::raft_service::RaftApi;
use crate::clock::SystemClock;
use crate::config::{ConnectionSettings, TlsConfig};
use crate::host;
use crate::identity::Member;
use crate::incarnation::Incarnations;
use crate::listen::ClientTrust;
use crate::listen::{self, ListenLimits};
use crate::net::{PeerTarget, TcpNet};
use crate::pki::Ca;
use crate::recovery_epochs::{Learned, RecoveryEpochs};
use crate::tls::Port;

mod heartbeats;
mod recovery;

const GROUP: GroupId = GroupId(5);
const PATIENCE: Duration = Duration::from_secs(10);

fn cluster() -> ClusterId {
    ClusterId::from_bytes([9; 16])
}

/// Counts applied commands.
struct Counter(watch::Sender<u64>);

impl StateMachine for Counter {
    fn apply(&mut self, entry: &Entry) -> Response {
        if entry.proposal.kind == EntryKind::Command {
            self.0.send_modify(|count| *count += 1);
        }
        Response::None
    }

    fn batch_done(&mut self, _: LogId) {}

    fn checkpoint(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.borrow().to_le_bytes())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), BoxError> {
        let count = if state.is_empty() {
            0
        } else {
            u64::from_le_bytes(state.try_into()?)
        };
        self.0.send_replace(count);
        Ok(())
    }
}

#[derive(Default)]
struct Groups {
    member: Option<Member>,
    replicas: Mutex<Vec<RaftGroup>>,
    /// One for each call: its route is checked.
    calls: AtomicUsize,
    removed: Mutex<Vec<NodeId>>,
    names: Mutex<HashMap<NodeId, String>>,
    incarnations: Incarnations,
    recoveries: RecoveryEpochs,
}

impl GroupLookup for Groups {
    fn member(&self) -> Option<Member> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.member
    }

    fn group(&self, group: GroupId) -> Option<RaftGroup> {
        let replicas = self.replicas.lock().unwrap();
        replicas
            .iter()
            .find(|known| known.group() == group)
            .cloned()
    }

    fn check_claim(&self, node: NodeId, name: &str) -> Claim {
        if self.removed.lock().unwrap().contains(&node) {
            return Claim::Removed;
        }
        match self.names.lock().unwrap().get(&node) {
            None => Claim::Unknown,
            Some(known) if known == name => Claim::Confirmed,
            Some(_) => Claim::Other,
        }
    }

    fn recovery_epoch(&self, group: GroupId) -> RecoveryEpoch {
        self.recoveries.own(group)
    }

    fn learn_epoch(&self, group: GroupId, epoch: RecoveryEpoch) {
        let is_lost = false;
        self.recoveries.learn(group, Learned { epoch, is_lost });
    }

    fn count_other_epoch(&self) {
        self.recoveries.count_refused();
    }

    fn incarnations(&self) -> Option<Incarnations> {
        Some(self.incarnations.clone())
    }
}

fn exchange() -> NodeExchange {
    NodeExchange::new(Arc::new(SystemClock), FeatureLevel::CURRENT, 0)
}

struct TestNode {
    groups: Arc<Groups>,
    peers: Arc<RaftPeers>,
    raft: RaftGroup,
    applied: watch::Receiver<u64>,
    exchange: NodeExchange,
    cut: watch::Sender<bool>,
    server: JoinHandle<()>,
    _dir: TempDir,
}

fn tls(ca: &Ca, dir: &Path, role: &str) -> Arc<Tls> {
    ca.write(dir, role);
    let paths = TlsConfig {
        cert: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        ca: dir.join("ca.crt"),
    };
    Arc::new(Tls::load(paths).unwrap())
}

fn open_log(dir: &Path) -> lograft_storage::GroupLog {
    open_storage(dir, WriterDrive::Threads(1))
        .open_group(GROUP, GroupOptions::default())
        .unwrap()
        .0
}

fn open_storage(dir: &Path, writers: WriterDrive) -> Storage {
    let config = StorageConfig {
        writers,
        ..StorageConfig::new(dir.join("data"))
    };
    let fatal = Arc::new(|error| panic!("storage failed: {error}"));
    let storage = Storage::open(Arc::new(RealFs), config, fatal).unwrap();
    storage
        .write_identity(&lograft_storage::Identity {
            cluster_id: cluster(),
            node_id: NodeId(1),
        })
        .unwrap();
    storage
}

impl TestNode {
    async fn start(ca: &Ca, node: u64, book: &watch::Sender<AddressBook>) -> Self {
        Self::start_in(RecoveryEpoch::ZERO, ca, node, book).await
    }

    async fn start_in(
        epoch: RecoveryEpoch,
        ca: &Ca,
        node: u64,
        book: &watch::Sender<AddressBook>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeId(node);
        let tls = tls(ca, dir.path(), &format!("node/n{node}"));
        let metrics = Arc::new(Metrics::new().unwrap());
        let member = Member {
            cluster: cluster(),
            node,
        };
        let net: Arc<dyn Net> = Arc::new(TcpNet);

        let exchange = exchange();
        exchange.recoveries().set_own([(GROUP, epoch)].into());
        let groups = Arc::new(Groups {
            member: Some(member),
            recoveries: exchange.recoveries().clone(),
            ..Groups::default()
        });
        let (cut, is_cut) = watch::channel(false);
        let listener = net.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_address().unwrap().to_string();
        let capacity = Capacity::of(host::limits(), None);
        let limits = ListenLimits::of(Port::Peer, capacity, &ConnectionSettings::default());
        let limited = (Port::Peer, limits);
        let trust = ClientTrust {
            tls: Arc::clone(&tls),
            revocations: watch::channel(Arc::default()).1,
            answer_revoked: None,
        };
        let (incoming, _) = listen::incoming(listener, limited, trust, &metrics, is_cut);
        let lookup = Arc::clone(&groups) as Arc<dyn GroupLookup>;
        let service = RaftApi::server(lookup, exchange.clone());
        let server = tokio::spawn(async move {
            let (_running, stopped) = watch::channel(false);
            listen::serve(incoming, Routes::new(service), stopped).await;
        });
        book.send_modify(|book| drop(book.insert(node, address.into())));

        let pool = PeerPool::new(net, tls, metrics, exchange.clone(), book.subscribe());
        let peers = Arc::new(RaftPeers::new(pool, member).in_epoch(epoch));
        let (count, applied) = watch::channel(0);
        let raft = RaftGroup::start(
            GroupConfig {
                epoch,
                ..GroupConfig::new(GROUP, node)
            },
            open_log(dir.path()),
            Box::new(Counter(count)),
            Arc::clone(&peers) as Arc<dyn PeerTransport>,
        )
        .await
        .unwrap();
        groups.replicas.lock().unwrap().push(raft.clone());
        Self {
            groups,
            peers,
            raft,
            applied,
            exchange,
            cut,
            server,
            _dir: dir,
        }
    }

    /// As a killed process looks from outside.
    fn kill(&self) {
        self.server.abort();
        self.cut.send_replace(true);
    }

    async fn applied(&self, count: u64) {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= count);
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap()
            .unwrap();
    }
}

async fn three(ca: &Ca) -> (Vec<TestNode>, watch::Sender<AddressBook>) {
    let book = watch::Sender::new(AddressBook::new());
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(TestNode::start(ca, node, &book).await);
    }
    nodes[0]
        .raft
        .initialize([NodeId(1), NodeId(2), NodeId(3)].into())
        .await
        .unwrap();
    (nodes, book)
}

async fn leader_of(nodes: &[&TestNode]) -> usize {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        for (at, node) in nodes.iter().enumerate() {
            let status = node.raft.status();
            if status.is_leader() && status.ready {
                return at;
            }
        }
        assert!(tokio::time::Instant::now() < deadline, "no leader");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn propose(node: &TestNode, payload: &[u8]) {
    let proposal = Proposal::control(EntryKind::Command, 1, Bytes::copy_from_slice(payload));
    let term = node.raft.status().term;
    let handle = node.raft.propose(proposal, term).await.unwrap();
    tokio::time::timeout(PATIENCE, handle)
        .await
        .unwrap()
        .unwrap();
}

fn vote_request() -> wire::VoteRequest {
    let vote = Vote {
        term: Term(1),
        voted_for: NodeId(1),
        committed: false,
    };
    wire::VoteRequest {
        vote,
        last: None,
        pre_vote: true,
        leadership_transfer: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_agree_and_survive_a_lost_leader() {
    let ca = Ca::new();
    let (nodes, _book) = three(&ca).await;
    let all: Vec<_> = nodes.iter().collect();
    let leader = leader_of(&all).await;
    for size in [0, 1, 70_000, 1_500_000] {
        propose(all[leader], &vec![7; size]).await;
    }
    for node in &nodes {
        node.applied(4).await;
    }

    all[leader].kill();
    all[leader].raft.shutdown().await;
    let rest: Vec<_> = nodes
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != leader)
        .map(|(_, n)| n)
        .collect();
    let next = leader_of(&rest).await;
    propose(rest[next], b"after").await;
    for node in rest {
        node.applied(5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_somebody_else_is_refused() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    let vote = |to: u64, group: u64| {
        one.peers
            .vote(NodeId(to), GroupId(group), vote_request(), PATIENCE)
    };
    vote(2, GROUP.get()).await.unwrap();

    let refusal = |result: Result<wire::VoteReply, TransportError>| match result {
        Err(TransportError::Refused { source, .. }) => source.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    };
    assert!(refusal(vote(2, 77).await).contains("replica of group 77 not found"));
    assert!(matches!(
        vote(9, 5).await,
        Err(TransportError::UnknownNode(NodeId(9)))
    ));

    // Node 3's address has passed to node 2.
    book.send_modify(|book| drop(book.insert(NodeId(3), book[&NodeId(2)].clone())));
    assert!(refusal(vote(3, GROUP.get()).await).contains("this is node 2, not node 3"));

    let names = |name: &str| {
        let names = [(NodeId(1), name.to_owned())];
        *two.groups.names.lock().unwrap() = names.into();
    };
    names("n1");
    vote(2, GROUP.get()).await.unwrap();
    names("n7");
    let text = refusal(vote(2, GROUP.get()).await);
    assert!(text.contains("node/n1 is not that of node 1"), "{text}");

    two.groups.removed.lock().unwrap().push(NodeId(1));
    assert!(refusal(vote(2, GROUP.get()).await).contains("was removed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_from_or_to_an_older_disk_is_refused() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    let of = |number, session| Incarnation { number, session };
    let (sender, receiver) = (one.exchange.incarnations(), &two.groups.incarnations);
    sender.set_own(of(5, 1));
    receiver.set_own(of(9, 2));
    let vote = || one.peers.vote(NodeId(2), GROUP, vote_request(), PATIENCE);
    let refusal = |result: Result<wire::VoteReply, TransportError>| match result {
        Err(TransportError::Refused { source, .. }) => source.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    };
    vote().await.unwrap();
    assert_eq!(receiver.seen(NodeId(1)), Some(of(5, 1)));
    // Another process of the sender was there.
    assert!(receiver.observe(NodeId(1), of(7, 3)));
    assert!(refusal(vote().await).contains("the disk of node 1 is older"));
    sender.set_own(of(8, 1));
    vote().await.unwrap();
    // The sender has seen a newer process of the receiver.
    sender.observe(NodeId(2), of(10, 4));
    assert!(refusal(vote().await).contains("the disk of this node is older"));
    let heard = receiver.heard().map(|heard| heard.incarnation);
    assert_eq!(heard, Some(of(10, 4)));
    receiver.set_own(of(11, 2));
    vote().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_is_refused_by_id_and_by_ca() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let two = TestNode::start(&ca, 2, &book).await;
    let dir = tempfile::tempdir().unwrap();
    let ask = async |ca: &Ca, cluster: ClusterId| {
        let tls = tls(ca, dir.path(), "node/n1");
        let metrics = Arc::new(Metrics::new().unwrap());
        let net = Arc::new(TcpNet);
        let pool = PeerPool::new(net, tls, metrics, exchange(), book.subscribe());
        let node = NodeId(1);
        let peers = RaftPeers::new(pool, Member { cluster, node });
        peers.vote(NodeId(2), GROUP, vote_request(), PATIENCE).await
    };
    ask(&ca, cluster()).await.unwrap();
    let refused = ask(&ca, ClusterId::from_bytes([1; 16])).await;
    assert!(
        matches!(refused, Err(TransportError::Refused { .. })),
        "{refused:?}"
    );
    let stranger = ask(&Ca::new(), cluster()).await;
    assert!(
        matches!(stranger, Err(TransportError::Unreachable { .. })),
        "{stranger:?}"
    );
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_address_fails_fast_and_a_new_one_is_taken() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    let good = book.borrow()[&NodeId(2)].clone();
    // A port that was free a moment ago.
    let closed = TcpNet.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let dead: Arc<str> = closed.local_address().unwrap().to_string().into();
    drop(closed);
    book.send_modify(|book| drop(book.insert(NodeId(2), dead.into())));
    for _ in 0..20 {
        let vote = one
            .peers
            .vote(NodeId(2), GROUP, vote_request(), PATIENCE)
            .await;
        assert!(
            matches!(vote, Err(TransportError::Unreachable { .. })),
            "{vote:?}"
        );
    }
    book.send_modify(|book| drop(book.insert(NodeId(2), good)));
    one.peers
        .vote(NodeId(2), GROUP, vote_request(), PATIENCE)
        .await
        .unwrap();
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_at_a_former_address_is_passed_over() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    let three = TestNode::start(&ca, 3, &book).await;
    let address = |node: u64| book.borrow()[&NodeId(node)].label();
    let target = |name: &str| PeerTarget {
        name: Some(name.into()),
        addresses: vec![address(3), address(2)],
    };
    let by_name = [target("n2"), target("n9")];
    let mut votes = Vec::new();
    for target in by_name {
        book.send_modify(|book| drop(book.insert(NodeId(2), target)));
        votes.push(
            one.peers
                .vote(NodeId(2), GROUP, vote_request(), PATIENCE)
                .await,
        );
    }
    assert!(votes[0].is_ok(), "{:?}", votes[0]);
    assert!(
        matches!(votes[1], Err(TransportError::Unreachable { .. })),
        "nobody has that name: {:?}",
        votes[1]
    );
    drop((two, three));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_let_go_when_the_replies_end() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    // An append that does not follow on anything: a conflict, which ends the stream.
    let request = wire::AppendRequest {
        vote: Vote {
            term: Term(3),
            voted_for: NodeId(1),
            committed: true,
        },
        prev: Some(LogId {
            term: Term(2),
            index: LogIndex(40),
        }),
        entries: Vec::new(),
        leader_commit: None,
        isolated: false,
    };
    let (alive, is_dropped) = tokio::sync::oneshot::channel::<()>();
    let requests = futures_util::stream::unfold((request, Some(alive)), |state| async move {
        static SENT: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        if SENT.swap(true, std::sync::atomic::Ordering::SeqCst) {
            // A leader without new entries waits here indefinitely.
            std::future::pending::<()>().await;
        }
        Some((state.0.clone(), state))
    });
    let opened = one
        .peers
        .append_stream(NodeId(2), GROUP, Box::pin(requests));
    let mut replies = tokio::time::timeout(PATIENCE, opened)
        .await
        .unwrap()
        .unwrap();
    let first = futures_util::StreamExt::next(&mut replies).await;
    assert!(
        matches!(first, Some(Ok(wire::AppendReply::Conflict(_)))),
        "{first:?}"
    );
    let ended = futures_util::StreamExt::next(&mut replies).await;
    assert!(ended.is_none(), "{ended:?}");
    // The sender inside the request stream is dropped with it.
    assert!(
        tokio::time::timeout(PATIENCE, is_dropped)
            .await
            .unwrap()
            .is_err()
    );
    drop(two);
}
