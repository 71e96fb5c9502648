//! Administration: topics, leadership, nodes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::PAGE_MAX_COUNT;
use lograft_core::{FeatureLevel, NodeId, Offset, PartitionId, Term, TopicKey};
use lograft_proto::admin::v1 as wire;
use lograft_proto::log::v1 as log_wire;
use tokio::time::timeout_at;

use crate::cluster::node::Retry;
use crate::cluster::node_pool::NodePool;
use crate::config::ClientConfig;
use crate::error::ClientError;

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Topic name.
    pub name: String,
    /// Number of partitions; 0 selects the cluster's default (1 unless configured).
    pub partitions: u32,
    /// Replicas of each partition; 0 selects the cluster's default (unless configured, the smaller
    /// of 3 and the number of nodes).
    pub replication_factor: u32,
    /// Retention of each partition; none selects the cluster's default (unlimited unless
    /// configured). An unset bound in it is unlimited.
    pub retention: Option<wire::Retention>,
    /// Settings, each key at most once; see [`topic_setting`]. The cluster's defaults apply to the
    /// others. Keys of the retention must not be set besides `retention`.
    pub settings: Vec<wire::TopicSetting>,
    /// Time to wait until every partition has a leader; none selects the server's default.
    pub wait: Option<Duration>,
}

/// Changes to a topic; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// New number of partitions; it can only grow.
    pub partitions: Option<u32>,
    /// New number of replicas of each partition. The call does not wait for them.
    pub replication_factor: Option<u32>,
    /// New retention. It replaces both bounds: an unset bound becomes unlimited.
    pub retention: Option<wire::Retention>,
    /// Settings to change, each key at most once here and in `reset_settings`; see
    /// [`topic_setting`]. Keys of the retention must not be set besides `retention`.
    pub settings: Vec<wire::TopicSetting>,
    /// Keys of settings to remove: the topic has no such bound of its own afterwards.
    pub reset_settings: Vec<String>,
    /// The id that the topic must have, so that a topic which was created again under the same name
    /// is not changed: the call then fails with `TOPIC_RECREATED`.
    pub topic_id: Option<u64>,
    /// Time to wait until new partitions have leaders; none selects the server's default.
    pub wait: Option<Duration>,
}

/// The records that [`Admin::delete_records`] deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteBefore {
    /// Those before this offset, whose record stays.
    Offset(Offset),
    /// All that are readable when the leader handles the call.
    HighWatermark,
}

/// A setting of a topic, in the unit of its key: `topic_setting(TopicKey::BatchMaxBytes, 65_536)`.
pub fn topic_setting(key: TopicKey, value: u64) -> wire::TopicSetting {
    wire::TopicSetting {
        key: key.name().to_owned(),
        value: Some(wire::topic_setting::Value::Number(value)),
    }
}

/// Administrative calls, sent to any node and retried until the request timeout.
///
/// ```no_run
/// # async fn tour(client: lograft_client::Client) -> Result<(), lograft_client::ClientError> {
/// use lograft_client::NewTopic;
/// let topic = NewTopic { name: "clicks".into(), partitions: 12, ..NewTopic::default() };
/// let created = client.admin().create_topic(topic).await?;
/// assert!(created.ready);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    pool: Arc<NodePool>,
}

impl Admin {
    pub(crate) const fn new(pool: Arc<NodePool>) -> Self {
        Self { pool }
    }

    /// Bootstraps the cluster `cluster_id` (a UUID) on the empty node at `endpoint`, a `host:port`.
    /// The endpoints of `config` are ignored.
    pub async fn bootstrap(
        config: &ClientConfig,
        endpoint: &str,
        cluster_id: &str,
    ) -> Result<wire::BootstrapReply, ClientError> {
        let config = ClientConfig {
            endpoints: vec![endpoint.to_owned()],
            ..config.clone()
        };
        let request = wire::BootstrapRequest {
            cluster_id: cluster_id.to_owned(),
        };
        NodePool::new(config)?
            .call_once("bootstrap the cluster", |node| {
                let request = request.clone();
                async move { node.admin().bootstrap(request).await }
            })
            .await
    }

    /// Creates a topic. `ready` in the reply is true if every partition has a leader.
    pub async fn create_topic(
        &self,
        topic: NewTopic,
    ) -> Result<wire::CreateTopicReply, ClientError> {
        let request = wire::CreateTopicRequest {
            name: topic.name,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            retention: topic.retention,
            timeout_ms: millis(topic.wait),
            settings: topic.settings,
        };
        self.pool
            .call("create topic", Retry::IfNotExecuted, |node| {
                let request = request.clone();
                async move { node.admin().create_topic(request).await }
            })
            .await
    }

