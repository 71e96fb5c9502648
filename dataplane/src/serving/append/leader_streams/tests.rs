//! Requests and replies of a stream to a leader, with callers that give up at every point.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use lograft_core::acl::Principal;
use lograft_core::{Offset, Term};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::*;
use crate::serving::append_budget::AppendBudget;
use crate::serving::forward::{AppendReplies, FetchedStream, Forwarded};
use crate::serving::reply_memory::ReplyAccount;
use crate::serving::request::{
    ConsumeRequest, Content, DeleteRecordsRequest, DeletedRecords, FetchRequest, Fetched,
    ListOffsetsRequest, OffsetBounds, PlainRecord,
};

const LEADER: NodeId = NodeId(2);

/// What the leader's node does to the reply of each request.
type Distort = fn(NumberedReply) -> NumberedReply;

/// A leader that appends at an offset which equals the batch's only timestamp, so that each reply
/// shows for which batch it is. It takes one request per permit.
struct Leader {
    permits: Arc<Semaphore>,
    distort: Distort,
    /// With a permit the replies end, while the connection still takes requests.
    end: Arc<Semaphore>,
}

impl Leader {
    fn new(permits: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            distort: |reply| reply,
            end: Arc::new(Semaphore::new(0)),
        }
    }

    fn streams(self) -> LeaderStreams {
        LeaderStreams::new(Arc::new(self))
    }
}

fn reply_to(append: &NumberedAppend) -> NumberedReply {
    let Content::Plain(records) = &append.request.content else {
        panic!("only plain records are sent");
    };
    let tag = records[0].timestamp_ms.unwrap();
    NumberedReply {
        number: append.number,
        partition: append.request.target.partition,
        outcome: Ok(Appended {
            base_offset: Some(Offset(u64::try_from(tag).unwrap())),
            record_count: u32::try_from(records.len()).unwrap(),
            term: Term(1),
            append_time_ms: 0,
            is_duplicate: false,
        }),
    }
}

impl Forward for Leader {
    fn append(&self, _: NodeId, _: AppendRequest) -> Forwarded<Appended> {
        unreachable!("only streams")
    }

    fn append_stream(
        &self,
        _: NodeId,
        requests: BoxStream<'static, NumberedAppend>,
    ) -> Forwarded<AppendReplies> {
        let (permits, distort) = (Arc::clone(&self.permits), self.distort);
        let (end, (replies, taken)) = (Arc::clone(&self.end), mpsc::channel(1));
        tokio::spawn(async move {
            let mut requests = requests;
            loop {
                permits.acquire().await.unwrap().forget();
                let Some(append) = requests.next().await else {
                    return;
                };
                replies.send(Ok(distort(reply_to(&append)))).await.ok();
            }
        });
        let ended = async move { end.acquire().await.unwrap().forget() };
        let replies = ReceiverStream::new(taken).take_until(Box::pin(ended));
        std::future::ready(Ok(replies.boxed())).boxed()
    }

    fn fetch(&self, _: NodeId, _: FetchRequest, _: ReplyAccount) -> Forwarded<Fetched> {
        unreachable!("only streams")
    }

    fn consume(&self, _: NodeId, _: ConsumeRequest, _: ReplyAccount) -> Forwarded<FetchedStream> {
        unreachable!("only streams")
    }

    fn list_offsets(
        &self,
        _: NodeId,
        _: ListOffsetsRequest,
    ) -> Forwarded<Vec<(u32, Result<OffsetBounds, ApiError>)>> {
        unreachable!("only streams")
    }

    fn delete_records(&self, _: NodeId, _: DeleteRecordsRequest) -> Forwarded<DeletedRecords> {
        unreachable!("only streams")
    }
}

/// A batch of one record that is recognized by its timestamp.
fn request(tag: u64) -> AppendRequest {
    AppendRequest {
        target: Target {
            topic: "t".to_owned(),
            topic_id: None,
            partition: 3,
            is_forwarded: false,
            principal: Arc::new(Principal::Operator),
        },
        content: Content::Plain(vec![PlainRecord {
            timestamp_ms: Some(i64::try_from(tag).unwrap()),
            ..PlainRecord::default()
        }]),
        stamp: None,
        timeout: Duration::from_secs(10),
    }
}

/// Memory of a budget that is never used up.
async fn reserved() -> Reserved {
    let budget = AppendBudget::new(1000);
    budget.reserve(false, 1, Instant::now()).await.unwrap()
}

async fn offset(reply: RemoteReply) -> u64 {
    reply.await.unwrap().unwrap().base_offset.unwrap().get()
}

