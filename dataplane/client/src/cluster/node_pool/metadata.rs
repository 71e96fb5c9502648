//! Fetching metadata, and correcting it from errors.

use std::sync::{Arc, Mutex};

use lograft_core::{NodeId, PartitionId, Reason, limits};
use lograft_proto::connect::staggered;
use lograft_proto::log::v1 as wire;
use tokio::time::{Duration, Instant, sleep, timeout};
use tonic::{Response, Status};

use super::{NodePool, all_failed, is_unreached, locked};
use crate::cluster::metadata::{Metadata, TopicInfo};
use crate::cluster::metadata_cache::{LeaderHint, MetadataCache};
use crate::cluster::node::{Node, Retry};
use crate::error::ClientError;

/// Whether a node may answer although its copy of the metadata may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Staleness {
    Refused,
    Allowed,
}

impl NodePool {
    async fn request_metadata(
        &self,
        (topics, staleness): (&[String], Staleness),
        node: Node,
    ) -> Result<Response<wire::GetMetadataReply>, Status> {
        let request = wire::GetMetadataRequest {
            topics: topics.to_vec(),
            allow_stale: staleness == Staleness::Allowed,
        };
        node.log().get_metadata(request).await
    }

    /// Asks each node once, until one whose metadata is current replies. If there is none, because
    /// the meta group has no majority, the reply of any node serves.
    async fn fetch_metadata(
        &self,
        topics: &[String],
        per_node: Duration,
    ) -> Result<wire::GetMetadataReply, ClientError> {
        let ask = |staleness| self.ask_side_by_side((topics, staleness), per_node);
        let reply = match ask(Staleness::Refused).await {
            Err(error) if is_not_ready(&error) => ask(Staleness::Allowed).await,
            reply => reply,
        };
        if reply.is_err() {
            // The next attempt asks all nodes.
            self.forget_silent();
        }
        reply
    }

