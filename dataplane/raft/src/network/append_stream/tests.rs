//! The window of an append stream against a hand-driven transport.

use std::collections::VecDeque;

use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use lograft_core::{LogId, LogIndex, Term, Vote};
use tokio::sync::mpsc;

use super::super::stream_abort::AppendStreams;
use super::*;
use crate::convert::{log_id_to_raft, vote_to_raft};

const PEER: NodeId = NodeId(2);
const LAST: LogId = LogId {
    term: Term(1),
    index: LogIndex(1),
};
const VOTE: Vote = Vote {
    term: Term(1),
    voted_for: NodeId(1),
    committed: true,
};

fn request() -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        vote: vote_to_raft(VOTE),
        prev_log_id: Some(log_id_to_raft(LAST)),
        entries: Vec::new(),
        leader_commit: None,
    }
}

/// An endless input. The second value has a reference count of 1 once the input is dropped.
fn endless() -> (
    impl Stream<Item = AppendEntriesRequest<Types>> + Unpin,
    Arc<()>,
) {
    let alive = Arc::new(());
    let held = alive.clone();
    let input = stream::repeat_with(move || {
        let _ = &held;
        request()
    });
    (input, alive)
}

type ReplySender = mpsc::UnboundedSender<Result<AppendReply, TransportError>>;

fn replies() -> (ReplySender, AppendReplies) {
    let (tx, mut rx) = mpsc::unbounded_channel();
    (tx, stream::poll_fn(move |cx| rx.poll_recv(cx)).boxed())
}

fn accepted() -> AppendReply {
    AppendReply::Accepted(Some(LAST))
}

#[tokio::test]
async fn a_follower_that_accepts_other_entries_than_it_was_sent_ends_the_stream() {
    let next = LogId {
        index: LogIndex(2),
        ..LAST
    };
    let older = LogId {
        term: Term(0),
        ..LAST
    };
    for wrong in [Some(next), Some(older), None] {
        let (input, alive) = endless();
        let (mut requests, guard) = windowed(input, PEER, Arc::default());
        let (tx, inner) = replies();
        let mut replies = guard.replies(inner);
        assert!(requests.next().await.is_some());
        tx.send(Ok(AppendReply::Accepted(wrong))).unwrap();
        let ended = replies.next().await;
        assert!(
            matches!(ended, Some(Err(TransportError::Refused { .. }))),
            "{wrong:?}: {ended:?}"
        );
        assert!(replies.next().await.is_none());
        assert_eq!(Arc::strong_count(&alive), 1);
    }
    // A reply to no request.
    let (_requests, guard) = windowed(endless().0, PEER, Arc::default());
    let (tx, inner) = replies();
    tx.send(Ok(accepted())).unwrap();
    let ended = guard.replies(inner).next().await;
    assert!(matches!(ended, Some(Err(TransportError::Refused { .. }))));
}

#[tokio::test]
async fn requests_in_flight_are_bounded_by_the_replies() {
    let (input, _alive) = endless();
    let (mut requests, guard) = windowed(input, PEER, Arc::default());
    let (tx, inner) = replies();
    let mut replies = guard.replies(inner);
    for _ in 0..APPEND_IN_FLIGHT_MAX_COUNT {
        assert!(requests.next().now_or_never().is_some());
    }
    assert!(
        requests.next().now_or_never().is_none(),
        "above the bound of requests in flight"
    );
    tx.send(Ok(accepted())).unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap(), accepted());
    assert!(requests.next().now_or_never().is_some());
    assert!(requests.next().now_or_never().is_none());
}

#[tokio::test]
async fn the_input_is_dropped_when_the_replies_end_or_are_dropped() {
    let conflict = AppendReply::Conflict(LogId {
        term: Term(1),
        index: LogIndex(4),
    });
    let endings = [
        Some(Ok(conflict)),
        Some(Ok(AppendReply::HigherVote(VOTE))),
        None,
    ];
    for ending in endings {
        let (input, alive) = endless();
        let (mut requests, guard) = windowed(input, PEER, Arc::default());
        let (tx, inner) = replies();
        let mut replies = guard.replies(inner);
        assert!(requests.next().await.is_some());
        let ends_by_reply = ending.is_some();
        if let Some(ending) = ending {
            tx.send(ending).unwrap();
        } else {
            drop(tx);
        }
        assert_eq!(replies.next().await.is_some(), ends_by_reply);
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "the input must be dropped while the transport still has its half"
        );
        assert!(requests.next().await.is_none());
        assert!(replies.next().await.is_none());
    }
    let (input, alive) = endless();
    let (_requests, guard) = windowed(input, PEER, Arc::default());
    drop(guard.replies(replies().1));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test]
async fn an_aborted_stream_ends_with_an_error() {
    let streams = AppendStreams::default();
    let (mut requests, guard) = windowed(stream::pending(), PEER, streams.register(PEER));
    let (_tx, inner) = replies();
    let mut replies = guard.replies(inner);
    let waiting = tokio::spawn(async move { replies.next().await });
    tokio::task::yield_now().await;
    streams.abort(NodeId(3));
    streams.abort(PEER);
    let ended = waiting.await.unwrap();
    assert!(matches!(
        ended,
        Some(Err(TransportError::Aborted { node: PEER }))
    ));
    assert!(requests.next().await.is_none());
}

#[tokio::test]
async fn a_waiting_transport_is_woken_when_the_replies_end() {
    let (mut requests, guard) = windowed(stream::pending(), PEER, Arc::default());
    let waiting = tokio::spawn(async move { requests.next().await });
    tokio::task::yield_now().await;
    drop(guard);
    assert!(waiting.await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn only_a_peer_that_owes_a_reply_times_out() {
    let (input, _alive) = endless();
    let (mut requests, guard) = windowed(input, PEER, Arc::default());
    let (tx, inner) = replies();
    let mut replies = guard.replies(inner);
    let idle = tokio::time::timeout(APPEND_STALL_MAX * 3, replies.next()).await;
    assert!(idle.is_err(), "no request is unanswered");
    // A peer that is slow but replies does not time out.
    let mut accepted_replies = VecDeque::new();
    for _ in 0..3 {
        assert!(requests.next().await.is_some());
        let late = tokio::time::timeout(APPEND_STALL_MAX / 2, replies.next()).await;
        assert!(late.is_err());
        tx.send(Ok(accepted())).unwrap();
        accepted_replies.push_back(replies.next().await.unwrap().is_ok());
    }
    assert_eq!(accepted_replies, [true; 3]);
    assert!(requests.next().await.is_some());
    let silent = tokio::time::timeout(APPEND_STALL_MAX * 2, replies.next())
        .await
        .unwrap();
    assert!(matches!(
        silent,
        Some(Err(TransportError::Timeout { node: PEER, .. }))
    ));
    assert!(requests.next().await.is_none());
}
