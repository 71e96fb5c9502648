//! Polls: a member in one request after the other.

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use lograft_core::consumer_group::Generation;
use lograft_core::limits::{
    FETCH_READ_MAX_BYTES, FETCH_REPLY_DEFAULT_BYTES, HTTP_FETCH_RECORDS_MAX_COUNT,
    POLL_RECORDS_DEFAULT_COUNT,
};
use lograft_proto::Method;

use super::members::max_wait;
use super::schema::{
    Assigned, Place, PollAnswer, PollBody, PolledPage, PolledRecord, ToCommit, outcomes, refused,
    to_commit,
};
use super::{MemberPath, member_ref, schema};
use crate::api::group_calls::check_topics;
use crate::api::held_reply::hold;
use crate::api::http::answer::{JSON, json_bytes, with_body};
use crate::api::http::body::read_json;
use crate::api::http::error::HttpError;
use crate::api::http::number::Int;
use crate::api::http::parts::HttpApi;
use crate::api::http::query::path;
use crate::api::http::record::{Forms, ReturnedRecord};
use crate::error::ApiError;
use crate::serving::consumer_groups::poll::{PartitionRead, PollRequest, PollStart, Polled};
use crate::serving::consumer_groups::request::{GroupTarget, MemberRef, commit_sequence};

/// Poll
///
/// Commits what the member has processed of the answer before (`commit`), acknowledges its
/// `generation` as a heartbeat does, and returns the next records of the member's partitions. Waits
/// for records or for another assignment. The `generation` and `commit` of the answer are for the
/// next poll. A poll whose answer was lost may be repeated as it was.
#[utoipa::path(
    post, path = "/v1/groups/{group}/members/{member}/poll", tag = "groups",
    operation_id = "poll",
    params(
        ("group" = String, Path, description = "Name of the group"),
        ("member" = String, Path, description = "Id of the member"),
    ),
    request_body(content = PollBody, example = json!(schema::POLL_EXAMPLE.clone())),
    responses((status = 200, description = "Records and the assignment", body = PollAnswer))
)]
pub(crate) async fn poll(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (mut head, body) = request.into_parts();
    let MemberPath { group, member } = path(&mut head).await?;
    let target = api.authorize_group(&head, (Method::GroupHeartbeat, group))?;
    let poll: PollBody = read_json(&api.bodies, Request::from_parts(head, body)).await?;
    let topics = poll.commit.iter().map(|offset| &offset.topic);
    check_topics(api.access(), &target.principal, topics)?;
    let forms = Forms {
        key: poll.key_as.unwrap_or_default(),
        value: poll.value_as.unwrap_or_default(),
    };
    let member = member_ref(&member, poll.instance_id.clone())?;
    let account = api.engine()?.replies.account_of(&target.principal, false);
    let (places, request) = poll_request(poll, target, member)?;
    let mut polled = api.groups()?.poll(request).await?;
    let mut memory = polled.memory.take();
    let page = encode(polled, places, forms);
    if let Some(memory) = &mut memory {
        // JSON may take a multiple of what the records do.
        memory.resize(page.len())?;
    }
    let mut response = with_body(StatusCode::OK, JSON, page.into());
    hold(response.extensions_mut(), account, memory);
    Ok(response)
}

fn poll_request(
    poll: PollBody,
    target: GroupTarget,
    member: MemberRef,
) -> Result<(Vec<Place>, PollRequest), ApiError> {
    let PollBody {
        generation,
        commit,
        sequence,
        start,
        max_records,
        max_bytes,
        max_wait_ms,
        instance_id: _,
        key_as: _,
        value_as: _,
    } = poll;
    let most = HTTP_FETCH_RECORDS_MAX_COUNT;
    if let Some(found) = max_records.filter(|count| !(1..=most).contains(count)) {
        let bound = format_args!("between 1 and {most}, got {found}");
        return Err(ApiError::invalid("max_records", bound));
    }
    let max_records = max_records.map_or(POLL_RECORDS_DEFAULT_COUNT, |count| count as usize);
    let max_bytes = match max_bytes.unwrap_or(0) as usize {
        0 => FETCH_REPLY_DEFAULT_BYTES,
        bytes => bytes.min(FETCH_READ_MAX_BYTES),
    };
    let (places, commit) = to_commit(commit);
    let request = PollRequest {
        target,
        member,
        generation: Generation(generation.0),
        commit,
        sequence: commit_sequence(sequence.map_or(0, |number| number.0))?,
        start: start.map_or(PollStart::Earliest, PollStart::from),
        max_records,
        max_bytes: u32::try_from(max_bytes).unwrap_or(u32::MAX),
        max_wait: max_wait(max_wait_ms),
    };
    Ok((places, request))
}

fn encode(polled: Polled, places: Vec<Place>, forms: Forms) -> Bytes {
    let Polled {
        member,
        committed,
        next_sequence,
        reads,
        failed,
        memory: _,
    } = polled;
    let records = reads.iter().flat_map(|read| {
        let partition = &read.partition;
        read.records.iter().map(move |fetched| PolledRecord {
            topic: &partition.topic,
            record: ReturnedRecord {
                partition: partition.at.partition.get(),
                fetched,
                forms,
            },
        })
    });
    let commit = reads.iter().map(commit_of);
    let failed = failed.into_iter();
    let page = PolledPage {
        generation: Int(member.generation.get()),
        partitions: member.partitions.into_iter().map(Assigned::from).collect(),
        incomplete: member.is_incomplete,
        session_timeout_ms: member.session_timeout_ms,
        committed: outcomes(places, committed),
        records: records.collect(),
        commit: commit.collect(),
        sequence: Int(next_sequence.get()),
        errors: failed
            .map(|failed| refused(failed.partition, failed.error))
            .collect(),
    };
    json_bytes(&page)
}

fn commit_of(read: &PartitionRead) -> ToCommit {
    ToCommit {
        topic: read.partition.topic.clone(),
        topic_id: Int(read.partition.at.topic.0),
        partition: read.partition.at.partition.get(),
        offset: Int(read.next_offset.get()),
    }
}
