//! The heartbeats of many groups in one call. All groups are asked at once and answer on their
//! own: one that is slow, say because a new vote goes to disk, or unknown here, holds up no other.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use lograft_core::GroupId;
use lograft_core::limits::{
    HEARTBEATS_ANSWERS_GATHER_MAX, HEARTBEATS_ANSWERS_MAX, HEARTBEATS_MAX_COUNT,
};
use lograft_proto::raft::v1 as proto;
use lograft_proto::raft::v1::heartbeat_answer::Result as Answer;
use lograft_raft::RaftGroup;
use tonic::Status;

use super::raft_service::{GroupLookup, admit, malformed, raft_failed, replica};
use crate::convert::{self, ConvertError, Route};

/// The answers to one call.
pub(super) type HeartbeatsReplies = BoxStream<'static, Result<proto::HeartbeatsReply, Status>>;

/// Asks the groups.
pub(super) fn answers(
    lookup: &dyn GroupLookup,
    request: proto::HeartbeatsRequest,
) -> Result<HeartbeatsReplies, Status> {
    let proto::HeartbeatsRequest { route, heartbeats } = request;
    let route = Route::from_proto(route.as_ref()).map_err(|error| malformed(&error))?;
    admit(lookup, route)?;
    let count = heartbeats.len();
    if count > HEARTBEATS_MAX_COUNT {
        let text = format!("{count} heartbeats in a request, at most {HEARTBEATS_MAX_COUNT}");
        return Err(Status::invalid_argument(text));
    }
    let asked: FuturesUnordered<_> = (0..)
        .zip(heartbeats)
        .map(|(position, heartbeat)| {
            let proto::Heartbeat { group_id, request } = heartbeat;
            let group = replica(lookup, GroupId(group_id));
            async move {
                let answered = answer(group, request).await;
                let result = Some(answered.map_or_else(|status| refused(&status), Answer::Reply));
                proto::HeartbeatAnswer { position, result }
            }
        })
        .collect();
    let replies = stream::unfold(asked, next_reply)
        .take_until(tokio::time::sleep(HEARTBEATS_ANSWERS_MAX))
        .map(Ok);
    Ok(replies.boxed())
}

async fn answer(
    group: Result<RaftGroup, Status>,
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

fn refused(status: &Status) -> Answer {
    Answer::Refused(proto::Refusal {
        code: u32::try_from(i32::from(status.code())).unwrap_or_default(),
        text: status.message().to_owned(),
    })
}

/// The next answer and those that come within a moment: all of them, as a rule.
async fn next_reply<F>(
    mut asked: FuturesUnordered<F>,
) -> Option<(proto::HeartbeatsReply, FuturesUnordered<F>)>
where
    F: Future<Output = proto::HeartbeatAnswer>,
{
    let mut answers = vec![asked.next().await?];
    let others = async {
        while let Some(answer) = asked.next().await {
            answers.push(answer);
        }
    };
    // What has not come in time is in the next reply.
    tokio::time::timeout(HEARTBEATS_ANSWERS_GATHER_MAX, others)
        .await
        .ok();
    Some((proto::HeartbeatsReply { answers }, asked))
}
