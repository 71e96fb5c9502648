//! Requests between replicas of different recovery epochs.

use futures_util::StreamExt;
use futures_util::stream;

use super::*;

fn heartbeat() -> wire::AppendRequest {
    wire::AppendRequest {
        vote: vote_request().vote,
        prev: None,
        entries: Vec::new(),
        leader_commit: None,
        isolated: false,
    }
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, TransportError>) {
    let error = answer.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
}

/// The replica of the survivor, that of an old member, and what each learns from the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_two_recovery_epochs_do_not_reach_each_other() {
    let ca = Ca::new();
    let (book, _known) = watch::channel(AddressBook::new());
    let later = RecoveryEpoch::new(1, NodeId(1)).unwrap();
    let survivor = TestNode::start_in(later, &ca, 1, &book).await;
    let before = survivor.raft.status().term;
    for ask in 0..5 {
        let old = TestNode::start(&ca, 2, &book).await;
        assert_eq!(old.exchange.recoveries().learned(GROUP), None);
        let (to, peers) = (NodeId(1), &old.peers);
        match ask {
            0 => assert_refused(peers.vote(to, GROUP, vote_request(), PATIENCE).await),
            1 => assert_refused(peers.heartbeat(to, GROUP, heartbeat(), PATIENCE).await),
            2 => {
                let requests = stream::iter([heartbeat()]).boxed();
                assert_refused(peers.append_stream(to, GROUP, requests).await.map(drop));
            }
            3 => {
                let (to, peers) = (NodeId(2), &survivor.peers);
                assert_refused(peers.heartbeat(to, GROUP, heartbeat(), PATIENCE).await);
            }
            _ => {
                let (to, peers) = (NodeId(2), &survivor.peers);
                assert_refused(peers.vote(to, GROUP, vote_request(), PATIENCE).await);
            }
        }
        let learned = old.exchange.recoveries().learned(GROUP);
        assert_eq!(learned.map(|learned| learned.epoch), Some(later), "{ask}");
        let refused = &[&survivor, &old].map(|node| node.exchange.recoveries().refused_count());
        assert!(refused.iter().any(|count| *count > 0), "{ask}");
        assert_eq!(old.raft.status().term.get(), 0, "{ask}");
        old.kill();
    }
    assert_eq!(survivor.raft.status().term, before);
    assert_eq!(survivor.exchange.recoveries().learned(GROUP), None);
}
