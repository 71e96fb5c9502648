//! Heartbeats of many groups to one node.

use std::time::Instant;

use futures_util::future::join_all;
use lograft_core::{DiskMark, DiskReading};

use super::*;
use crate::exchange::{LocalState, PeerReading};

/// Node 1's first heartbeat as the leader of a group: the follower's vote changes with it.
fn heartbeat() -> wire::AppendRequest {
    wire::AppendRequest {
        vote: Vote {
            term: Term(1),
            voted_for: NodeId(1),
            committed: true,
        },
        prev: None,
        entries: Vec::new(),
        leader_commit: None,
        isolated: false,
    }
}

/// More groups on a node, all on one storage.
async fn open_groups(
    node: &TestNode,
    (dir, writers): (&Path, WriterDrive),
    groups: std::ops::Range<u64>,
) {
    let storage = open_storage(dir, writers);
    for group in groups.map(GroupId) {
        let (log, _) = storage.open_group(group, GroupOptions::default()).unwrap();
        let raft = RaftGroup::start(
            GroupConfig::new(group, NodeId(2)),
            log,
            Box::new(Counter(watch::Sender::new(0))),
            Arc::clone(&node.peers) as Arc<dyn PeerTransport>,
        )
        .await
        .unwrap();
        node.groups.replicas.lock().unwrap().push(raft);
    }
}

async fn ask(
    from: &TestNode,
    group: u64,
    timeout: Duration,
) -> Result<wire::AppendReply, TransportError> {
    let (to, group) = (NodeId(2), GroupId(group));
    from.peers.heartbeat(to, group, heartbeat(), timeout).await
}

fn calls_taken(node: &TestNode) -> usize {
    node.groups.calls.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_and_their_answers_carry_readings() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    let disk = DiskReading {
        mark: DiskMark::Low,
        free_bytes: 5,
        total_bytes: 9,
        ..DiskReading::default()
    };
    two.exchange.set_local(LocalState {
        disk,
        oldest_unflushed: Duration::from_millis(30),
    });
    let before = one.exchange.own().clock_ms;
    ask(&one, GROUP.get(), PATIENCE).await.unwrap();
    let PeerReading { reading, .. } = one.exchange.peer(NodeId(2)).unwrap();
    assert_eq!((reading.disk, reading.level), (disk, FeatureLevel::CURRENT));
    assert_eq!(reading.oldest_unflushed, Duration::from_millis(30));
    assert!(reading.clock_ms >= before);
    let back = two.exchange.peer(NodeId(1)).unwrap();
    assert!(back.reading.clock_ms >= before);
    assert_eq!(back.reading.disk.mark, DiskMark::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_share_calls() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    let dir = tempfile::tempdir().unwrap();
    open_groups(&two, (dir.path(), WriterDrive::Threads(1)), 100..140).await;

    // All at once, then one after the other like raft's ticks.
    let all = (100..140).map(|group| ask(&one, group, PATIENCE));
    for reply in join_all(all).await {
        assert_eq!(reply.unwrap(), wire::AppendReply::Accepted(None));
    }
    let at_once = calls_taken(&two);
    assert!(at_once <= 2, "{at_once} calls for 40 heartbeats at once");

    let began = Instant::now();
    let spread = (100..140).map(async |group| {
        tokio::time::sleep(Duration::from_millis(5 * (group - 100))).await;
        ask(&one, group, PATIENCE).await
    });
    for reply in join_all(spread).await {
        assert_eq!(reply.unwrap(), wire::AppendReply::Accepted(None));
    }
    let windows = began.elapsed().as_millis() / 20;
    let calls = calls_taken(&two) - at_once;
    assert!(calls > 1, "they came in one call, long after the first");
    assert!(
        calls as u128 <= windows + 2,
        "{calls} calls for 40 heartbeats within {windows} gathering times"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_alone_goes_at_once() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    ask(&one, GROUP.get(), PATIENCE).await.unwrap();
    // The fastest of several: the machine may be busy. A heartbeat that waits for others takes 20
    // ms.
    let mut best = Duration::MAX;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let began = Instant::now();
        ask(&one, GROUP.get(), PATIENCE).await.unwrap();
        best = best.min(began.elapsed());
    }
    assert!(best < Duration::from_millis(15), "{best:?}");
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_group_is_refused_alone() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    ask(&one, GROUP.get(), PATIENCE).await.unwrap();
    let before = calls_taken(&two);
    let (unknown, known, also_unknown) = tokio::join!(
        ask(&one, 77, PATIENCE),
        ask(&one, GROUP.get(), PATIENCE),
        ask(&one, 78, PATIENCE)
    );
    assert!(calls_taken(&two) - before < 3, "each had its own call");
    assert_eq!(known.unwrap(), wire::AppendReply::Accepted(None));
    for (group, result) in [(77, unknown), (78, also_unknown)] {
        let Err(TransportError::Refused { source, .. }) = result else {
            panic!("expected a refusal, got {result:?}");
        };
        let told = source.to_string();
        assert!(
            told.contains(&format!("replica of group {group} not found")),
            "{told}"
        );
    }

    two.groups.removed.lock().unwrap().push(NodeId(1));
    let removed = ask(&one, GROUP.get(), PATIENCE).await;
    assert!(
        matches!(removed, Err(TransportError::Refused { .. })),
        "{removed:?}"
    );
    let (to, stranger) = (NodeId(9), one.peers.clone());
    let nobody = stranger.heartbeat(to, GROUP, heartbeat(), PATIENCE).await;
    assert!(
        matches!(nobody, Err(TransportError::UnknownNode(NodeId(9)))),
        "{nobody:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_group_holds_up_no_other() {
    let ca = Ca::new();
    let book = watch::Sender::new(AddressBook::new());
    let one = TestNode::start(&ca, 1, &book).await;
    let two = TestNode::start(&ca, 2, &book).await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Its vote never reaches the disk, and it answers only then.
    open_groups(&two, (dirs[0].path(), WriterDrive::Manual), 100..101).await;
    open_groups(&two, (dirs[1].path(), WriterDrive::Threads(1)), 101..111).await;

    let patience = Duration::from_secs(4);
    ask(&one, GROUP.get(), PATIENCE).await.unwrap();
    let began = Instant::now();
    let stuck = ask(&one, 100, patience);
    let others = async {
        // In the same call as the stuck one, and in later ones.
        for _ in 0..3 {
            let all = (101..111).map(|group| ask(&one, group, PATIENCE));
            for reply in join_all(all).await {
                assert_eq!(reply.unwrap(), wire::AppendReply::Accepted(None));
            }
        }
        began.elapsed()
    };
    let (stuck, others) = tokio::join!(stuck, others);
    assert!(others < patience / 2, "the others took {others:?}");
    assert!(
        matches!(stuck, Err(TransportError::Timeout { after, .. }) if after == patience),
        "{stuck:?}"
    );
    assert!(began.elapsed() >= patience);
}
