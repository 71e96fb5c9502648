//! Heartbeats to the other replicas. Heartbeats of all groups to the same node share calls, and
//! each gets its answer as soon as its group has answered.
//!
//! Raft spreads the ticks of a node's groups over the heartbeat interval, and a call takes less
//! than a millisecond: collecting heartbeats only while a call is in progress would collect almost
//! none. So calls to a node are paced. The first heartbeat after a pause is sent at once;
//! heartbeats within `HEARTBEATS_GATHER_MAX` after it wait until that time is over and share the
//! next call. This makes ten calls per node and interval for any number of groups, and delays a
//! heartbeat by at most a tenth of its interval, while a follower starts an election only after
//! three intervals. Calls are concurrent, so a slow call delays no later one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lograft_core::limits::{GRPC_MESSAGE_MAX_BYTES, HEARTBEATS_GATHER_MAX, HEARTBEATS_MAX_COUNT};
use lograft_core::{GroupId, NodeId, RecoveryEpoch};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::heartbeat_answer::Result as AnswerResult;
use lograft_proto::raft::v1::raft_service_client::RaftServiceClient;
use lograft_raft::TransportError;
use lograft_raft::wire::{AppendReply, AppendRequest};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::status::{learn_epoch, older_disk, raft_error_of};
use super::{ChannelClass, ChannelError, PeerPool};
use crate::convert::{self, ConvertError, Route};
use crate::identity::Member;
use crate::recovery_epochs::Learned;

/// The heartbeats of a node's groups to all others.
pub(super) struct Heartbeats {
    pool: PeerPool,
    me: Member,
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
}

#[derive(Default)]
struct Peer(Mutex<Gathered<Heartbeat>>);

/// Heartbeats that wait for the next call to a node.
struct Gathered<T> {
    waiting: Vec<T>,
    /// Earliest time of the next call, unless one call cannot hold the waiting heartbeats.
    next_call: Option<Instant>,
    /// Whether a task waits for that time.
    is_due: bool,
}

/// The task of the caller that added a heartbeat.
#[derive(Debug, PartialEq, Eq)]
enum Dispatch<T> {
    /// Send a call with these.
    Call(Vec<T>),
    /// Send a call at this time, with the heartbeats that wait then.
    CallAt(Instant),
    /// Nothing: another caller sends it.
    Wait,
}

/// A heartbeat and its waiting caller.
struct Heartbeat {
    group: GroupId,
    epoch: RecoveryEpoch,
    request: AppendRequest,
    /// Deadline of the caller.
    until: Instant,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<AppendReply, TransportError>>;

/// The callers of a call's heartbeats, by position, with their groups. None once answered.
type Callers = Vec<(GroupId, Option<Answer>)>;

/// Why a call failed for its unanswered heartbeats.
enum CallFailure {
    UnknownNode,
    Status(Status),
    Mismatch(AnswerMismatch),
}

/// An answer fits none of the call's unanswered heartbeats. Passed on, it could count as the
/// acknowledgement of another group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node answered heartbeat {position} of group {group}, which is not waiting", group = .group.map_or_else(|| "?".to_owned(), |group| group.to_string()))]
struct AnswerMismatch {
    position: u32,
    group: Option<GroupId>,
}

/// The node ended a call without an answer for the group.
#[derive(Debug, thiserror::Error)]
#[error("the node sent no answer for group {0}")]
struct NoAnswer(GroupId);

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            next_call: None,
            is_due: false,
        }
    }
}

impl<T> Gathered<T> {
    /// Adds a heartbeat that may wait for up to `gather`.
    fn add(&mut self, heartbeat: T, now: Instant, gather: Duration) -> Dispatch<T> {
        self.waiting.push(heartbeat);
        if self.waiting.len() >= HEARTBEATS_MAX_COUNT {
            return Dispatch::Call(self.take(now, gather));
        }
        if self.is_due {
            return Dispatch::Wait;
        }
        match self.next_call.filter(|next| *next > now) {
            None => Dispatch::Call(self.take(now, gather)),
            Some(next) => {
                self.is_due = true;
                Dispatch::CallAt(next.min(now + gather))
            }
        }
    }

    /// The heartbeats to send at the time of a [`Dispatch::CallAt`].
    fn due(&mut self, now: Instant, gather: Duration) -> Vec<T> {
        self.is_due = false;
        self.take(now, gather)
    }

    fn take(&mut self, now: Instant, gather: Duration) -> Vec<T> {
        self.next_call = Some(now + gather);
        std::mem::take(&mut self.waiting)
    }
}

impl Peer {
    fn gathered(&self) -> MutexGuard<'_, Gathered<Heartbeat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeats {
    /// For a node that belongs to a cluster.
    pub(super) fn new(pool: PeerPool, me: Member) -> Self {
        let peers = Mutex::default();
        Self { pool, me, peers }
    }

