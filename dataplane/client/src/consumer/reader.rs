//! Reads one partition from its leader, wherever that is, and goes on after failures at its own
//! next offset.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use lograft_core::limits::{CONSUMER_CORRUPT_MAX_COUNT, CONSUMER_STREAM_HEALTHY_MIN};
use lograft_core::record_batch::BatchError;
use lograft_core::{NodeId, Offset, PartitionId, Reason, Term};
use lograft_proto::log::v1 as wire;
use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};

use super::start::Start;
use super::{ConsumedBatch, ConsumerConfig, OutOfRange, StartAt};
use crate::client::reach::{Node, Reach};
use crate::error::ClientError;

/// A consumer's own connections, one per leader: a reader that stops reading fills these windows
/// and nobody else's.
pub(crate) struct Connections {
    reach: Arc<Reach>,
    nodes: Mutex<HashMap<Arc<str>, Node>>,
}

impl Connections {
    pub(crate) fn new(reach: Arc<Reach>) -> Self {
        Self {
            reach,
            nodes: Mutex::default(),
        }
    }

    fn node(&self, address: &Arc<str>) -> Result<Node, ClientError> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return Ok(node.clone());
        }
        let node = self.reach.open(address)?;
        nodes.insert(Arc::clone(address), node.clone());
        Ok(node)
    }
}

/// Reads one partition.
pub(crate) struct Reader {
    connections: Arc<Connections>,
    config: Arc<ConsumerConfig>,
    partition: PartitionId,
    /// Where the next stream begins: an offset once anything is known.
    at: StartAt,
    end: Option<Offset>,
    source: Option<Source>,
    /// Batches of the last reply.
    fetched: VecDeque<wire::FetchedBatch>,
    high_watermark: Offset,
    /// Whether the last failure told who leads instead.
    has_hint: bool,
    /// Failures since the last progress, and when they began.
    failures: u32,
    failing_since: Option<Instant>,
    damaged: u32,
}

/// A stream from a leader.
struct Source {
    leader: NodeId,
    node: Node,
    replies: Streaming<wire::FetchReply>,
    opened_at: Instant,
    /// The newest term heard of.
    epoch: Term,
    /// A newer term's leader answers: the node passes its replies on, or leads anew.
    has_moved: bool,
}

impl Reader {
    pub(crate) fn new(
        connections: Arc<Connections>,
        config: Arc<ConsumerConfig>,
        start: Start,
    ) -> Self {
        Self {
            connections,
            config,
            partition: start.partition,
            at: start.at,
            end: start.end,
            source: None,
            fetched: VecDeque::new(),
            high_watermark: Offset::ZERO,
            has_hint: false,
            failures: 0,
            failing_since: None,
            damaged: 0,
        }
    }

    /// The batches in order; after an error there is no more.
    pub(crate) fn into_stream(self) -> BoxStream<'static, Result<ConsumedBatch, ClientError>> {
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

    fn reach(&self) -> &Reach {
        &self.connections.reach
    }

