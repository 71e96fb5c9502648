//! The topic that a benchmark works on.

use lograft_client::admin_wire::Retention;
use lograft_client::{Client, ClientError, NewTopic, TopicInfo};
use uuid::Uuid;

use super::setup::TargetArgs;
use crate::error::CliError;

/// A topic, and whether this benchmark made it.
#[derive(Debug)]
pub(crate) struct Target {
    client: Client,
    pub(crate) info: TopicInfo,
    is_new: bool,
    is_kept: bool,
}

impl Target {
    /// The topic asked for, or a new one.
    pub(crate) async fn open(client: Client, shared: &TargetArgs) -> Result<Self, CliError> {
        let is_new = shared.topic.is_none();
        let name = match &shared.topic {
            Some(name) => name.clone(),
            None => create(&client, shared)
                .await
                .map_err(CliError::call("creating a topic for the benchmark"))?,
        };
        let action = format!("looking at topic {name:?}");
        let info = client.topic(&name).await.map_err(CliError::call(action))?;
        Ok(Self {
            client,
            info,
            is_new,
            is_kept: shared.keep,
        })
    }

    /// Whether this benchmark made the topic, so that it is empty.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The topic's name.
    pub(crate) fn name(&self) -> &str {
        &self.info.name
    }

    /// Replicas of each partition.
    pub(crate) fn replication_factor(&self) -> usize {
        self.info
            .partitions
            .first()
            .map_or(0, |partition| partition.replicas.len())
    }

    /// Deletes the topic if it was made here.
    pub(crate) async fn close(self) -> Result<(), CliError> {
        if !self.is_new || self.is_kept {
            return Ok(());
        }
        let action = format!("deleting topic {:?}", self.name());
        self.client
            .admin()
            .delete_topic(self.name())
            .await
            .map_err(CliError::call(action))
    }
}

async fn create(client: &Client, shared: &TargetArgs) -> Result<String, ClientError> {
    let mut name = Uuid::new_v4().simple().to_string();
    name.truncate(8);
    name.insert_str(0, "bench-");
    let topic = NewTopic {
        name: name.clone(),
        partitions: shared.partitions,
        replication_factor: shared.replication_factor.unwrap_or(0),
        retention: Some(Retention {
            bytes: Some(shared.retention_bytes),
            ms: None,
        }),
        wait: None,
    };
    client.admin().create_topic(topic).await?;
    Ok(name)
}
