//! Heartbeats of many groups in one call. Each group replies for itself: a group that is slow, for
//! example because it writes a new vote to disk, does not delay the others.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use lograft_core::limits::{
    HEARTBEATS_ANSWERS_GATHER_MAX, HEARTBEATS_ANSWERS_MAX, HEARTBEATS_MAX_COUNT,
};
use lograft_core::{GroupId, RecoveryEpoch};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::heartbeat_answer::Result as Answer;
use lograft_raft::RaftGroup;
use tonic::Status;

use super::peer_checks::{GroupLookup, PeerRefusal, Sender, find_member};
use super::status::{malformed, raft_failed};
use crate::convert::{self, ConvertError};
use crate::exchange::NodeExchange;

/// The replies to one call.
pub(super) type HeartbeatsReplies = BoxStream<'static, Result<proto::HeartbeatsReply, Status>>;

/// Passes heartbeats to their groups, all at once.
pub(super) fn answers(
    lookup: &dyn GroupLookup,
    sender: &Sender,
    exchange: &NodeExchange,
    request: proto::HeartbeatsRequest,
) -> Result<HeartbeatsReplies, Status> {
    let proto::HeartbeatsRequest {
        route,
        heartbeats,
        reading,
    } = request;
    let route = sender.check_route(lookup, route.as_ref())?;
    if let Some(reading) = reading {
        exchange.record(route.from, convert::reading::from_proto(reading));
    }
    let (count, max_count) = (heartbeats.len(), HEARTBEATS_MAX_COUNT);
    if count > max_count {
        return Err(PeerRefusal::Heartbeats { count, max_count }.into());
    }
    let asked: FuturesUnordered<_> = (0..)
        .zip(heartbeats)
        .map(|(position, heartbeat)| {
            let proto::Heartbeat {
                group_id,
                request,
                recovery_epoch,
            } = heartbeat;
            let epoch = RecoveryEpoch(recovery_epoch);
            let group = find_member(lookup, GroupId(group_id), epoch);
            async move {
                let known = group.as_ref().err().map(PeerRefusal::recovery_epoch);
                let known = known.unwrap_or_default();
                let answered = answer(group, request).await;
                let result = answered.map_or_else(|status| refused(&status, known), Answer::Reply);
                let result = Some(result);
                proto::HeartbeatAnswer {
                    position,
                    group_id: Some(group_id),
                    result,
                }
            }
        })
        .collect();
    let exchange = exchange.clone();
    let replies = stream::unfold(asked, next_answers)
        .map(move |answers| proto::HeartbeatsReply {
            answers,
            reading: Some(convert::reading::to_proto(exchange.own())),
        })
        .take_until(tokio::time::sleep(HEARTBEATS_ANSWERS_MAX))
        .map(Ok);
    Ok(replies.boxed())
}

async fn answer(
    group: Result<RaftGroup, PeerRefusal>,
    request: Option<proto::AppendRequest>,
) -> Result<proto::AppendReply, Status> {
    let group = group?;
    let request = request
        .ok_or(ConvertError::Missing("request"))
        .and_then(convert::append_from_proto)
        .map_err(|error| malformed(&error))?;
    let reply = group.on_heartbeat(request).await;
    let reply = reply.map_err(|error| raft_failed(&error))?;
    Ok(convert::append_reply_to_proto(reply))
}

fn refused(status: &Status, known: RecoveryEpoch) -> Answer {
    Answer::Refused(proto::Refusal {
        code: u32::try_from(i32::from(status.code())).unwrap_or_default(),
        text: status.message().to_owned(),
        recovery_epoch: known.get(),
    })
}

/// The next answer, and those that follow within a moment: usually all.
async fn next_answers<F>(
    mut asked: FuturesUnordered<F>,
) -> Option<(Vec<proto::HeartbeatAnswer>, FuturesUnordered<F>)>
where
    F: Future<Output = proto::HeartbeatAnswer>,
{
    let mut answers = vec![asked.next().await?];
    let others = async {
        while let Some(answer) = asked.next().await {
            answers.push(answer);
        }
    };
    // Later answers are in the next reply.
    tokio::time::timeout(HEARTBEATS_ANSWERS_GATHER_MAX, others)
        .await
        .ok();
    Some((answers, asked))
}
