//! Shaping the cluster and asking how it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::{NodeId, PartitionId, Term};
use lograft_proto::admin::v1 as wire;

use crate::client::reach::{Reach, Retry};
use crate::config::ClientConfig;
use crate::error::ClientError;

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions; 0 takes the cluster's default, 1 unless it is configured.
    pub partitions: u32,
    /// Replicas of each partition; 0 takes the cluster's default, the smaller of 3 and the number
    /// of nodes unless it is configured.
    pub replication_factor: u32,
    /// What is kept of each partition; none takes the cluster's default, everything unless it is
    /// configured. A bound that is unset in it does not count.
    pub retention: Option<wire::Retention>,
    /// How long to wait for every partition to have a leader; none takes the server's default.
    pub wait: Option<Duration>,
}

/// What to change of a topic; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChange {
    /// The new number of partitions, not below the present one.
    pub partitions: Option<u32>,
    /// The new retention, both bounds: one that is unset in here is lifted.
    pub retention: Option<wire::Retention>,
    /// How long to wait for the leaders of new partitions; none takes the server's default.
    pub wait: Option<Duration>,
}

/// Administration through any node. Calls that pass may be retried within the request timeout.
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
    reach: Arc<Reach>,
}

impl Admin {
    pub(crate) const fn new(reach: Arc<Reach>) -> Self {
        Self { reach }
    }

    /// Makes the empty node at `endpoint` (a `host:port`) the first of the cluster `cluster_id`, a
    /// UUID. The endpoints of `config` play no part.
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
        let reach = Reach::new(config)?;
        reach
            .call_once(|node| {
                let request = request.clone();
                async move { node.admin().bootstrap(request).await }
            })
            .await
    }

    /// Creates a topic; `ready` in the reply tells whether every partition has a leader.
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
        };
        self.reach
            .call("creating a topic", Retry::IfNotDone, |node| {
                let request = request.clone();
                async move { node.admin().create_topic(request).await }
            })
            .await
    }

    /// Adds partitions or changes the retention.
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
        };
        let reply = self
            .reach
            .call("altering a topic", Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().alter_topic(request).await }
            })
            .await;
        // Producers and consumers of this client are to see new partitions soon.
        self.reach.refresh().await;
        reply
    }

    /// Deletes a topic and its records.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request = wire::DeleteTopicRequest {
            name: name.to_owned(),
        };
        self.reach
            .call("deleting a topic", Retry::IfNotDone, |node| {
                let request = request.clone();
                async move { node.admin().delete_topic(request).await }
            })
            .await?;
        self.reach.routes().forget_topic(name);
        Ok(())
    }

    /// All topics, sorted by name.
    pub async fn list_topics(&self) -> Result<Vec<wire::TopicSummary>, ClientError> {
        let reply = self
            .reach
            .call("listing topics", Retry::Always, |node| async move {
                node.admin().list_topics(wire::ListTopicsRequest {}).await
            })
            .await?;
        Ok(reply.topics)
    }

    /// All about one topic.
    pub async fn describe_topic(&self, name: &str) -> Result<wire::TopicDescription, ClientError> {
        let request = wire::DescribeTopicRequest {
            name: name.to_owned(),
        };
        let reply = self
            .reach
            .call("describing a topic", Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().describe_topic(request).await }
            })
            .await?;
        reply.topic.ok_or_else(|| ClientError::Protocol {
            endpoint: self.reach.answered(),
            what: "a description without the topic",
        })
    }

    /// All about the cluster; with `omit_healthy_partitions` only those partitions that ail.
    pub async fn describe_cluster(
        &self,
        omit_healthy_partitions: bool,
    ) -> Result<wire::DescribeClusterReply, ClientError> {
        self.reach
            .call("describing the cluster", Retry::Always, |node| async move {
                let request = wire::DescribeClusterRequest {
                    omit_healthy_partitions,
                };
                node.admin().describe_cluster(request).await
            })
            .await
    }

    /// Hands the leadership of a partition to another of its replicas; the term it leads in.
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

    /// Hands the leadership of the meta group to another of its voters; the term it leads in.
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
            .reach
            .call("transferring a leadership", Retry::Always, |node| {
                let request = request.clone();
                async move { node.admin().transfer_leadership(request).await }
            })
            .await?;
        Ok(Term(reply.leader_epoch))
    }

    /// Begins to move everything away from a node; call it again to see how far it is.
    pub async fn decommission(
        &self,
        node: NodeId,
    ) -> Result<wire::DecommissionNodeReply, ClientError> {
        let node_id = node.get();
        self.reach
            .call("decommissioning a node", Retry::Always, |node| async move {
                node.admin()
                    .decommission_node(wire::DecommissionNodeRequest { node_id })
                    .await
            })
            .await
    }
}

impl Admin {
    /// Calls a decommission off while the node still drains.
    pub async fn recommission(
        &self,
        node: NodeId,
    ) -> Result<wire::RecommissionNodeReply, ClientError> {
        let node_id = node.get();
        self.reach
            .call("recommissioning a node", Retry::Always, |node| async move {
                node.admin()
                    .recommission_node(wire::RecommissionNodeRequest { node_id })
                    .await
            })
            .await
    }

    /// Asks whether a node may be stopped; if so, it is left without leaderships. Call it again
    /// until it is ready.
    pub async fn prepare_stop(&self, node: NodeId) -> Result<wire::PrepareStopReply, ClientError> {
        let node_id = node.get();
        self.reach
            .call(
                "preparing a node's stop",
                Retry::Always,
                |node| async move {
                    node.admin()
                        .prepare_stop(wire::PrepareStopRequest { node_id })
                        .await
                },
            )
            .await
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Whole milliseconds as the wire has them; 0 for none.
fn millis(wait: Option<Duration>) -> u32 {
    wait.map_or(0, |wait| {
        u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)
    })
}
