//! The topic of a benchmark.

use lograft_client::admin_wire::{Retention, TopicSetting};
use lograft_client::{Client, ClientError, NewTopic, TopicInfo, TopicKey, topic_setting};
use lograft_core::limits::{RECORD_DEFAULT_BYTES, RECORD_MAX_BYTES};
use uuid::Uuid;

use super::setup::{RECORD_SIZE_MARGIN_BYTES, TopicArgs};
use crate::call_error::cannot;
use crate::error::CliError;

/// An existing topic, or one that the benchmark has created and deletes at the end.
#[derive(Debug)]
pub(crate) struct BenchTopic {
    client: Client,
    pub(crate) info: TopicInfo,
    is_new: bool,
    is_kept: bool,
}

impl BenchTopic {
    /// Opens the topic given by the options, or creates one for records whose values have
    /// `record_bytes`.
    pub(crate) async fn open(
        client: Client,
        args: &TopicArgs,
        record_bytes: usize,
    ) -> Result<Self, CliError> {
        let is_new = args.topic.is_none();
        let name = match &args.topic {
            Some(name) => name.clone(),
            None => create(&client, args, record_bytes)
                .await
                .map_err(cannot("create a topic for the benchmark"))?,
        };
        let action = format!("look up topic {name}");
        let info = client.topic(&name).await.map_err(cannot(action))?;
        Ok(Self {
            client,
            info,
            is_new,
            is_kept: args.keep,
        })
    }

    /// Whether the benchmark has created the topic, so that it is empty at first.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The topic's name.
    pub(crate) fn name(&self) -> &str {
        &self.info.name
    }

    /// Number of replicas of each partition.
    pub(crate) fn replication_factor(&self) -> usize {
        self.info
            .partitions
            .first()
            .map_or(0, |partition| partition.replicas.len())
    }

    /// Deletes the topic, if the benchmark has created it and need not keep it.
    pub(crate) async fn close(self) -> Result<(), CliError> {
        if !self.is_new || self.is_kept {
            return Ok(());
        }
        self.client
            .admin()
            .delete_topic(self.name())
            .await
            .map_err(cannot(format!("delete topic {}", self.name())))?;
        Ok(())
    }
}

async fn create(
    client: &Client,
    args: &TopicArgs,
    record_bytes: usize,
) -> Result<String, ClientError> {
    let mut name = Uuid::new_v4().simple().to_string();
    name.truncate(8);
    name.insert_str(0, "bench-");
    let topic = NewTopic {
        name: name.clone(),
        partitions: args.partitions,
        replication_factor: args.replication_factor.unwrap_or(0),
        retention: Some(Retention {
            bytes: Some(args.retention_bytes),
            ms: None,
        }),
        settings: settings(record_bytes),
        ..NewTopic::default()
    };
    client.admin().create_topic(topic).await?;
    Ok(name)
}

/// Records above the default size need a setting, which older clusters do not have.
fn settings(record_bytes: usize) -> Vec<TopicSetting> {
    if record_bytes + RECORD_SIZE_MARGIN_BYTES <= RECORD_DEFAULT_BYTES {
        return Vec::new();
    }
    vec![topic_setting(
        TopicKey::RecordMaxBytes,
        RECORD_MAX_BYTES as u64,
    )]
}
