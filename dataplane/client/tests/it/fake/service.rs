//! The services of a fake node: the behaviour of a leader towards clients, with injected faults.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _, stream};
use lograft_client::Reason;
use lograft_core::limits::PRODUCER_BATCHES_MAX_COUNT;
use lograft_core::record_batch::{BatchView, verify_crc};
use lograft_proto::log::v1::log_service_server::LogService;
use lograft_proto::log::v1::{self as wire, position::At};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{ClusterState, Fault, Other, ReadFault, State, Stored};

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(crate) struct Fake {
    pub(crate) node: usize,
    pub(crate) shared: Arc<ClusterState>,
}

pub(super) fn error(reason: Reason, metadata: &[(&str, String)]) -> wire::Error {
    wire::Error {
        code: reason.status() as i32,
        reason: reason.as_str().to_owned(),
        text: format!("injected {reason}"),
        metadata: metadata
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.clone()))
            .collect(),
        retryable: Some(reason.is_retryable()),
        ..wire::Error::default()
    }
}

/// An error of a later version. Its code says the opposite of `retryable`.
fn newer(retryable: bool) -> wire::Error {
    let code = if retryable {
        Code::FailedPrecondition
    } else {
        Code::ResourceExhausted
    };
    wire::Error {
        code: code as i32,
        reason: "OF_A_LATER_VERSION".to_owned(),
        text: "not today".to_owned(),
        metadata: [("hint".to_owned(), "later".to_owned())].into(),
        retryable: Some(retryable),
        ..wire::Error::default()
    }
}

pub(super) fn status(error: wire::Error) -> Status {
    let mut metadata: HashMap<_, _> = error.metadata.into_iter().collect();
    metadata.extend(
        error
            .retryable
            .map(|r| ("retryable".to_owned(), r.to_string())),
    );
    let details = ErrorDetails::with_error_info(error.reason, Reason::DOMAIN, metadata);
    Status::with_error_details(Code::from_i32(error.code), error.text, details)
}

/// The error with which `node` refuses the partition, if it is not its leader.
fn refusal(state: &mut State, node: usize, topic: &str, partition: u32) -> Option<wire::Error> {
    let addresses = state.addresses.clone();
    if !state.topics.contains_key(topic) {
        return Some(error(Reason::UnknownTopic, &[]));
    }
    let Some(partition) = state.partition(topic, partition) else {
        return Some(error(Reason::UnknownPartition, &[]));
    };
    match partition.leader {
        None => Some(error(Reason::NoLeader, &[])),
        Some(leader) if leader == node => None,
        Some(leader) => Some(error(
            Reason::NotLeader,
            &[
                ("leader_node", (leader + 1).to_string()),
                ("leader_address", addresses[leader].to_string()),
                ("leader_epoch", partition.epoch.to_string()),
            ],
        )),
    }
}

/// Appends a batch like a leader. Returns its offset, and whether it was appended before.
fn append(state: &mut State, request: &wire::ProduceRequest) -> Result<(u64, bool), wire::Error> {
    let batch = request.batch.as_ref().unwrap();
    if let Some(max) = state.batch_max_bytes
        && batch.data.len() > max as usize
    {
        let metadata = [
            ("field", "batch.max.bytes".into()),
            ("bound", max.to_string()),
        ];
        return Err(error(Reason::BatchTooLarge, &metadata));
    }
    verify_crc(&batch.data, batch.crc32c).map_err(|_| error(Reason::BatchCorrupt, &[]))?;
    let partition = state.partition(&request.topic, request.partition).unwrap();
    let end = partition.end();
    if let Some(stamp) = request.producer {
        let known = partition.producers.entry(stamp.producer_id).or_default();
        if stamp.producer_epoch < known.epoch {
            return Err(error(Reason::ProducerFenced, &[]));
        }
        if stamp.producer_epoch > known.epoch {
            *known = super::Sequence {
                epoch: stamp.producer_epoch,
                ..super::Sequence::default()
            };
        }
        if let Some((_, at)) = known.recent.iter().find(|(s, _)| *s == stamp.base_sequence) {
            return Ok((*at, true));
        }
        if stamp.base_sequence < known.next {
            return Err(error(Reason::DuplicateSequence, &[]));
        }
        if stamp.base_sequence != known.next {
            let metadata = [("expected_sequence", known.next.to_string())];
            return Err(error(Reason::OutOfOrderSequence, &metadata));
        }
        known.next += u64::from(batch.record_count);
        known.recent.push_back((stamp.base_sequence, end));
        if known.recent.len() > PRODUCER_BATCHES_MAX_COUNT {
            known.recent.pop_front();
        }
    }
    partition.log.push(Stored {
        base_offset: end,
        count: batch.record_count,
        data: batch.data.clone(),
        crc32c: batch.crc32c,
    });
    Ok((end, false))
}