    /// Adds partitions to a topic or changes its settings.
    pub async fn alter_topic(
        &self,
        name: &str,
        change: TopicChange,
    ) -> Result<wire::AlterTopicReply, ClientError> {
        let request = wire::AlterTopicRequest {
            name: name.to_owned(),
            partitions: change.partitions,
            retention: change.retention,
            timeout_ms: millis(change.wait),
            settings: change.settings,
            reset_settings: change.reset_settings,
            topic_id: change.topic_id,
            replication_factor: change.replication_factor,
        };
        let deadline = self.pool.deadline();
        let reply = self
            .pool
            .call_until(("alter topic", deadline), Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().alter_topic(request).await }
            })
            .await;
        // Makes new partitions visible to the producers and consumers of this client, if there is
        // time: they are found later too.
        let _ = timeout_at(deadline.until, self.pool.refresh()).await;
        reply
    }

    /// Deletes a topic and its records.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request = wire::DeleteTopicRequest {
            name: name.to_owned(),
            topic_id: None,
        };
        self.pool
            .call("delete topic", Retry::IfNotExecuted, |node| {
                let request = request.clone();
                async move { node.admin().delete_topic(request).await }
            })
            .await?;
        self.pool.metadata().remove_topic(name);
        Ok(())
    }

    /// Deletes the records of a partition before an offset, on all replicas. Returns the first
    /// offset that is still in the log. Reads below it fail with `OFFSET_OUT_OF_RANGE`. An offset
    /// above the high watermark is refused with `OFFSET_OUT_OF_RANGE`; one below the log start
    /// changes nothing.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: PartitionId,
        before: DeleteBefore,
    ) -> Result<Offset, ClientError> {
        use log_wire::delete_records_request::Before;
        let request = log_wire::DeleteRecordsRequest {
            topic: topic.to_owned(),
            partition: partition.get(),
            before: Some(match before {
                DeleteBefore::Offset(offset) => Before::Offset(offset.get()),
                DeleteBefore::HighWatermark => Before::HighWatermark(true),
            }),
            ..log_wire::DeleteRecordsRequest::default()
        };
        let reply = self
            .pool
            .call("delete records", Retry::Always, |node| {
                let request = request.clone();
                async move { node.log().delete_records(request).await }
            })
            .await?;
        Ok(Offset(reply.log_start_offset))
    }

    /// All topics, sorted by name.
    pub async fn list_topics(&self) -> Result<Vec<wire::TopicSummary>, ClientError> {
        let mut topics = Vec::new();
        let mut request = wire::ListTopicsRequest {
            max_count: PAGE_MAX_COUNT,
            after: String::new(),
        };
        let listing = ("list topics", self.pool.deadline());
        loop {
            let call = self.pool.call_until(listing, Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().list_topics(request).await }
            });
            let reply = call.await?;
            topics.extend(reply.topics);
            // A node that sends the same page again would never let the list end.
            if reply.next <= request.after {
                return Ok(topics);
            }
            request.after = reply.next;
        }
    }

    /// Describes a topic with its partitions and replicas.
    pub async fn describe_topic(&self, name: &str) -> Result<wire::TopicDescription, ClientError> {
        let request = wire::DescribeTopicRequest {
            name: name.to_owned(),
        };
        let reply = self
            .pool
            .call("describe topic", Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().describe_topic(request).await }
            })
            .await?;
        reply.topic.ok_or_else(|| ClientError::Protocol {
            endpoint: self.pool.last_replied(),
            what: "topic description without the topic",
        })
    }

    /// Describes the cluster. With `omit_healthy_partitions`, only unhealthy partitions are listed.
    pub async fn describe_cluster(
        &self,
        omit_healthy_partitions: bool,
    ) -> Result<wire::DescribeClusterReply, ClientError> {
        self.pool
            .call("describe cluster", Retry::Always, |node| async move {
                let request = wire::DescribeClusterRequest {
                    omit_healthy_partitions,
                    ..wire::DescribeClusterRequest::default()
                };
                node.admin().describe_cluster(request).await
            })
            .await
    }

    /// Transfers the leadership of a partition to another replica. Returns the new leader's term.
    pub async fn transfer_leadership(
        &self,
        topic: &str,
        partition: PartitionId,
        to: NodeId,
    ) -> Result<Term, ClientError> {
        self.transfer(wire::TransferLeadershipRequest {
            topic: topic.to_owned(),
            partition: partition.get(),
            group_id: 0,
            to_node: to.get(),
        })
        .await
    }

    /// Transfers the leadership of the meta group to another voter. Returns the new leader's term.
    pub async fn transfer_meta_leadership(&self, to: NodeId) -> Result<Term, ClientError> {
        let to_node = to.get();
        self.transfer(wire::TransferLeadershipRequest {
            to_node,
            ..wire::TransferLeadershipRequest::default()
        })
        .await
    }

    async fn transfer(
        &self,
        request: wire::TransferLeadershipRequest,
    ) -> Result<Term, ClientError> {
        let reply = self
            .pool
            .call("transfer leadership", Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().transfer_leadership(request).await }
            })
            .await?;
        Ok(Term(reply.leader_epoch))
    }

    /// Starts to move all replicas away from a node. Further calls report the progress.
    pub async fn decommission(
        &self,
        node: NodeId,
    ) -> Result<wire::DecommissionNodeReply, ClientError> {
        let node_id = node.get();
        self.pool
            .call("decommission node", Retry::Always, |node| async move {
                node.admin()
                    .decommission_node(wire::DecommissionNodeRequest { node_id })
                    .await
            })
            .await
    }

    /// Starts, pauses, resumes or only plans the balancing of replicas. Returns what is left of it.
    pub async fn rebalance(
        &self,
        action: wire::RebalanceAction,
    ) -> Result<wire::RebalanceReply, ClientError> {
        let request = wire::RebalanceRequest {
            action: action.into(),
        };
        self.pool
            .call("rebalance", Retry::Always, |node| async move {
                node.admin().rebalance(request).await
            })
            .await
    }

    /// Cancels the decommission of a node that is still draining.
    pub async fn recommission(
        &self,
        node: NodeId,
    ) -> Result<wire::RecommissionNodeReply, ClientError> {
        let node_id = node.get();
        self.pool
            .call("recommission node", Retry::Always, |node| async move {
                node.admin()
                    .recommission_node(wire::RecommissionNodeRequest { node_id })
                    .await
            })
            .await
    }

    /// Accepts the older disk of a node: the fence of its groups is lifted although they were not
    /// caught up, and records after the end of their logs may be lost. Returns these groups;
    /// `dry_run` changes nothing.
    pub async fn accept_older_disk(
        &self,
        request: wire::AcceptOlderDiskRequest,
    ) -> Result<Vec<wire::FencedGroup>, ClientError> {
        let reply = self
            .pool
            .call("accept older disk", Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().accept_older_disk(request).await }
            })
            .await?;
        Ok(reply.groups)
    }

    /// Recovers groups that lost the majority of their replicas, from one replica of each. Records
    /// may be lost. Returns after seconds, also if a survivor does not lead yet; a repetition
    /// changes nothing about such a group.
    pub async fn recover_groups(
        &self,
        request: wire::RecoverGroupsRequest,
    ) -> Result<wire::RecoverGroupsReply, ClientError> {
        self.pool
            .call("recover groups", Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().recover_groups(request).await }
            })
            .await
    }

    /// Recovers the metadata from one node, after the loss of the majority of their voters. Changes
    /// may be lost. Returns before the node has restarted; a repetition is refused, because the
    /// node leads then.
    pub async fn recover_metadata(
        &self,
        request: wire::RecoverMetadataRequest,
    ) -> Result<wire::RecoverMetadataReply, ClientError> {
        self.pool
            .call("recover metadata", Retry::Always, |node| async move {
                node.admin().recover_metadata(request).await
            })
            .await
    }

    /// Finalizes a feature level, by default the newest that all nodes know. Irreversible: no node
    /// can return to a version that does not know it. Idempotent.
    pub async fn finalize_level(
        &self,
        level: Option<FeatureLevel>,
    ) -> Result<wire::FinalizeLevelReply, ClientError> {
        let level = level.map(FeatureLevel::get);
        self.pool
            .call(
                "finalize the feature level",
                Retry::Always,
                |node| async move {
                    node.admin()
                        .finalize_level(wire::FinalizeLevelRequest { level })
                        .await
                },
            )
            .await
    }

    /// Checks whether a node can be stopped safely and, if so, transfers its leaderships away.
    /// Repeat the call until the reply says that the node is ready.
    pub async fn prepare_stop(&self, node: NodeId) -> Result<wire::PrepareStopReply, ClientError> {
        let node_id = node.get();
        self.pool
            .call("prepare node for stop", Retry::Always, |node| async move {
                node.admin()
                    .prepare_stop(wire::PrepareStopRequest { node_id })
                    .await
            })
            .await
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Milliseconds for a wire field in which 0 means unset.
fn millis(wait: Option<Duration>) -> u32 {
    wait.map_or(0, |wait| {
        u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)
    })
}
