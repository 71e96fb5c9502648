//! Reads one partition from one of its replicas and resumes at the next offset after failures.

mod connect;
mod recovery;

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use lograft_core::{NodeId, Offset, PartitionId, Term};
use lograft_proto::log::v1 as wire;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::batch::ConsumedBatch;
use super::config::{ConsumerConfig, StartAt};
use super::partition_stream::{ConsumerConnections, PartitionStream, Source};
use super::start::StartPosition;
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// The greatest leader epoch and high watermark in the replies.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    epoch: Term,
    high_watermark: Offset,
}

/// Whether a reader follows the name of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// A topic that is created again under the name is read too.
    Name,
    /// Another topic of the same name is an error.
    Id,
}

/// Reads one partition.
pub(super) struct PartitionReader {
    connections: Arc<ConsumerConnections>,
    config: Arc<ConsumerConfig>,
    partition: PartitionId,
    /// The topic that the position belongs to. Another topic of the same name is another topic.
    topic_id: u64,
    identity: Identity,
    // The read position is kept here and not in the stream: it advances only when a verified batch
    // is returned to the caller. A new stream, to the same or another leader, starts from it, so a
    // leader change neither skips nor repeats records. Leaders only serve committed records below
    // the high watermark, so an offset that was read means the same record on every leader.
    position: StartAt,
    /// End offset (exclusive), if the reader stops there.
    end: Option<Offset>,
    stream: Option<PartitionStream>,
    /// The newest state of the partition in the replies. No replica that has less is read.
    seen: Seen,
    /// Whether the current stream's leader epoch changed: another node may be the leader now.
    leader_changed: bool,
    /// Whether the node of the current stream forwards the replies of another one.
    is_forwarded: bool,
    /// Batches of the last reply that were not returned yet.
    fetched: VecDeque<wire::FetchedBatch>,
    /// Whether the last failure named the new leader, or another replica can be tried.
    has_next_node: bool,
    /// Replicas that lag behind, with the time until which they are not tried.
    behind: HashMap<NodeId, Instant>,
    /// Failures since the last progress, and the time of the first of them.
    failures: u32,
    failing_since: Option<Instant>,
    /// Consecutive corrupt batches.
    corrupt: u32,
}

impl PartitionReader {
    pub(super) fn new(
        connections: Arc<ConsumerConnections>,
        config: Arc<ConsumerConfig>,
        start: StartPosition,
    ) -> Self {
        let known = connections.pool.metadata().topic(&config.topic).cloned();
        Self {
            topic_id: known.map_or(0, |topic| topic.id),
            identity: Identity::Name,
            connections,
            config,
            partition: start.partition,
            position: start.at,
            end: start.end,
            stream: None,
            seen: Seen {
                high_watermark: start.end.unwrap_or(Offset::ZERO),
                ..Seen::default()
            },
            leader_changed: false,
            is_forwarded: false,
            fetched: VecDeque::new(),
            has_next_node: false,
            behind: HashMap::new(),
            failures: 0,
            failing_since: None,
            corrupt: 0,
        }
    }

    /// The same for the topic with this id, and for no other one of the same name.
    pub(super) const fn of_topic(mut self, topic_id: u64) -> Self {
        self.topic_id = topic_id;
        self.identity = Identity::Id;
        self
    }