    const fn offset(&self) -> Option<Offset> {
        match self.at {
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

    /// Checks a batch; passes over one that was read before.
    fn decode(
        &mut self,
        fetched: wire::FetchedBatch,
    ) -> Result<ControlFlow<Option<ConsumedBatch>>, ClientError> {
        let base_offset = Offset(fetched.base_offset);
        if self.offset().is_some_and(|offset| base_offset > offset) {
            return Err(self.protocol_error("a gap between batches"));
        }
        let decoded =
            ConsumedBatch::decode(self.partition, fetched, self.offset(), self.high_watermark);
        let Some(batch) = decoded? else {
            return Ok(ControlFlow::Continue(()));
        };
        self.failures = 0;
        self.failing_since = None;
        self.damaged = 0;
        self.at = StartAt::Offset(batch.next_offset());
        Ok(ControlFlow::Break(Some(batch)))
    }

    /// Waits for the leader's next reply.
    async fn receive(&mut self) -> Result<ControlFlow<Option<ConsumedBatch>>, ClientError> {
        self.follow_leader().await;
        if self.source.is_none() {
            self.source = Some(self.connect().await?);
        }
        let Some(source) = &mut self.source else {
            return Ok(ControlFlow::Continue(()));
        };
        let reply = source.replies.message().await;
        match reply.map_err(|status| source.node.error(status))? {
            Some(reply) => {
                self.take_in(reply);
                Ok(ControlFlow::Continue(()))
            }
            // Without an end known here it is the one that the node saw.
            None if !self.config.follow && self.end.is_none() => Ok(ControlFlow::Break(None)),
            None => Err(ClientError::Broken {
                endpoint: source.node.address.as_ref().to_owned(),
                status: Arc::new(Status::unavailable("the node ended the stream")),
            }),
        }
    }

    /// A node that lost the lead passes on what the new leader says: goes there without the detour.
    async fn follow_leader(&mut self) {
        let moved = self.source.as_mut().filter(|source| source.has_moved);
        let Some(source) = moved else { return };
        source.has_moved = false;
        let before = source.leader;
        self.reach().refresh().await;
        let leader = self
            .reach()
            .routes()
            .leader(&self.config.topic, self.partition);
        if leader.is_some_and(|(leader, _)| leader != before) {
            self.source = None;
        }
    }

    fn take_in(&mut self, reply: wire::FetchReply) {
        self.high_watermark = Offset(reply.high_watermark);
        let epoch = Term(reply.leader_epoch);
        if let Some(source) = self.source.as_mut().filter(|source| epoch > source.epoch) {
            source.epoch = epoch;
            source.has_moved = true;
        }
        if !self.config.follow && self.end.is_none() {
            self.end = Some(self.high_watermark);
        }
        if self.offset().is_none() {
            let first = reply
                .batches
                .first()
                .map_or(reply.next_offset, |b| b.base_offset);
            self.at = StartAt::Offset(Offset(first));
        }
        self.fetched = reply.batches.into();
    }

    async fn connect(&mut self) -> Result<Source, ClientError> {
        let (leader, epoch) = {
            let routes = self.reach().routes();
            let (topic, partition) = (&self.config.topic, self.partition);
            (
                routes.leader(topic, partition),
                routes.leader_epoch(topic, partition),
            )
        };
        let (leader, address) = leader.ok_or_else(|| ClientError::NoLeader {
            topic: self.config.topic.as_str().into(),
            partition: self.partition,
        })?;
        let request = wire::ConsumeRequest {
            topic: self.config.topic.clone(),
            partition: self.partition.get(),
            position: Some(position(self.at)),
            max_bytes: self.config.reply_max_bytes,
            format: wire::FetchFormat::Batches.into(),
            follow: self.config.follow,
            max_records: 0,
            forwarded: false,
        };
        let node = self.connections.node(&address)?;
        let called = node.log().consume(request).await;
        match called {
            Ok(reply) => {
                let (replies, opened_at) = (reply.into_inner(), Instant::now());
                Ok(Source {
                    leader,
                    node,
                    replies,
                    opened_at,
                    epoch,
                    has_moved: false,
                })
            }
            Err(status) => {
                let error = node.error(status);
                self.learn_failure(leader, &error);
                Err(error)
            }
        }
    }

    fn learn_failure(&mut self, leader: NodeId, error: &ClientError) {
        let topic = &self.config.topic;
        self.has_hint = self
            .reach()
            .learn_failure(topic, self.partition, leader, error);
    }

    /// Waits until another try makes sense; fails if none does.
    async fn recover(&mut self, error: ClientError) -> Result<(), ClientError> {
        let source = self.source.take();
        self.fetched.clear();
        if error.reason() == Some(Reason::OffsetOutOfRange) {
            return self.on_out_of_range(error);
        }
        if let ClientError::Batch(cause) = &error {
            self.damaged += 1;
            let is_damage = matches!(cause.as_ref(), BatchError::Crc { .. });
            if !is_damage || self.damaged > CONSUMER_CORRUPT_MAX_COUNT {
                return Err(error);
            }
        } else if !error.is_retryable() && !self.may_be_lag(&error) {
            return Err(error);
        }
        let lived = |source: &Source| source.opened_at.elapsed() >= CONSUMER_STREAM_HEALTHY_MIN;
        let source_lived = source.as_ref().is_some_and(lived);
        if let Some(source) = source {
            self.learn_failure(source.leader, &error);
        }
        // A stream that lived, if only waiting for records, is progress.
        if source_lived {
            self.failures = 0;
            self.failing_since = None;
        }
        self.failures += 1;
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let after = self.config.retry_timeout;
        if since.elapsed() >= after {
            let last = Some(Box::new(error));
            return Err(ClientError::Timeout {
                action: "consuming",
                after,
                last,
            });
        }
        tracing::debug!(partition = %self.partition, %error, "reading again");
        // The first try goes to the leader that is known, or made known by the failure.
        let has_hint = std::mem::take(&mut self.has_hint);
        if !has_hint || self.failures > 1 {
            sleep(self.reach().backoff(self.failures)).await;
            self.reach().refresh().await;
        }
        Ok(())
    }

    /// Whether a node does not know a partition that is there: it lags behind.
    fn may_be_lag(&self, error: &ClientError) -> bool {
        let is_unknown = matches!(
            error.reason(),
            Some(Reason::UnknownTopic | Reason::UnknownPartition)
        );
        let partition = self.partition.get() as usize;
        let routes = self.reach().routes();
        let topic = routes.topic(&self.config.topic);
        is_unknown && topic.is_some_and(|topic| topic.partitions.len() > partition)
    }

    fn on_out_of_range(&mut self, error: ClientError) -> Result<(), ClientError> {
        let range = error.valid_offsets();
        self.at = match self.config.out_of_range {
            OutOfRange::Error => return Err(error),
            OutOfRange::Earliest => {
                range.map_or(StartAt::Earliest, |(start, _)| StartAt::Offset(start))
            }
            OutOfRange::Latest => range.map_or(StartAt::Latest, |(_, end)| StartAt::Offset(end)),
        };
        Ok(())
    }

    fn protocol_error(&self, what: &'static str) -> ClientError {
        let endpoint = self
            .source
            .as_ref()
            .map_or("", |source| source.node.address.as_ref())
            .to_owned();
        ClientError::Protocol { endpoint, what }
    }
}

fn position(at: StartAt) -> wire::Position {
    use wire::position::At;
    let at = match at {
        StartAt::Earliest => At::Earliest(true),
        StartAt::Latest => At::Latest(true),
        StartAt::Offset(offset) => At::Offset(offset.get()),
        StartAt::Timestamp(time) => At::TimestampMs(time),
    };
    wire::Position { at: Some(at) }
}
