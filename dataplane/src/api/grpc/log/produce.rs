//! Produce and ProduceStream.

use std::sync::Arc;

use lograft_proto::log::v1 as proto;
use tokio::time::Instant;
use tonic::Status;

use super::{LogContext, produce_timeout};
use crate::access::{Access, Act};
use crate::api::grpc::log::produce_stream::PendingReply;
use crate::api::grpc::status::{ApiError, reason_of};
use crate::serving::append::check::{self, Content};
use crate::serving::append::{Acked, coalesce, let_in, too_late, unknown};
use crate::serving::forward::{self, Retry, is_unsent};
use crate::serving::locate::{Asked, Place};
use crate::serving::replica::Replica;
use crate::transport::leader_streams::{Lanes, reply_of};

/// Writes the batch of one call.
pub(crate) async fn produce(
    context: &Arc<LogContext>,
    access: &Access,
    request: proto::ProduceRequest,
) -> Result<proto::ProduceReply, Status> {
    access.check_forwarded(request.forwarded)?;
    access.check(Act::Write, &request.topic)?;
    let started = Instant::now();
    let timeout = produce_timeout(request.timeout_ms);
    let bytes = check::request_bytes(&request);
    let (topic, partition, id) = (request.topic.clone(), request.partition, request.request_id);
    let written = tokio::time::timeout(timeout, write(context, request, bytes)).await;
    let result = written.unwrap_or_else(|_| Err(too_late(timeout).into()));
    match &result {
        Ok(reply) => context.count_produced(reply, bytes, started),
        Err(status) => {
            let error = crate::api::grpc::status::status_to_wire(status);
            let failed = proto::ProduceReply {
                error: Some(error),
                ..empty_reply(topic, partition, id)
            };
            context.count_produced(&failed, bytes, started);
        }
    }
    result
}

async fn write(
    context: &Arc<LogContext>,
    request: proto::ProduceRequest,
    bytes: usize,
) -> Result<proto::ProduceReply, Status> {
    let _room = context.reserve(bytes).await?;
    let mut retry = Retry::new();
    loop {
        let target = Asked {
            topic: &request.topic,
            partition: request.partition,
            forwarded: request.forwarded,
        };
        let failed = match context.locate(target).await? {
            Place::Here(replica) => match write_here(context, &replica, request.clone()).await {
                Ok(acked) => return Ok(reply(&request, acked)),
                Err(error) => Status::from(context.explained(error, replica.group)),
            },
            Place::There(node) => {
                let mut client = forward::client(&*context.peers, node)?;
                let passed_on = proto::ProduceRequest {
                    forwarded: true,
                    ..request.clone()
                };
                match client.produce(passed_on).await {
                    Ok(reply) => return Ok(reply.into_inner()),
                    Err(status) if reason_of(&status).is_some() => status,
                    Err(status) if is_unsent(&status) => status,
                    Err(_) => return Err(unknown("the leader was lost").into()),
                }
            }
        };
        if request.forwarded || !retry.again(&failed).await {
            let unreached = || ApiError::no_leader(&request.topic, request.partition).into();
            return Err(if is_unsent(&failed) {
                unreached()
            } else {
                failed
            });
        }
    }
}

async fn write_here(
    context: &Arc<LogContext>,
    replica: &Arc<Replica>,
    mut request: proto::ProduceRequest,
) -> Result<Acked, ApiError> {
    context.check_disk()?;
    let stamp = request.producer.take();
    match check::content(&mut request)? {
        Content::Plain(records) if stamp.is_none() => {
            check::check_plain(&records)?;
            coalesce::write(replica, records, &context.clock).await
        }
        brought => {
            let now_ms = context.clock.now_ms();
            let batch = check::check(brought, stamp, now_ms).await?;
            let_in(replica, batch, now_ms)
                .await?
                .acked(Arc::clone(replica))
                .await
        }
    }
}

/// Lets one request of a ProduceStream in. Returns once the next may follow it; its reply comes
/// from the future.
pub(crate) async fn enter(
    context: &Arc<LogContext>,
    lanes: &mut Lanes,
    mut request: proto::ProduceRequest,
    bytes: usize,
) -> Result<PendingReply, ApiError> {
    lanes.access().check_forwarded(request.forwarded)?;
    lanes.access().check(Act::Write, &request.topic)?;
    let room = context.reserve(bytes).await?;
    let forwarded = request.forwarded || !lanes.may_forward();
    let target = Asked {
        topic: &request.topic,
        partition: request.partition,
        forwarded,
    };
    let replica = match context.locate(target).await? {
        Place::Here(replica) => replica,
        Place::There(node) => {
            let reply = empty_reply(request.topic.clone(), request.partition, request.request_id);
            let remote = lanes.send(node, request).await?;
            return Ok(Box::pin(async move {
                let _room = room;
                reply_of(remote, reply).await
            }));
        }
    };
    context.check_disk()?;
    let stamp = request.producer.take();
    let brought = check::content(&mut request)?;
    let now_ms = context.clock.now_ms();
    let batch = check::check(brought, stamp, now_ms).await?;
    let group = replica.group;
    let sent = let_in(&replica, batch, now_ms).await;
    let sent = sent.map_err(|error| context.explained(error, group))?;
    let context = Arc::clone(context);
    Ok(Box::pin(async move {
        let _room = room;
        match sent.acked(replica).await {
            Ok(acked) => reply(&request, acked),
            Err(error) => {
                let error = context.explained(error, group);
                failed_reply(
                    &request.topic,
                    request.partition,
                    request.request_id,
                    &error,
                )
            }
        }
    }))
}

fn empty_reply(topic: String, partition: u32, request_id: u64) -> proto::ProduceReply {
    proto::ProduceReply {
        topic,
        partition,
        request_id,
        ..Default::default()
    }
}

fn reply(request: &proto::ProduceRequest, acked: Acked) -> proto::ProduceReply {
    let Acked {
        base_offset,
        record_count,
        term,
        append_time_ms,
        duplicate,
    } = acked;
    proto::ProduceReply {
        topic: request.topic.clone(),
        partition: request.partition,
        base_offset: base_offset.get(),
        record_count,
        leader_epoch: term.get(),
        durability: proto::Durability::MajorityFsync.into(),
        append_time_ms,
        duplicate,
        request_id: request.request_id,
        error: None,
    }
}

/// The reply of a stream to a request that failed.
pub(crate) fn failed_reply(
    topic: &str,
    partition: u32,
    request_id: u64,
    error: &ApiError,
) -> proto::ProduceReply {
    let error = Some(error.to_wire());
    proto::ProduceReply {
        error,
        ..empty_reply(topic.to_owned(), partition, request_id)
    }
}