    /// The batches in order. The stream ends after an error.
    pub(super) fn into_stream(self) -> BoxStream<'static, Result<ConsumedBatch, ClientError>> {
        stream::unfold(Some(self), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(batch)) => Some((Ok(batch), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    fn pool(&self) -> &NodePool {
        &self.connections.pool
    }

    /// The next offset to read, once it is known.
    const fn offset(&self) -> Option<Offset> {
        match self.position {
            StartAt::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn is_at_end(&self) -> bool {
        self.end
            .zip(self.offset())
            .is_some_and(|(end, offset)| offset >= end)
    }

    async fn next(&mut self) -> Result<Option<ConsumedBatch>, ClientError> {
        loop {
            if self.is_at_end() {
                return Ok(None);
            }
            let step = match self.fetched.pop_front() {
                Some(fetched) => self.decode(fetched),
                None => self.receive().await,
            };
            match step {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(batch)) => return Ok(batch),
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// Verifies a batch and advances the position. Skips a batch that was already read.
    fn decode(
        &mut self,
        fetched: wire::FetchedBatch,
    ) -> Result<ControlFlow<Option<ConsumedBatch>>, ClientError> {
        let base_offset = Offset(fetched.base_offset);
        if self.offset().is_some_and(|offset| base_offset > offset) {
            return Err(self.protocol_error("a gap between batches"));
        }
        let decoded = ConsumedBatch::decode(
            self.partition,
            fetched,
            self.offset(),
            self.seen.high_watermark,
        );
        let Some(batch) = decoded? else {
            return Ok(ControlFlow::Continue(()));
        };
        self.reset_failures();
        self.corrupt = 0;
        self.position = StartAt::Offset(batch.next_offset());
        Ok(ControlFlow::Break(Some(batch)))
    }

    /// Waits for the next reply of the replica.
    async fn receive(&mut self) -> Result<ControlFlow<Option<ConsumedBatch>>, ClientError> {
        self.follow_leader().await;
        if std::mem::take(&mut self.is_forwarded) {
            self.stream = None;
        }
        let is_due = |stream: &PartitionStream| stream.recheck_at <= Instant::now();
        if self.config.is_nearest() && self.stream.as_ref().is_some_and(is_due) {
            self.leave_for_better();
        }
        if self.stream.is_none() {
            self.stream = Some(self.connect().await?);
            self.leader_changed = false;
        }
        let Some(stream) = &mut self.stream else {
            return Ok(ControlFlow::Continue(()));
        };
        let pool = &self.connections.pool;
        let address = &stream.node.address;
        let (topic, partition) = (&*self.config.topic, self.partition);
        let hangs = async {
            match &stream.source {
                Source::Leader(node) => {
                    pool.leader_moves((topic, partition), (*node, address))
                        .await;
                }
                Source::Replica(_) => pool.stops_replying(address).await,
            }
        };
        let reply = tokio::select! {
            biased;
            reply = stream.replies.message() => reply,
            () = sleep_until(stream.recheck_at), if self.config.is_nearest() => {
                self.leave_for_better();
                return Ok(ControlFlow::Continue(()));
            }
            () = hangs => Err(no_reply()),
        };
        match reply.map_err(|status| stream.node.error("consume", status))? {
            Some(reply) => {
                pool.note_heard(address);
                self.accept(reply)?;
                Ok(ControlFlow::Continue(()))
            }
            // If the end is not known here, the node applied the one that it saw.
            None if !self.config.follow && self.end.is_none() => Ok(ControlFlow::Break(None)),
            None => Err(ClientError::Broken {
                endpoint: address.as_ref().to_owned(),
                status: Arc::new(Status::unavailable("the node ended the stream")),
            }),
        }
    }

    /// Moves to the new leader after a leader change. The old leader forwards the new leader's
    /// replies, so without this check the stream would keep the extra hop until it breaks.
    async fn follow_leader(&mut self) {
        let Some(stream) = self.stream.as_ref().filter(|_| self.leader_changed) else {
            return;
        };
        let Source::Leader(previous) = stream.source else {
            return;
        };
        self.leader_changed = false;
        self.pool().refresh().await;
        let leader = self
            .pool()
            .metadata()
            .leader(&self.config.topic, self.partition);
        if leader.is_some_and(|(leader, _)| leader != previous) {
            self.stream = None;
        }
    }

    fn accept(&mut self, reply: wire::FetchReply) -> Result<(), ClientError> {
        let epoch = Term(reply.leader_epoch);
        let high_watermark = Offset(reply.high_watermark);
        if let Some(stream) = &mut self.stream {
            self.leader_changed |= stream.observe_epoch(epoch);
        }
        if let Some(stream) = self.stream.as_ref()
            && let Source::Replica(place) = &stream.source
        {
            if high_watermark < self.seen.high_watermark {
                // Another replica has what this one lacks.
                return Err(ClientError::Broken {
                    endpoint: stream.node.address.as_ref().to_owned(),
                    status: Arc::new(Status::unavailable("an older end of the log than before")),
                });
            }
            let streams = &self.connections.pool.read_streams;
            if reply.consistency() == wire::ReadConsistency::Unspecified {
                // A node of an older version forwards to the leader whatever it is asked for. Its
                // records are right, and another replica is nearer.
                let age = self.connections.pool.config.metadata_max_age;
                streams.avoid_for(place.replica.node, age);
                self.is_forwarded = true;
            } else {
                streams.note_replied(place.replica.node);
            }
        }
        self.seen.epoch = self.seen.epoch.max(epoch);
        self.seen.high_watermark = self.seen.high_watermark.max(high_watermark);
        if !self.config.follow && self.end.is_none() {
            self.end = Some(high_watermark);
        }
        if self.offset().is_none() {
            self.position = StartAt::Offset(start_offset(&reply));
        }
        self.fetched = reply.batches.into();
        Ok(())
    }

    /// Corrects the cached leader after a failure of `leader`.
    fn update_leader(&mut self, leader: NodeId, error: &ClientError) {
        let topic = &self.config.topic;
        self.has_next_node = self
            .pool()
            .update_from_failure(topic, self.partition, leader, error);
    }

    fn protocol_error(&self, what: &'static str) -> ClientError {
        let endpoint = self
            .stream
            .as_ref()
            .map_or("", |stream| stream.node.address.as_ref())
            .to_owned();
        ClientError::Protocol { endpoint, what }
    }
}

/// The error of a read from a node that does not reply, while another one leads the partition, or
/// replies.
fn no_reply() -> Status {
    Status::unavailable("the node does not reply, and another one leads the partition or replies")
}

/// The first offset of a reply that belongs to it. Nodes before 0.3.0 do not name it; it is then
/// that of the first batch, which may have records before the requested position.
fn start_offset(reply: &wire::FetchReply) -> Offset {
    let first = reply.batches.first().map(|batch| batch.base_offset);
    let named = reply.start_offset.or(first);
    Offset(named.unwrap_or(reply.next_offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_starts_where_the_node_says_else_at_its_first_batch() {
        let batch = wire::FetchedBatch {
            base_offset: 10,
            record_count: 5,
            ..wire::FetchedBatch::default()
        };
        let reply = |start_offset, batches| wire::FetchReply {
            start_offset,
            batches,
            next_offset: 15,
            ..wire::FetchReply::default()
        };
        assert_eq!(
            start_offset(&reply(Some(12), vec![batch.clone()])),
            Offset(12)
        );
        assert_eq!(start_offset(&reply(None, vec![batch])), Offset(10));
        assert_eq!(start_offset(&reply(None, Vec::new())), Offset(15));
    }
}