/// The reply to a request. A status ends the stream.
fn produce(
    state: &mut State,
    node: usize,
    request: &wire::ProduceRequest,
) -> Result<wire::ProduceReply, Status> {
    state.produce_requests += 1;
    let mut reply = wire::ProduceReply {
        topic: request.topic.clone(),
        partition: request.partition,
        request_id: request.request_id,
        durability: wire::Durability::MajorityFsync.into(),
        ..wire::ProduceReply::default()
    };
    if let Some(refusal) = refusal(state, node, &request.topic, request.partition) {
        reply.error = Some(refusal);
        return Ok(reply);
    }
    let fault = state.faults.pop_front().unwrap_or(Fault::None);
    match fault {
        Fault::Drop => return Err(Status::unavailable("dropped")),
        Fault::Reject(reason) => {
            reply.error = Some(error(reason, &[]));
            return Ok(reply);
        }
        Fault::RejectNewer { retryable } => {
            reply.error = Some(newer(retryable));
            return Ok(reply);
        }
        Fault::AckAnother(other) => {
            reply.record_count = request.batch.as_ref().unwrap().record_count;
            match other {
                Other::Request => reply.request_id += 1_000_000,
                Other::Topic => reply.topic.push('x'),
                Other::Partition => reply.partition += 1,
                Other::RecordCount => reply.record_count += 1,
            }
            return Ok(reply);
        }
        _ => {}
    }
    match append(state, request) {
        Ok((base_offset, duplicate)) => {
            reply.base_offset = base_offset;
            reply.duplicate = duplicate;
            reply.record_count = request.batch.as_ref().unwrap().record_count;
        }
        Err(error) => {
            reply.error = Some(error);
            return Ok(reply);
        }
    }
    reply.leader_epoch = state
        .partition(&request.topic, request.partition)
        .unwrap()
        .epoch;
    match fault {
        Fault::AppendThen(reason) => reply.error = Some(error(reason, &[])),
        Fault::AppendThenDrop => return Err(Status::unavailable("dropped")),
        Fault::AppendThenMoveLeader => state.move_leader(&request.topic, request.partition),
        _ => {}
    }
    Ok(reply)
}

/// The error with which a node refuses a read, if its replica may not answer it.
fn read_refusal(
    state: &mut State,
    node: usize,
    request: &wire::ConsumeRequest,
) -> Option<wire::Error> {
    let not_leader = refusal(state, node, &request.topic, request.partition)?;
    let is_about_leader = not_leader.reason == Reason::NotLeader.as_str();
    if request.consistency() != wire::ReadConsistency::Session || !is_about_leader {
        return Some(not_leader);
    }
    let behind = error(Reason::ReplicaNotCurrent, &[]);
    state.behind.contains(&node).then_some(behind)
}

/// The guarantee of a node's reply.
fn given(state: &mut State, node: usize, request: &wire::ConsumeRequest) -> wire::ReadConsistency {
    let is_leader = refusal(state, node, &request.topic, request.partition).is_none();
    match request.consistency() {
        _ if state.former.contains(&node) => wire::ReadConsistency::Unspecified,
        wire::ReadConsistency::Session if !is_leader => wire::ReadConsistency::Session,
        _ => wire::ReadConsistency::Leader,
    }
}

/// The position of a consumer.
struct Reading {
    node: usize,
    shared: Arc<ClusterState>,
    request: wire::ConsumeRequest,
    next: u64,
    /// The end for a consumer that does not follow.
    end: u64,
    failed: bool,
}

impl Reading {
    fn start(fake: &Fake, request: wire::ConsumeRequest) -> Result<Self, Status> {
        let mut state = fake.shared.state();
        state.consumes.push((fake.node, request.clone()));
        if let Some(error) = read_refusal(&mut state, fake.node, &request) {
            return Err(status(error));
        }
        let partition = state.partition(&request.topic, request.partition).unwrap();
        let (start, end) = (partition.start, partition.end());
        let next = match request.position.and_then(|p| p.at).unwrap() {
            At::Offset(offset) if offset < start || offset > end => {
                let metadata = [
                    ("log_start_offset", start.to_string()),
                    ("high_watermark", end.to_string()),
                ];
                return Err(status(error(Reason::OffsetOutOfRange, &metadata)));
            }
            At::Offset(offset) => offset,
            At::Earliest(_) => start,
            At::Latest(_) => end,
            At::TimestampMs(_) => return Err(Status::unimplemented("clients resolve timestamps")),
        };
        let shared = Arc::clone(&fake.shared);
        Ok(Self {
            node: fake.node,
            shared,
            request,
            next,
            end,
            failed: false,
        })
    }