    /// Sends a group's heartbeat in its recovery epoch to a node, with others if there are any.
    pub(super) async fn ask(
        self: Arc<Self>,
        (to, group, epoch): (NodeId, GroupId, RecoveryEpoch),
        request: AppendRequest,
        timeout: Duration,
    ) -> Result<AppendReply, TransportError> {
        let now = Instant::now();
        let until = now + timeout;
        let (answer, answered) = oneshot::channel();
        let heartbeat = Heartbeat {
            group,
            epoch,
            request,
            until,
            answer,
        };
        self.add(to, heartbeat, (now, timeout));
        let out_of_time = || TransportError::Timeout {
            node: to,
            after: timeout,
        };
        match tokio::time::timeout_at(until, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) if Instant::now() < until => Err(TransportError::Unreachable {
                node: to,
                source: NoAnswer(group).into(),
            }),
            Ok(Err(_)) | Err(_) => Err(out_of_time()),
        }
    }

    fn add(self: Arc<Self>, to: NodeId, heartbeat: Heartbeat, (now, timeout): (Instant, Duration)) {
        // With shorter intervals than usual it must be a small part of them still.
        let gather = HEARTBEATS_GATHER_MAX.min(timeout / 8);
        let peer = Arc::clone(self.peers().entry(to).or_default());
        let turn = peer.gathered().add(heartbeat, now, gather);
        // Tasks of their own: a caller that gives up must not take the others with it.
        match turn {
            Dispatch::Wait => {}
            Dispatch::Call(heartbeats) => {
                tokio::spawn(async move { self.call(to, heartbeats).await });
            }
            Dispatch::CallAt(at) => {
                tokio::spawn(async move {
                    tokio::time::sleep_until(at).await;
                    let heartbeats = peer.gathered().due(Instant::now(), gather);
                    self.call(to, heartbeats).await;
                });
            }
        }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when all are answered, or when the last caller gives up.
    async fn call(&self, to: NodeId, mut heartbeats: Vec<Heartbeat>) {
        heartbeats.retain(|heartbeat| !heartbeat.answer.is_closed());
        let Some(until) = heartbeats.iter().map(|heartbeat| heartbeat.until).max() else {
            return;
        };
        let (heartbeats, mut callers): (_, Callers) =
            heartbeats.into_iter().map(Heartbeat::into_proto).unzip();
        let exchange = self.exchange(to, heartbeats, &mut callers);
        let Ok(Err(failure)) = tokio::time::timeout_at(until, exchange).await else {
            return;
        };
        if matches!(failure, CallFailure::UnknownNode) {
            self.peers().remove(&to);
        }
        for answer in callers.into_iter().filter_map(|(_, answer)| answer) {
            answer.send(Err(failure.error(to))).ok();
        }
    }

    /// Takes over a later recovery epoch that a heartbeat was refused with.
    fn learn_epoch(&self, answer: &proto::HeartbeatAnswer) {
        if let (Some(group), Some(AnswerResult::Refused(refused))) =
            (answer.group_id, &answer.result)
        {
            let learned = Learned {
                epoch: RecoveryEpoch(refused.recovery_epoch),
                is_lost: false,
            };
            let recoveries = self.pool.exchange().recoveries();
            recoveries.learn(GroupId(group), learned);
        }
    }

    async fn exchange(
        &self,
        to: NodeId,
        heartbeats: Vec<proto::Heartbeat>,
        callers: &mut Callers,
    ) -> Result<(), CallFailure> {
        let channel = self.pool.channel(to, ChannelClass::Control)?;
        let mut client = RaftServiceClient::new(channel)
            .max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(GRPC_MESSAGE_MAX_BYTES);
        let Member { cluster, node } = self.me;
        let route = Route {
            cluster,
            from: node,
            to,
            group: GroupId(0),
            epoch: RecoveryEpoch::ZERO,
        };
        let request = proto::HeartbeatsRequest {
            route: Some(route.to_proto()),
            heartbeats,
            reading: Some(convert::reading::to_proto(self.pool.exchange().own())),
        };
        let replies = client.heartbeats(request).await;
        let replies = replies.inspect_err(|status| {
            learn_epoch(self.pool.exchange().recoveries(), GroupId::META, status);
        });
        let mut replies = replies?.into_inner();
        while let Some(reply) = replies.message().await? {
            if let Some(reading) = reply.reading {
                let reading = convert::reading::from_proto(reading);
                let known = self.pool.exchange().incarnations();
                let incarnation = reading.incarnation;
                if incarnation.is_some_and(|incarnation| !known.observe(to, incarnation)) {
                    return Err(older_disk(to).into());
                }
                self.pool.exchange().record(to, reading);
            }
            for answer in reply.answers {
                self.learn_epoch(&answer);
                take_caller(callers, &answer)?
                    .send(from_proto(to, answer.result))
                    .ok();
            }
        }
        Ok(())
    }
}

impl Heartbeat {
    fn into_proto(self) -> (proto::Heartbeat, (GroupId, Option<Answer>)) {
        let heartbeat = proto::Heartbeat {
            group_id: self.group.get(),
            request: Some(convert::append_to_proto(self.request, None)),
            recovery_epoch: self.epoch.get(),
        };
        (heartbeat, (self.group, Some(self.answer)))
    }
}