    /// Asks nodes until one replies, the next one once the former have failed or been silent for a
    /// while; those that owe a reply are the last. A leader that hangs would hold up the search for
    /// the next one otherwise, also one that is not known to owe anything yet. Fails at the first
    /// error that is not retryable.
    async fn ask_side_by_side(
        &self,
        asked: (&[String], Staleness),
        per_node: Duration,
    ) -> Result<wire::GetMetadataReply, ClientError> {
        let (waiting, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let attempts = self.candidates().into_iter().map(async |address| {
            let since = Instant::now();
            locked(&waiting).push((Arc::clone(&address), since));
            let call = |node| self.request_metadata(asked, node);
            let replied = self
                .try_node(
                    "fetch metadata",
                    Arc::clone(&address),
                    since + per_node,
                    call,
                )
                .await;
            locked(&waiting).retain(|(other, _)| *other != address);
            match replied {
                Err(error) if is_unreached(&error) || Retry::Always.allows(&error) => {
                    locked(&failures).push(error);
                    Err(())
                }
                outcome => Ok(outcome),
            }
        });
        let interval = limits::CLIENT_SILENCE_CHECK_INTERVAL;
        match staggered(attempts, interval).await {
            Some(Ok(outcome)) => {
                for (address, since) in &*locked(&waiting) {
                    if since.elapsed() >= interval {
                        self.note_silent(address);
                    }
                }
                outcome
            }
            Some(Err(())) | None => Err(all_failed(std::mem::take(&mut locked(&failures)))),
        }
    }

    /// Fetches all metadata and caches the nodes and the topics that are in use. Fails after each
    /// node was tried once.
    pub(crate) async fn fetch_all(&self) -> Result<Metadata, ClientError> {
        let per_node = self.config.connect_timeout + limits::CLIENT_METADATA_TIMEOUT;
        let reply = self.fetch_metadata(&[], per_node).await?;
        let mut reply = self.newest(&[], reply).await;
        let mut all = MetadataCache::default();
        all.update(reply.clone());
        let mut cache = self.metadata();
        if !cache.is_stale(&reply) {
            cache.retain_topics(&reply.topics);
        }
        reply
            .topics
            .retain(|topic| cache.topic(&topic.name).is_some());
        cache.update(reply);
        Ok(all.snapshot())
    }

    /// Refreshes the cached topics, unless that was done within the minimum age. A failure is only
    /// logged: callers read the cache again and retry with back-off.
    pub(crate) async fn refresh(&self) {
        self.refresh_older(limits::CLIENT_METADATA_MIN_AGE).await;
    }

    /// Waits until another node than `silent` leads a partition. Until then the node may only be
    /// slow, or have nothing to send: it is the metadata of the others that decides.
    pub(crate) async fn leader_moves(
        &self,
        (topic, partition): (&str, PartitionId),
        (silent, address): (NodeId, &Arc<str>),
    ) {
        let since = Instant::now();
        let mut wait = limits::CLIENT_SILENCE_MAX;
        loop {
            sleep(wait).await;
            let is_idle = since.elapsed() >= limits::CONSUMER_IDLE_MIN;
            wait = if is_idle {
                limits::CONSUMER_IDLE_CHECK_INTERVAL
            } else {
                limits::CLIENT_SILENCE_CHECK_INTERVAL
            };
            self.note_silent(address);
            // All readers of a client share one request.
            self.refresh_older(wait / 2).await;
            let leader = self.metadata().leader(topic, partition);
            if leader.is_some_and(|(leader, _)| leader != silent) {
                return;
            }
        }
    }

    async fn refresh_older(&self, min_age: Duration) {
        let mut refreshed_at = self.refreshed_at.lock().await;
        if refreshed_at.is_some_and(|at| at.elapsed() < min_age) {
            return;
        }
        let topics = self.metadata().topic_names();
        if topics.is_empty() {
            return;
        }
        let per_node = limits::CLIENT_METADATA_TIMEOUT;
        match self.fetch_metadata(&topics, per_node).await {
            Ok(reply) => {
                // One node alone does not make this client forget topics that it uses.
                let newest = self.newest(&topics, reply).await;
                self.metadata().update(newest);
                self.look_for_leaders(&topics).await;
            }
            Err(error) => tracing::debug!(%error, "metadata refresh failed"),
        }
        *refreshed_at = Some(Instant::now());
    }

    /// The current metadata of one node, if it replies.
    async fn ask_one(
        &self,
        topics: &[String],
        address: &Arc<str>,
    ) -> Option<wire::GetMetadataReply> {
        let node = self.call_node(address).ok()?;
        let request = self.request_metadata((topics, Staleness::Refused), node);
        let reply = timeout(limits::CLIENT_METADATA_TIMEOUT, request).await;
        Some(reply.ok()?.ok()?.into_inner())
    }

    /// Asks further nodes while the leader of a partition is unknown. The node that replied first
    /// may be cut off from the others: it knows that it leads no more, and not who does.
    async fn look_for_leaders(&self, topics: &[String]) {
        let others = self.replying_candidates().into_iter().skip(1);
        for address in others.take(limits::CLIENT_LEADER_ASKS_MAX_COUNT) {
            if !self.metadata().lacks_leader(topics) {
                return;
            }
            let Some(reply) = self.ask_one(topics, &address).await else {
                continue;
            };
            let mut cache = self.metadata();
            if cache.is_same_cluster(&reply) {
                cache.add(reply);
            }
        }
    }

    /// One topic, from the cache or fetched with retries.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<TopicInfo>, ClientError> {
        if let Some(topic) = self.metadata().topic(name) {
            return Ok(Arc::clone(topic));
        }
        let topics = [name.to_owned()];
        let reply = match self
            .fetch_metadata(&topics, limits::CLIENT_METADATA_TIMEOUT)
            .await
        {
            Ok(reply) => reply,
            Err(error) if Retry::Always.allows(&error) => {
                let any = (topics.as_slice(), Staleness::Allowed);
                let request = |node| self.request_metadata(any, node);
                self.call("find topic", Retry::Always, request).await?
            }
            Err(error) => return Err(error),
        };
        let reply = self.newest(&topics, reply).await;
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

    /// Forgets a topic that was created again, unless the new one is known already.
    pub(crate) fn forget_topic(&self, name: &str, id: u64) {
        let mut cache = self.metadata();
        if cache.topic(name).is_some_and(|topic| topic.id == id) {
            cache.remove_topic(name);
        }
    }

    /// Asks the other nodes too, if `reply` is older than what this client has seen, or lacks one
    /// of the topics: a lagging node does not know a topic that was just created. Returns the
    /// newest reply.
    async fn newest(
        &self,
        topics: &[String],
        reply: wire::GetMetadataReply,
    ) -> wire::GetMetadataReply {
        let is_enough =
            |reply: &wire::GetMetadataReply| !has_error(reply) && !self.metadata().is_stale(reply);
        let rank = |reply: &wire::GetMetadataReply| (reply.metadata_version, !has_error(reply));
        let mut newest = reply;
        for address in self.replying_candidates() {
            if is_enough(&newest) {
                break;
            }
            let Some(other) = self.ask_one(topics, &address).await else {
                continue;
            };
            let is_same_cluster = other.cluster_id == newest.cluster_id;
            if is_same_cluster && rank(&other) > rank(&newest) {
                newest = other;
            }
        }
        newest
    }

    /// Offset bounds of a topic's partitions (all if `partitions` is empty), and the offsets that
    /// belong to a timestamp in milliseconds since the Unix epoch. With a topic id, fails with the
    /// reason `TOPIC_RECREATED` if another topic has the name.
    pub(crate) async fn list_offsets(
        &self,
        (topic, topic_id): (&str, Option<u64>),
        partitions: &[PartitionId],
        timestamp_ms: Option<i64>,
    ) -> Result<wire::ListOffsetsReply, ClientError> {
        let request = wire::ListOffsetsRequest {
            principal: String::new(),
            topic: topic.to_owned(),
            partitions: partitions.iter().map(|p| p.get()).collect(),
            timestamp_ms,
            forwarded: false,
            topic_id,
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
                | Reason::Timeout
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

/// Whether a node refused because its metadata may be old.
fn is_not_ready(error: &ClientError) -> bool {
    match error {
        ClientError::NoEndpoint(failures) => failures.iter().any(is_not_ready),
        error => error.reason() == Some(Reason::NotReady),
    }
}