    /// The next reply, if there are records; `Err(None)` at the end.
    fn read(&mut self) -> Result<Option<wire::FetchReply>, Option<Status>> {
        let mut state = self.shared.state();
        if !self.request.follow && self.next >= self.end {
            return Err(None);
        }
        let (topic, number) = (self.request.topic.clone(), self.request.partition);
        let forwards = state.forwards_reads;
        let refusal = read_refusal(&mut state, self.node, &self.request);
        if let Some(error) = refusal.filter(|_| !forwards) {
            return Err(Some(status(error)));
        }
        state.served_by.insert(self.node);
        let consistency = given(&mut state, self.node, &self.request);
        let old_end = state.old_ends.get(&self.node).copied();
        let partition = state.partition(&topic, number).unwrap();
        let mut reply = wire::FetchReply {
            high_watermark: old_end.unwrap_or_else(|| partition.end()),
            log_start_offset: partition.start,
            leader_epoch: partition.epoch,
            consistency: consistency.into(),
            read_by: self.node as u64 + 1,
            ..wire::FetchReply::default()
        };
        let mut size = 0;
        for stored in &partition.log {
            let end = stored.base_offset + u64::from(stored.count);
            if end <= self.next || size >= self.request.max_bytes as usize {
                continue;
            }
            size += stored.data.len();
            reply.next_offset = end;
            reply.batches.push(wire::FetchedBatch {
                base_offset: stored.base_offset,
                record_count: stored.count,
                data: stored.data.clone(),
                crc32c: stored.crc32c,
                leader_epoch: partition.epoch,
                ..wire::FetchedBatch::default()
            });
        }
        if reply.batches.is_empty() {
            return Ok(None);
        }
        match state.read_faults.pop_front().unwrap_or(ReadFault::None) {
            ReadFault::Drop => return Err(Some(Status::unavailable("dropped"))),
            ReadFault::Newer { retryable } => return Err(Some(status(newer(retryable)))),
            ReadFault::Reject(reason) => return Err(Some(status(error(reason, &[])))),
            ReadFault::Corrupt => {
                let mut data = BytesMut::from(reply.batches[0].data.as_ref());
                let last = data.len() - 1;
                data[last] ^= 1;
                reply.batches[0].data = data.freeze();
            }
            ReadFault::None => {}
        }
        self.next = reply.next_offset;
        state.served_bytes += size;
        Ok(Some(reply))
    }

    async fn next(mut self) -> Option<(Result<wire::FetchReply, Status>, Self)> {
        if self.failed {
            return None;
        }
        loop {
            let shared = Arc::clone(&self.shared);
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            match self.read() {
                Ok(Some(reply)) => return Some((Ok(reply), self)),
                Ok(None) => changed.await,
                Err(None) => return None,
                Err(Some(status)) => {
                    self.failed = true;
                    return Some((Err(status), self));
                }
            }
        }
    }
}

#[tonic::async_trait]
impl LogService for Fake {
    type ProduceStreamStream = Replies<wire::ProduceReply>;
    type ConsumeStream = Replies<wire::FetchReply>;

    async fn produce(
        &self,
        _: Request<wire::ProduceRequest>,
    ) -> Result<Response<wire::ProduceReply>, Status> {
        Err(Status::unimplemented("clients use the stream"))
    }

    async fn produce_stream(
        &self,
        request: Request<Streaming<wire::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let (node, shared) = (self.node, Arc::clone(&self.shared));
        let replies = stream::unfold(Some(request.into_inner()), move |requests| {
            let shared = Arc::clone(&shared);
            async move {
                let mut requests = requests?;
                let request = loop {
                    let request = requests.message().await.ok()??;
                    let mut state = shared.state();
                    state.produce_bytes += request.batch.as_ref().unwrap().data.len();
                    if !state.hold {
                        break request;
                    }
                };
                let reply = produce(&mut shared.state(), node, &request);
                shared.changed.notify_waiters();
                let requests = reply.is_ok().then_some(requests);
                Some((reply, requests))
            }
        });
        Ok(Response::new(replies.boxed()))
    }

    async fn fetch(
        &self,
        _: Request<wire::FetchRequest>,
    ) -> Result<Response<wire::FetchReply>, Status> {
        Err(Status::unimplemented("clients use the stream"))
    }

    async fn consume(
        &self,
        request: Request<wire::ConsumeRequest>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let reading = Reading::start(self, request.into_inner())?;
        Ok(Response::new(
            stream::unfold(reading, Reading::next).boxed(),
        ))
    }

