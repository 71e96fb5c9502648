//! ListOffsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use lograft_core::{NodeId, Reason};
use lograft_proto::log::v1 as proto;
use tonic::Status;

use super::LogContext;
use crate::access::{Access, Act};
use crate::api::grpc::status::{ApiError, status_to_wire};
use crate::serving::fetch::position;
use crate::serving::forward::{self, Retry};
use crate::serving::locate::{Asked, Place};
use crate::serving::replica::Replica;

/// Tells the bounds of partitions, each from its leader.
pub(crate) async fn list_offsets(
    context: &Arc<LogContext>,
    access: &Access,
    request: proto::ListOffsetsRequest,
) -> Result<proto::ListOffsetsReply, Status> {
    access.check_forwarded(request.forwarded)?;
    access.check(Act::Read, &request.topic)?;
    let partitions = wanted(context, &request.topic, request.partitions).await?;
    let mut request = proto::ListOffsetsRequest {
        partitions,
        ..request
    };
    let mut found = Vec::new();
    let mut retry = Retry::new();
    loop {
        let (told, untold): (Vec<_>, Vec<_>) = look(context, &request)
            .await
            .into_iter()
            .partition(|offsets| !is_about_leaders(offsets));
        found.extend(told);
        request.partitions = untold.iter().map(|offsets| offsets.partition).collect();
        if untold.is_empty() || request.forwarded || !retry.in_time().await {
            found.extend(untold);
            found.sort_by_key(|offsets| offsets.partition);
            return Ok(proto::ListOffsetsReply { partitions: found });
        }
    }
}

/// Whether the partition's leader may be found by looking again.
fn is_about_leaders(offsets: &proto::PartitionOffsets) -> bool {
    let reason = offsets.error.as_ref().map(|error| error.reason.as_str());
    let reason = reason.and_then(Reason::from_wire);
    matches!(reason, Some(Reason::NotLeader | Reason::NoLeader))
}

/// Asks for all partitions at once; some answers may be errors.
async fn look(
    context: &Arc<LogContext>,
    request: &proto::ListOffsetsRequest,
) -> Vec<proto::PartitionOffsets> {
    let places = request.partitions.iter().map(|partition| {
        let asked = Asked {
            topic: &request.topic,
            partition: *partition,
            forwarded: request.forwarded,
        };
        context.locate(asked)
    });
    let places = join_all(places).await;
    let mut elsewhere: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
    let mut here = Vec::new();
    let mut found = Vec::new();
    for (partition, place) in request.partitions.iter().copied().zip(places) {
        match place {
            Ok(Place::Here(replica)) => here.push((partition, replica)),
            Ok(Place::There(node)) => elsewhere.entry(node).or_default().push(partition),
            Err(error) => found.push(failed(partition, error.to_wire())),
        }
    }
    let here = here
        .iter()
        .map(|(partition, replica)| bounds(*partition, replica, request.timestamp_ms));
    let elsewhere = elsewhere.into_iter().map(|(node, partitions)| {
        let passed_on = proto::ListOffsetsRequest {
            partitions,
            forwarded: true,
            ..request.clone()
        };
        ask(context, node, passed_on)
    });
    let (here, elsewhere) = tokio::join!(join_all(here), join_all(elsewhere));
    found.extend(here.into_iter().chain(elsewhere.into_iter().flatten()));
    found
}

/// The partitions asked for, each once; all of the topic's if none is named.
async fn wanted(
    context: &LogContext,
    topic: &str,
    mut partitions: Vec<u32>,
) -> Result<Vec<u32>, ApiError> {
    let first = partitions.first().copied().unwrap_or(0);
    // Waits for the metadata of a topic that has just been created.
    context
        .group(Asked {
            topic,
            partition: first,
            forwarded: false,
        })
        .await?;
    let metadata = context.meta.load();
    let count = metadata
        .topic(topic)
        .map_or(0, |found| found.partition_count());
    if partitions.is_empty() {
        partitions.extend(0..count);
    }
    partitions.sort_unstable();
    partitions.dedup();
    match partitions.last() {
        Some(last) if *last >= count => Err(ApiError::unknown_partition(topic, *last, count)),
        _ => Ok(partitions),
    }
}

async fn bounds(
    partition: u32,
    replica: &Arc<Replica>,
    timestamp_ms: Option<i64>,
) -> proto::PartitionOffsets {
    match bounds_here(partition, replica, timestamp_ms).await {
        Ok(offsets) => offsets,
        Err(error) => failed(partition, error.to_wire()),
    }
}

async fn bounds_here(
    partition: u32,
    replica: &Arc<Replica>,
    timestamp_ms: Option<i64>,
) -> Result<proto::PartitionOffsets, ApiError> {
    position::catch_up(replica).await?;
    let marks = replica.state.watermarks();
    let at_time = match timestamp_ms {
        Some(time_ms) => position::at_time(replica, time_ms).await?,
        None => None,
    };
    Ok(proto::PartitionOffsets {
        partition,
        log_start_offset: marks.log_start_offset.get(),
        high_watermark: marks.high_watermark.get(),
        offset_at_timestamp: at_time.map(lograft_core::Offset::get),
        leader_epoch: replica.raft.watch().borrow().term.get(),
        error: None,
    })
}

/// Asks another node about the partitions that it leads.
async fn ask(
    context: &LogContext,
    node: NodeId,
    request: proto::ListOffsetsRequest,
) -> Vec<proto::PartitionOffsets> {
    let partitions = request.partitions.clone();
    let asked = match forward::client(&*context.peers, node) {
        Ok(mut client) => client.list_offsets(request).await,
        Err(error) => Err(error.into()),
    };
    match asked {
        Ok(reply) => reply.into_inner().partitions,
        Err(status) => {
            let mut error = status_to_wire(&status);
            if error.reason == Reason::NotReady.as_str() {
                error = ApiError::new(Reason::NoLeader, "the leader does not answer").to_wire();
            }
            partitions
                .into_iter()
                .map(|partition| failed(partition, error.clone()))
                .collect()
        }
    }
}

fn failed(partition: u32, error: proto::Error) -> proto::PartitionOffsets {
    proto::PartitionOffsets {
        partition,
        error: Some(error),
        ..Default::default()
    }
}
