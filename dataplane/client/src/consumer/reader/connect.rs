//! Opens the streams of a reader: from the leader, or from the nearest replica.

use std::sync::Arc;

use lograft_core::limits::{CONSUMER_REPLICA_CHECK_INTERVAL, CONSUMER_REPLICA_OPEN_TIMEOUT};
use lograft_core::{NodeId, Reason};
use lograft_proto::log::v1 as wire;
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::{PartitionReader, no_reply};
use crate::cluster::replicas::{ReplicaNode, StreamPlace};
use crate::consumer::config::StartAt;
use crate::consumer::partition_stream::{PartitionStream, Source};
use crate::error::ClientError;

impl PartitionReader {
    pub(super) async fn connect(&mut self) -> Result<PartitionStream, ClientError> {
        // Fails at once if the topic does not exist any more, on any node that answers. Otherwise
        // the search for its leader would go on until the retry timeout.
        let topic = self.pool().topic(&self.config.topic).await?;
        if self.topic_id == 0 {
            self.topic_id = topic.id;
        } else if self.topic_id != topic.id {
            let topic = Arc::clone(&topic.name);
            return Err(ClientError::TopicRecreated { topic });
        }
        if self.config.is_nearest() {
            let replicas = self.replicas();
            if let Some(place) = self.pool().read_streams.take(replicas) {
                return self.connect_replica(place).await;
            }
        }
        self.connect_leader().await
    }

    /// The replicas to choose from. Behind a proxy, the addresses of the nodes mean nothing.
    fn replicas(&self) -> Vec<ReplicaNode> {
        if self.pool().config.endpoints_only {
            return Vec::new();
        }
        let mut replicas = self.pool().replicas(&self.config.topic, self.partition);
        replicas.retain(|replica| {
            let behind = self.behind.get(&replica.node);
            behind.is_none_or(|until| *until <= Instant::now())
        });
        replicas
    }

    async fn connect_replica(
        &mut self,
        place: StreamPlace,
    ) -> Result<PartitionStream, ClientError> {
        let node = self.connections.node(&place.replica.address)?;
        let mut log = node.log();
        let opening = log.consume(self.request());
        let opened = timeout(CONSUMER_REPLICA_OPEN_TIMEOUT, opening).await;
        match opened.unwrap_or_else(|_| Err(Status::unavailable("the node does not reply"))) {
            Ok(reply) => {
                let source = (Source::Replica(place), node);
                Ok(PartitionStream::new(
                    source,
                    self.seen.epoch,
                    reply.into_inner(),
                ))
            }
            Err(status) => {
                let error = node.error("consume", status);
                self.avoid(place.replica.node, &error);
                Err(error)
            }
        }
    }

    async fn connect_leader(&mut self) -> Result<PartitionStream, ClientError> {
        let (leader, epoch) = {
            let metadata = self.pool().metadata();
            let (topic, partition) = (&self.config.topic, self.partition);
            (
                metadata.leader(topic, partition),
                metadata.leader_epoch(topic, partition),
            )
        };
        let (leader, address) = leader.ok_or_else(|| ClientError::NoLeader {
            topic: self.config.topic.as_str().into(),
            partition: self.partition,
        })?;
        let node = self.connections.node(&address)?;
        let read = (&*self.config.topic, self.partition);
        let mut log = node.log();
        let opened = tokio::select! {
            biased;
            opened = log.consume(self.request()) => opened,
            () = self.pool().leader_moves(read, (leader, &address)) => Err(no_reply()),
        };
        match opened {
            Ok(reply) => {
                let source = (Source::Leader(leader), node);
                Ok(PartitionStream::new(source, epoch, reply.into_inner()))
            }
            Err(status) => {
                let error = node.error("consume", status);
                self.update_leader(leader, &error);
                Err(error)
            }
        }
    }

    fn request(&self) -> wire::ConsumeRequest {
        let is_nearest = self.config.is_nearest();
        let consistency = if is_nearest {
            wire::ReadConsistency::Session
        } else {
            wire::ReadConsistency::Leader
        };
        wire::ConsumeRequest {
            principal: String::new(),
            topic: self.config.topic.clone(),
            partition: self.partition.get(),
            position: Some(wire_position(self.position)),
            max_bytes: self.config.reply_max_bytes,
            format: wire::FetchFormat::Batches.into(),
            follow: self.config.follow,
            max_records: 0,
            forwarded: false,
            topic_id: Some(self.topic_id).filter(|id| *id != 0),
            consistency: consistency.into(),
            seen: Some(wire::ReadPoint {
                leader_epoch: self.seen.epoch.get(),
                high_watermark: self.seen.high_watermark.get(),
            }),
            // A reader of the leader keeps its stream while a former leader forwards.
            no_forward: is_nearest && !self.pool().config.endpoints_only,
            zone: self.pool().config.zone.clone(),
        }
    }

    /// Avoids a replica after a failure: for this partition only if the replica lags behind, else
    /// for all.
    pub(super) fn avoid(&mut self, node: NodeId, error: &ClientError) {
        let (topic, partition) = (&self.config.topic, self.partition);
        self.pool().note_leader(topic, partition, error);
        match error.reason() {
            // The node closes connections of their age, and takes new ones.
            Some(Reason::ConnectionClosing) => {}
            Some(_) => {
                let until = Instant::now() + CONSUMER_REPLICA_CHECK_INTERVAL;
                self.behind.insert(node, until);
            }
            None => self.pool().read_streams.avoid(node),
        }
        // Another replica, or the leader, is tried at once.
        self.has_next_node = true;
    }

    /// Ends the stream if another replica is better now.
    pub(super) fn leave_for_better(&mut self) {
        let replicas = self.replicas();
        let streams = Arc::clone(&self.pool().read_streams);
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.recheck_at = Instant::now() + CONSUMER_REPLICA_CHECK_INTERVAL;
        let is_left = match &stream.source {
            Source::Replica(place) => streams.is_better(&place.replica, replicas),
            // It was the last resort.
            Source::Leader(_) => streams.take(replicas).is_some(),
        };
        if is_left {
            self.stream = None;
        }
    }
}

fn wire_position(position: StartAt) -> wire::Position {
    use wire::position::At;
    let at = match position {
        StartAt::Earliest => At::Earliest(true),
        StartAt::Latest => At::Latest(true),
        StartAt::Offset(offset) => At::Offset(offset.get()),
        StartAt::Timestamp(time) => At::TimestampMs(time),
    };
    wire::Position { at: Some(at) }
}
