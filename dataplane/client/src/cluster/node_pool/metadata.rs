//! Fetching metadata, and correcting it from errors.

use std::sync::Arc;

use lograft_core::{NodeId, PartitionId, Reason, limits};
use lograft_proto::log::v1 as wire;
use tokio::time::{Instant, timeout};
use tonic::{Response, Status};

use super::NodePool;
use crate::cluster::metadata::{Metadata, TopicInfo};
use crate::cluster::metadata_cache::{LeaderHint, MetadataCache};
use crate::cluster::node::{Node, Retry};
use crate::error::ClientError;

impl NodePool {
    async fn request_metadata(
        &self,
        topics: &[String],
        node: Node,
    ) -> Result<Response<wire::GetMetadataReply>, Status> {
        let request = wire::GetMetadataRequest {
            topics: topics.to_vec(),
        };
        node.log().get_metadata(request).await
    }

    /// Fetches all metadata and caches the nodes and the topics that are in use. Fails after each
    /// node was tried once.
    pub(crate) async fn fetch_all(&self) -> Result<Metadata, ClientError> {
        let per_node = self.config.connect_timeout + limits::CLIENT_METADATA_TIMEOUT;
        let request = &mut |node| self.request_metadata(&[], node);
        let mut reply = self
            .try_each_node("fetch metadata", per_node, Retry::Always, request)
            .await?;
        let mut all = MetadataCache::default();
        all.update(reply.clone());
        let mut cache = self.metadata();
        cache.retain_topics(&reply.topics);
        reply
            .topics
            .retain(|topic| cache.topic(&topic.name).is_some());
        cache.update(reply);
        Ok(all.snapshot())
    }

    /// Refreshes the cached topics, unless that was done within the minimum age. A failure is only
    /// logged: callers read the cache again and retry with back-off.
    pub(crate) async fn refresh(&self) {
        let mut refreshed_at = self.refreshed_at.lock().await;
        if refreshed_at.is_some_and(|at| at.elapsed() < limits::CLIENT_METADATA_MIN_AGE) {
            return;
        }
        let topics = self.metadata().topic_names();
        if topics.is_empty() {
            return;
        }
        let per_node = limits::CLIENT_METADATA_TIMEOUT;
        let request = &mut |node| self.request_metadata(&topics, node);
        match self
            .try_each_node("fetch metadata", per_node, Retry::Always, request)
            .await
        {
            Ok(reply) => self.metadata().update(reply),
            Err(error) => tracing::debug!(%error, "metadata refresh failed"),
        }
        *refreshed_at = Some(Instant::now());
    }

    /// One topic, from the cache or fetched with retries.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<TopicInfo>, ClientError> {
        if let Some(topic) = self.metadata().topic(name) {
            return Ok(Arc::clone(topic));
        }
        let topics = [name.to_owned()];
        let request = |node| self.request_metadata(&topics, node);
        let mut reply = self.call("find topic", Retry::Always, request).await?;
        if has_error(&reply) {
            reply = self.ask_other_nodes(&topics, reply).await;
        }
        let error = reply.topics.first().and_then(|topic| topic.error.clone());
        self.metadata().update(reply);
        if let Some(error) = error {
            return Err(ClientError::from_wire(&self.last_replied(), error));
        }
        let cached = self.metadata().topic(name).map(Arc::clone);
        cached.ok_or_else(|| ClientError::Protocol {
            endpoint: self.last_replied(),
            what: "metadata without the requested topic",
        })
    }

    /// Asks all nodes for topics that one node does not know, because a lagging node does not know
    /// a topic that was just created. Returns the first reply without an error, or else `reply`.
    async fn ask_other_nodes(
        &self,
        topics: &[String],
        reply: wire::GetMetadataReply,
    ) -> wire::GetMetadataReply {
        for address in self.candidates() {
            let Ok(node) = self.call_node(&address) else {
                continue;
            };
            let request = self.request_metadata(topics, node);
            if let Ok(Ok(other)) = timeout(limits::CLIENT_METADATA_TIMEOUT, request).await
                && !has_error(other.get_ref())
            {
                return other.into_inner();
            }
        }
        reply
    }

    /// Offset bounds of a topic's partitions (all if `partitions` is empty), and the offsets that
    /// belong to a timestamp in milliseconds since the Unix epoch.
    pub(crate) async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[PartitionId],
        timestamp_ms: Option<i64>,
    ) -> Result<wire::ListOffsetsReply, ClientError> {
        let request = wire::ListOffsetsRequest {
            topic: topic.to_owned(),
            partitions: partitions.iter().map(|p| p.get()).collect(),
            timestamp_ms,
            forwarded: false,
        };
        self.call("list offsets", Retry::Always, |node| {
            let request = request.clone();
            async move { node.log().list_offsets(request).await }
        })
        .await
    }

    /// Corrects the cached leader of a partition after `node`, the cached one, failed with `error`.
    /// Returns whether another leader is known now, to which a request can be sent at once.
    pub(crate) fn update_from_failure(
        &self,
        topic: &str,
        partition: PartitionId,
        node: NodeId,
        error: &ClientError,
    ) -> bool {
        let mut cache = self.metadata();
        let hint = LeaderHint::from_error(error).filter(|hint| hint.node != node);
        match error.reason() {
            Some(Reason::NotLeader) if let Some(hint) = hint => {
                cache.update_leader(topic, partition, &hint);
                cache
                    .leader(topic, partition)
                    .is_some_and(|(leader, _)| leader != node)
            }
            Some(
                Reason::NotLeader
                | Reason::NoLeader
                | Reason::NotReady
                | Reason::ReplicaCorrupt
                | Reason::UnknownTopic
                | Reason::UnknownPartition,
            )
            | None => {
                cache.clear_leader(topic, partition, node);
                false
            }
            Some(_) => false,
        }
    }
}

fn has_error(reply: &wire::GetMetadataReply) -> bool {
    reply.topics.iter().any(|topic| topic.error.is_some())
}