impl CallFailure {
    fn error(&self, to: NodeId) -> TransportError {
        match self {
            Self::UnknownNode => TransportError::UnknownNode(to),
            Self::Status(status) => raft_error_of(to, status.clone()),
            Self::Mismatch(mismatch) => TransportError::Refused {
                node: to,
                source: (*mismatch).into(),
            },
        }
    }
}

impl From<AnswerMismatch> for CallFailure {
    fn from(mismatch: AnswerMismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

impl From<Status> for CallFailure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<ChannelError> for CallFailure {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::UnknownNode(_) => Self::UnknownNode,
            ChannelError::Address { .. } => Self::Status(Status::from_error(error.into())),
        }
    }
}

/// Removes the caller that an answer is for: its position must be unanswered, and its group that of
/// the heartbeat. Nodes before feature level 2 do not name the group.
fn take_caller(
    callers: &mut Callers,
    answer: &proto::HeartbeatAnswer,
) -> Result<Answer, AnswerMismatch> {
    let position = usize::try_from(answer.position).unwrap_or(usize::MAX);
    let group = answer.group_id.map(GroupId);
    callers
        .get_mut(position)
        .filter(|(asked, _)| group.is_none_or(|group| group == *asked))
        .and_then(|(_, caller)| caller.take())
        .ok_or(AnswerMismatch {
            position: answer.position,
            group,
        })
}

fn from_proto(from: NodeId, result: Option<AnswerResult>) -> Result<AppendReply, TransportError> {
    let malformed = |error: ConvertError| TransportError::Refused {
        node: from,
        source: error.into(),
    };
    match result.ok_or_else(|| malformed(ConvertError::Missing("result")))? {
        AnswerResult::Reply(reply) => convert::append_reply_from_proto(reply).map_err(malformed),
        AnswerResult::Refused(proto::Refusal {
            code,
            text,
            recovery_epoch: _,
        }) => {
            let code = i32::try_from(code).map_or(Code::Internal, Code::from);
            Err(TransportError::Refused {
                node: from,
                source: Status::new(code, text).into(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATHER: Duration = Duration::from_millis(20);

    #[test]
    fn one_after_a_silence_goes_at_once_and_the_next_ones_together() {
        let mut gathered = Gathered::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(gathered.add(1, start, GATHER), Dispatch::Call(vec![1]));
        assert_eq!(
            gathered.add(2, after(5), GATHER),
            Dispatch::CallAt(after(20))
        );
        assert_eq!(gathered.add(3, after(6), GATHER), Dispatch::Wait);
        assert_eq!(gathered.due(after(20), GATHER), [2, 3]);
        // The call that was due counts as one.
        assert_eq!(
            gathered.add(4, after(21), GATHER),
            Dispatch::CallAt(after(40))
        );
        assert_eq!(gathered.due(after(40), GATHER), [4]);
        assert_eq!(gathered.add(5, after(60), GATHER), Dispatch::Call(vec![5]));
    }

    #[test]
    fn one_with_little_time_waits_less() {
        let mut gathered = Gathered::default();
        let start = Instant::now();
        let short = Duration::from_millis(3);
        assert_eq!(gathered.add(1, start, GATHER), Dispatch::Call(vec![1]));
        assert_eq!(
            gathered.add(2, start, short),
            Dispatch::CallAt(start + short)
        );
    }

    #[test]
    fn an_answer_is_for_the_heartbeat_of_its_position_and_group_and_only_once() {
        let answer = |position, group: Option<u64>| proto::HeartbeatAnswer {
            position,
            group_id: group,
            result: None,
        };
        let mut callers: Callers = (0..3)
            .map(|n| (GroupId(10 + n), Some(oneshot::channel().0)))
            .collect();
        for wrong in [
            answer(0, Some(11)),
            answer(3, Some(10)),
            answer(u32::MAX, None),
        ] {
            assert!(take_caller(&mut callers, &wrong).is_err(), "{wrong:?}");
        }
        assert!(callers.iter().all(|(_, caller)| caller.is_some()));
        take_caller(&mut callers, &answer(1, Some(11))).unwrap();
        // A node of an older version.
        take_caller(&mut callers, &answer(2, None)).unwrap();
        for again in [answer(1, Some(11)), answer(2, None)] {
            let mismatch = take_caller(&mut callers, &again).unwrap_err();
            assert_eq!(mismatch.position, again.position);
        }
    }

    #[test]
    fn too_many_for_one_call_do_not_wait() {
        let mut gathered = Gathered::default();
        let now = Instant::now();
        gathered.add(0, now, GATHER);
        for n in 1..HEARTBEATS_MAX_COUNT {
            assert!(!matches!(gathered.add(n, now, GATHER), Dispatch::Call(_)));
        }
        let Dispatch::Call(all) = gathered.add(0, now, GATHER) else {
            panic!("the call is full");
        };
        assert_eq!(all.len(), HEARTBEATS_MAX_COUNT);
        assert!(gathered.due(now + GATHER, GATHER).is_empty());
    }
}