/// Polls a call up to `polls` times, with the other tasks in between. Returns whether it was done.
async fn give_up_after(polls: usize, call: impl Future<Output = RemoteReply>) -> bool {
    let mut call = std::pin::pin!(call);
    for _ in 0..polls {
        if call.as_mut().now_or_never().is_some() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test(start_paused = true)]
async fn a_call_cancelled_at_any_point_gives_no_other_call_its_reply() {
    // `waiting` requests are on the stream already: from none to more than it may hold.
    for waiting in 0..=FORWARD_WAITING_MAX_COUNT + 1 {
        for polls in 0..4 {
            let leader = Leader::new(0);
            let permits = Arc::clone(&leader.permits);
            let mut streams = leader.streams();
            let mut replies = Vec::new();
            for tag in 0..waiting {
                let sent = streams
                    .send(LEADER, request(tag as u64), reserved().await)
                    .now_or_never();
                replies.extend(sent.map(|reply| (tag as u64, reply)));
            }
            give_up_after(polls, streams.send(LEADER, request(100), reserved().await)).await;
            permits.add_permits(1000);
            for tag in 200..220 {
                let reply = streams.send(LEADER, request(tag), reserved().await).await;
                replies.push((tag, reply));
            }
            for (tag, reply) in replies {
                let got = offset(reply).await;
                assert_eq!(got, tag, "{waiting} waiting, cancelled after {polls} polls");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_fits_no_request_ends_the_stream_for_all_requests() {
    let wrong: [(&str, Distort); 4] = [
        ("the next request", |reply| NumberedReply {
            number: reply.number + 1000,
            ..reply
        }),
        ("no request", |reply| NumberedReply { number: 0, ..reply }),
        ("another partition", |reply| NumberedReply {
            partition: reply.partition + 1,
            ..reply
        }),
        ("another size", |mut reply| {
            if let Ok(appended) = &mut reply.outcome {
                appended.record_count += 1;
            }
            reply
        }),
    ];
    for (what, distort) in wrong {
        let leader = Leader {
            distort,
            ..Leader::new(1)
        };
        let mut streams = leader.streams();
        let first = streams.send(LEADER, request(1), reserved().await).await;
        let second = streams.send(LEADER, request(2), reserved().await).await;
        for reply in [first, second] {
            let error = outcome_of(reply, &request(0).target).await.unwrap_err();
            assert!(
                error.to_string().contains("may or may not be in the log"),
                "{what}: {error}"
            );
        }
        // The next request opens another stream.
        let third = streams.send(LEADER, request(3), reserved().await);
        assert!(third.now_or_never().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn replies_in_another_order_find_their_requests() {
    let mut waiting = Waiting::default();
    let mut receivers = Vec::new();
    for tag in 1..=3 {
        let (tx, reply) = oneshot::channel();
        waiting.push(&request(tag), tx, reserved().await);
        receivers.push(reply);
    }
    for number in [3, 1, 2] {
        let append = NumberedAppend {
            number,
            request: request(number),
        };
        let reply = reply_to(&append);
        let found = waiting.take(&reply).unwrap();
        found
            .reply
            .send(reply.outcome.map_err(ForwardError::from))
            .unwrap();
        let again = waiting.take(&reply_to(&append)).err();
        assert_eq!(again, Some(ReplyMismatch::UnknownRequest(number)));
    }
    for (tag, reply) in (1..).zip(receivers) {
        assert_eq!(offset(reply).await, tag);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_place_while_the_stream_ends_was_not_sent() {
    let leader = Leader::new(0);
    let (permits, end) = (Arc::clone(&leader.permits), Arc::clone(&leader.end));
    let mut streams = leader.streams();
    let mut lost = Vec::new();
    for tag in 0..FORWARD_WAITING_MAX_COUNT as u64 {
        lost.push(streams.send(LEADER, request(tag), reserved().await).await);
    }
    let held = reserved().await;
    let waiting = {
        let mut late = std::pin::pin!(streams.send(LEADER, request(100), held));
        assert!(late.as_mut().now_or_never().is_none(), "there was a place");
        end.add_permits(1);
        for reply in lost {
            assert!(matches!(reply.await, Ok(Err(ForwardError::Lost(_)))));
        }
        // The connection takes a request of the stream that has ended, which makes a place.
        permits.add_permits(1);
        late.await
    };
    let outcome = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    let outcome = outcome.expect("nobody answers the request");
    assert!(matches!(outcome, Ok(Err(ForwardError::Unsent(_)))));
    permits.add_permits(1000);
    let next = streams.send(LEADER, request(7), reserved().await).await;
    assert_eq!(
        offset(next).await,
        7,
        "the next request opens another stream"
    );
}