    async fn delete_records(
        &self,
        _: Request<wire::DeleteRecordsRequest>,
    ) -> Result<Response<wire::DeleteRecordsReply>, Status> {
        Err(Status::unimplemented("the fake deletes no records"))
    }

    async fn list_offsets(
        &self,
        request: Request<wire::ListOffsetsRequest>,
    ) -> Result<Response<wire::ListOffsetsReply>, Status> {
        let leaderless_after = self.shared.state().leaderless_after;
        if let Some(after) = leaderless_after {
            tokio::time::sleep(after).await;
            return Err(status(error(Reason::NoLeader, &[])));
        }
        let request = request.into_inner();
        let mut state = self.shared.state();
        let mut reply = wire::ListOffsetsReply::default();
        if state.offsets_without_leader > 0 {
            state.offsets_without_leader -= 1;
            let without_leader = |partition| wire::PartitionOffsets {
                partition,
                error: Some(error(Reason::NoLeader, &[])),
                ..wire::PartitionOffsets::default()
            };
            reply.partitions = request.partitions.into_iter().map(without_leader).collect();
            return Ok(Response::new(reply));
        }
        for number in request.partitions {
            let partition = state.partition(&request.topic, number).unwrap();
            let at_time = request.timestamp_ms.and_then(|time| {
                let holds =
                    |b: &&Stored| BatchView::parse(b.data.clone()).unwrap().max_time_ms() >= time;
                partition.log.iter().find(holds).map(|b| b.base_offset)
            });
            reply.partitions.push(wire::PartitionOffsets {
                partition: number,
                log_start_offset: partition.start,
                high_watermark: partition.end(),
                offset_at_timestamp: at_time,
                ..wire::PartitionOffsets::default()
            });
        }
        Ok(Response::new(reply))
    }

    async fn get_metadata(
        &self,
        request: Request<wire::GetMetadataRequest>,
    ) -> Result<Response<wire::GetMetadataReply>, Status> {
        let wire::GetMetadataRequest {
            topics: requested,
            allow_stale,
        } = request.into_inner();
        let mut state = self.shared.state();
        if state.not_ready.contains(&self.node) && !allow_stale {
            return Err(status(error(Reason::NotReady, &[])));
        }
        state.metadata_by.push(self.node);
        state.probes += usize::from(requested == [""]);
        let lagging = state.lagging.get(&self.node).copied();
        let nodes = (1..)
            .zip(&state.addresses)
            .map(|(node_id, address)| wire::Node {
                node_id,
                client_address: address.to_string(),
                zone: zone_of(&state, node_id),
                ..wire::Node::default()
            });
        let nodes = nodes.collect();
        let names = if requested.is_empty() {
            state.topics.keys().cloned().collect()
        } else {
            requested
        };
        let topics = names.into_iter().map(|name| match lagging {
            None => topic(&state, name),
            Some(_) => unknown_topic(name),
        });
        let topics = topics.collect();
        Ok(Response::new(wire::GetMetadataReply {
            cluster_id: "fake".to_owned(),
            nodes,
            topics,
            metadata_version: lagging.unwrap_or(state.metadata_version),
            ..Default::default()
        }))
    }

    async fn init_producer(
        &self,
        _: Request<wire::InitProducerRequest>,
    ) -> Result<Response<wire::InitProducerReply>, Status> {
        let mut state = self.shared.state();
        state.next_producer += 1;
        let producer_id = state.next_producer;
        Ok(Response::new(wire::InitProducerReply {
            producer_id,
            producer_epoch: 0,
        }))
    }
}

fn zone_of(state: &State, node_id: u64) -> String {
    let at = usize::try_from(node_id).unwrap() - 1;
    state.zones.get(&at).copied().unwrap_or_default().to_owned()
}

fn unknown_topic(name: String) -> wire::Topic {
    wire::Topic {
        name,
        error: Some(error(Reason::UnknownTopic, &[])),
        ..wire::Topic::default()
    }
}

fn topic(state: &State, name: String) -> wire::Topic {
    let Some(partitions) = state.topics.get(&name) else {
        return unknown_topic(name);
    };
    let partitions = (0..).zip(partitions).map(|(partition, p)| wire::Partition {
        partition,
        leader_node: p.leader.map(|leader| leader as u64 + 1),
        leader_epoch: p.epoch,
        replicas: (1..).zip(&state.addresses).map(|(id, _)| id).collect(),
        ..wire::Partition::default()
    });
    wire::Topic {
        name,
        topic_id: 1,
        partitions: partitions.collect(),
        error: None,
        batch_max_bytes: state.batch_max_bytes,
        record_max_bytes: None,
    }
}
