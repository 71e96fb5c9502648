//! Shaping the cluster and asking how it is.

use std::time::Duration;

use lograft_core::{NodeId, PartitionId, Term};
use lograft_proto::admin::v1 as wire;

use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::ClientError;

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions; 0 takes 1.
    pub partitions: u32,
    /// Replicas of each partition; 0 takes the smaller of 3 and the number of nodes.
    pub replication_factor: u32,
    /// The most bytes kept of each partition; none: no bound.
    pub retention_bytes: Option<u64>,
    /// The greatest age kept, milliseconds; none: no bound.
    pub retention_ms: Option<u64>,
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
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes the empty node at `endpoint` (a `host:port`) the first of the cluster `cluster_id`.
    pub async fn bootstrap(
        config: &ClientConfig,
        endpoint: &str,
        cluster_id: &str,
    ) -> Result<wire::BootstrapReply, ClientError> {
        unimplemented!()
    }

    /// Creates a topic; `ready` in the reply tells whether every partition has a leader.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<wire::CreateTopicReply, ClientError> {
        unimplemented!()
    }

    /// Adds partitions or changes the retention.
    pub async fn alter_topic(
        &self,
        name: &str,
        change: TopicChange,
    ) -> Result<wire::AlterTopicReply, ClientError> {
        unimplemented!()
    }

    /// Deletes a topic and its records.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        unimplemented!()
    }

    /// All topics, sorted by name.
    pub async fn list_topics(&self) -> Result<Vec<wire::TopicSummary>, ClientError> {
        unimplemented!()
    }

    /// All about one topic.
    pub async fn describe_topic(&self, name: &str) -> Result<wire::TopicDescription, ClientError> {
        unimplemented!()
    }

    /// All about the cluster; with `omit_healthy_partitions` only those partitions that ail.
    pub async fn describe_cluster(
        &self,
        omit_healthy_partitions: bool,
    ) -> Result<wire::DescribeClusterReply, ClientError> {
        unimplemented!()
    }

    /// Hands the leadership of a partition to another of its replicas; the term it leads in.
    pub async fn transfer_leadership(
        &self,
        topic: &str,
        partition: PartitionId,
        to: NodeId,
    ) -> Result<Term, ClientError> {
        unimplemented!()
    }

    /// Hands the leadership of the meta group to another of its voters; the term it leads in.
    pub async fn transfer_meta_leadership(&self, to: NodeId) -> Result<Term, ClientError> {
        unimplemented!()
    }

    /// Begins to move everything away from a node; call it again to see how far it is.
    pub async fn decommission(
        &self,
        node: NodeId,
    ) -> Result<wire::DecommissionNodeReply, ClientError> {
        unimplemented!()
    }
}
