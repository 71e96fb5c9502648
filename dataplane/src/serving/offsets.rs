//! The bounds of partitions, each from its leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use lograft_core::{NodeId, Reason};

use super::decompression::Decompression;
use super::engine::LogEngine;
use super::fetch::position;
use super::forward::ForwardError;
use super::locate::{Attempts, Elsewhere, Location, NO_ANSWER, is_about_leaders};
use super::replica::Replica;
use super::request::{ListOffsetsRequest, OffsetBounds, Target};
use crate::error::ApiError;

/// Bounds by partition, or why there are none.
pub(crate) type PartitionBounds = Vec<(u32, Result<OffsetBounds, ApiError>)>;

/// Finds the bounds of partitions, ordered by partition. Partitions without a leader are retried
/// for about as long as an election takes.
pub(crate) async fn list_offsets(
    engine: &LogEngine,
    mut request: ListOffsetsRequest,
) -> Result<PartitionBounds, ApiError> {
    let asked = std::mem::take(&mut request.partitions);
    request.partitions = existing(engine, &request, asked).await?;
    let mut found = Vec::new();
    let mut attempts = Attempts::new();
    loop {
        let (done, unled): (Vec<_>, Vec<_>) = find_once(engine, &request)
            .await
            .into_iter()
            .partition(|(_, bounds)| !bounds.as_ref().is_err_and(is_about_leaders));
        found.extend(done);
        request.partitions = unled.iter().map(|(partition, _)| *partition).collect();
        if unled.is_empty() || request.is_forwarded || !attempts.in_time().await {
            found.extend(unled);
            found.sort_by_key(|(partition, _)| *partition);
            return Ok(found);
        }
    }
}

/// Asks the leaders of all partitions at once, each node with one request.
async fn find_once(engine: &LogEngine, request: &ListOffsetsRequest) -> PartitionBounds {
    let located = request.partitions.iter().map(async |partition| {
        let target = target(request, *partition, request.is_forwarded);
        engine.locator.locate(&target).await
    });
    let located = join_all(located).await;
    let mut elsewhere: BTreeMap<NodeId, Vec<(u32, Elsewhere)>> = BTreeMap::new();
    let mut here = Vec::new();
    let mut found = Vec::new();
    for (partition, location) in request.partitions.iter().copied().zip(located) {
        match location {
            Ok(Location::Here(replica)) => here.push((partition, replica)),
            Ok(Location::There(leader)) => {
                let asked = elsewhere.entry(leader.node).or_default();
                asked.push((partition, leader));
            }
            Err(error) => found.push((partition, Err(error))),
        }
    }
    let here = here.into_iter().map(async |(partition, replica)| {
        let bounds = bounds(&replica, request.timestamp_ms, &engine.decompression);
        (partition, bounds.await)
    });
    let elsewhere = elsewhere.into_iter().map(|(node, asked)| {
        let (partitions, leaders): (_, Vec<Elsewhere>) = asked.into_iter().unzip();
        let request = ListOffsetsRequest {
            partitions,
            ..request.clone()
        };
        ask(engine, (node, leaders), request)
    });
    let (here, elsewhere) = tokio::join!(join_all(here), join_all(elsewhere));
    found.extend(here.into_iter().chain(elsewhere.into_iter().flatten()));
    found
}

/// The partitions asked for, without duplicates; all partitions of the topic if none is named.
async fn existing(
    engine: &LogEngine,
    request: &ListOffsetsRequest,
    mut partitions: Vec<u32>,
) -> Result<Vec<u32>, ApiError> {
    // Waits for the metadata of a topic that was just created.
    let topic = request.topic.as_str();
    let first = target(request, partitions.first().copied().unwrap_or(0), false);
    engine.locator.group(&first).await?;
    let metadata = engine.locator.meta.load();
    let count = metadata
        .topic(topic)
        .map_or(0, |found| found.partition_count());
    if partitions.is_empty() {
        partitions.extend(0..count);
    }
    partitions.sort_unstable();
    partitions.dedup();
    match partitions.last() {
        Some(last) if *last >= count => {
            let unknown = ApiError::unknown_partition(topic, *last, count);
            Err(engine.locator.absent(unknown))
        }
        _ => Ok(partitions),
    }
}

fn target(request: &ListOffsetsRequest, partition: u32, is_forwarded: bool) -> Target {
    Target {
        topic: request.topic.clone(),
        topic_id: request.topic_id,
        partition,
        is_forwarded,
        principal: Arc::clone(&request.principal),
    }
}

/// The bounds of a partition that this node leads.
async fn bounds(
    replica: &Arc<Replica>,
    timestamp_ms: Option<i64>,
    decompression: &Decompression,
) -> Result<OffsetBounds, ApiError> {
    position::catch_up(replica).await?;
    let marks = replica.state.watermarks();
    let at_timestamp = match timestamp_ms {
        Some(time_ms) => {
            position::at_time(replica, time_ms, marks.high_watermark, decompression).await?
        }
        None => None,
    };
    Ok(OffsetBounds {
        log_start_offset: marks.log_start_offset,
        high_watermark: marks.high_watermark,
        at_timestamp,
        term: replica.raft.watch().borrow().term,
    })
}

/// The bounds of the partitions that were asked for, whatever else the answer contains.
fn answered(partitions: Vec<u32>, found: PartitionBounds) -> PartitionBounds {
    let mut found: BTreeMap<_, _> = found.into_iter().collect();
    let missing = || Err(ApiError::new(Reason::NoLeader, "the leader gave no answer"));
    partitions
        .into_iter()
        .map(|partition| (partition, found.remove(&partition).unwrap_or_else(missing)))
        .collect()
}

/// Asks another node about the partitions that it leads.
async fn ask(
    engine: &LogEngine,
    (node, leaders): (NodeId, Vec<Elsewhere>),
    request: ListOffsetsRequest,
) -> PartitionBounds {
    let partitions = request.partitions.clone();
    let answer = tokio::select! {
        biased;
        answer = engine.forward.list_offsets(node, request) => answer,
        () = engine.locator.any_leader_moves(&leaders) => {
            Err(ForwardError::Lost(NO_ANSWER.to_owned()))
        }
    };
    let error = match answer {
        Ok(found) => return answered(partitions, found),
        Err(ForwardError::Refused(error)) if error.reason() != Some(Reason::NotReady) => error,
        Err(_) => ApiError::new(Reason::NoLeader, "the leader does not respond"),
    };
    partitions
        .into_iter()
        .map(|partition| (partition, Err(error.clone())))
        .collect()
}
