//! `lograft topic`: create, list, describe, alter and delete topics.

mod delete_records;
mod render;
mod setting;

use clap::{Args, Subcommand};
use lograft_client::admin_wire::{Retention, TopicSetting};
use lograft_client::{Admin, NewTopic, Reason, TopicChange};

use crate::call_error::cannot;
use crate::error::CliError;
use crate::global::GlobalArgs;
use crate::output::{Paint, print, print_json};
use crate::units::{UnitError, parse_millis, parse_size};

use delete_records::DeleteRecordsArgs;

pub(crate) use render::{PartitionJson, list_json, partition_json, partitions as partition_table};

/// Subcommands of `lograft topic`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List topics
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a topic and its partitions: leader, replicas, offsets
    Describe {
        /// Topic name
        topic: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add partitions to a topic, or change its number of replicas or its settings
    Alter(AlterArgs),
    /// Delete the oldest records of a topic, before an offset or a time
    DeleteRecords(DeleteRecordsArgs),
    /// Delete a topic and all its records
    Delete {
        /// Topic name
        topic: String,
        /// Succeed if the topic does not exist
        #[arg(long)]
        if_exists: bool,
    },
}

/// Options of `lograft topic create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Topic name: letters, digits, '.', '_' and '-'
    topic: String,
    /// Number of partitions [default: set by the cluster, else 1]
    #[arg(long, short = 'p', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// Number of replicas of each partition [default: set by the cluster, else 3 or the number of
    /// nodes if fewer]
    #[arg(long, short = 'r', value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    replication_factor: Option<u32>,
    /// Maximum size per partition before old segments are deleted, e.g. 10GiB; "none" disables it
    /// [default: set by the cluster]
    #[arg(long, value_name = "BYTES", value_parser = parse_retention_bytes)]
    retention_bytes: Option<RetentionArg>,
    /// Maximum age of records before old segments are deleted, in milliseconds or e.g. 7d; "none"
    /// disables it [default: set by the cluster]
    #[arg(long, value_name = "MS", value_parser = parse_retention_ms)]
    retention_ms: Option<RetentionArg>,
    /// Setting of the topic, e.g. batch.max.bytes=512KiB; may be repeated
    #[arg(long, visible_short_alias = 'c', value_name = "KEY=VALUE", value_parser = setting::parse)]
    config: Vec<TopicSetting>,
    /// Succeed if the topic already exists, without changing it
    #[arg(long)]
    if_not_exists: bool,
}

/// Options of `lograft topic alter`.
#[derive(Debug, Args)]
pub(crate) struct AlterArgs {
    /// Topic name
    topic: String,
    /// New number of partitions; it can only grow
    #[arg(long, short = 'p', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// New number of replicas of each partition; they are copied or removed afterwards, a few
    /// partitions at a time
    #[arg(long, short = 'r', value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    replication_factor: Option<u32>,
    /// Maximum size per partition before old segments are deleted, e.g. 10GiB; "none" disables it
    #[arg(long, value_name = "BYTES", value_parser = parse_retention_bytes)]
    retention_bytes: Option<RetentionArg>,
    /// Maximum age of records before old segments are deleted, in milliseconds or e.g. 7d; "none"
    /// disables it
    #[arg(long, value_name = "MS", value_parser = parse_retention_ms)]
    retention_ms: Option<RetentionArg>,
    /// Setting to change, e.g. batch.max.bytes=512KiB; may be repeated
    #[arg(long, visible_short_alias = 'c', value_name = "KEY=VALUE", value_parser = setting::parse)]
    config: Vec<TopicSetting>,
    /// Setting to remove, e.g. batch.max.bytes; may be repeated
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

/// A retention limit on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetentionArg {
    None,
    Limit(u64),
}

impl RetentionArg {
    fn value(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Limit(value) => Some(value),
        }
    }
}

fn parse_retention_bytes(text: &str) -> Result<RetentionArg, UnitError> {
    if text == "none" {
        Ok(RetentionArg::None)
    } else {
        parse_size(text).map(RetentionArg::Limit)
    }
}

fn parse_retention_ms(text: &str) -> Result<RetentionArg, UnitError> {
    if text == "none" {
        Ok(RetentionArg::None)
    } else {
        parse_millis(text).map(RetentionArg::Limit)
    }
}

/// Runs a subcommand.
pub(crate) async fn run(command: TopicCommand, global: &GlobalArgs) -> Result<(), CliError> {
    let client = global.connect().await?;
    let admin = client.admin();
    match command {
        TopicCommand::DeleteRecords(args) => delete_records::run(&client, args).await,
        TopicCommand::Create(args) => create(&admin, args).await,
        TopicCommand::List { json } => {
            let topics = admin.list_topics().await.map_err(cannot("list topics"))?;
            if json {
                return print_json(&render::list_json(&topics));
            }
            print(&render::list(&topics, Paint::stdout()))
        }
        TopicCommand::Describe { topic, json } => {
            let found = admin
                .describe_topic(&topic)
                .await
                .map_err(cannot(format!("describe topic {topic}")))?;
            if json {
                return print_json(&render::topic_json(&found));
            }
            print(&render::describe(&found, Paint::stdout()))
        }
        TopicCommand::Alter(args) => alter(&admin, args).await,
        TopicCommand::Delete { topic, if_exists } => match admin.delete_topic(&topic).await {
            Ok(()) => print(&format!("topic {topic} deleted\n")),
            Err(error) if if_exists && error.reason() == Some(Reason::UnknownTopic) => {
                print(&format!("topic {topic} does not exist\n"))
            }
            Err(error) => Err(cannot(format!("delete topic {topic}"))(error).into()),
        },
    }
}

async fn create(admin: &Admin, args: CreateArgs) -> Result<(), CliError> {
    let name = args.topic;
    let has_retention = args.retention_bytes.is_some() || args.retention_ms.is_some();
    let topic = NewTopic {
        name: name.clone(),
        partitions: args.partitions.unwrap_or(0),
        replication_factor: args.replication_factor.unwrap_or(0),
        retention: has_retention.then(|| Retention {
            bytes: args.retention_bytes.and_then(RetentionArg::value),
            ms: args.retention_ms.and_then(RetentionArg::value),
        }),
        settings: args.config,
        wait: None,
    };
    let reply = match admin.create_topic(topic).await {
        Ok(reply) => reply,
        Err(error) if args.if_not_exists && error.reason() == Some(Reason::TopicExists) => {
            return print(&format!("topic {name} already exists\n"));
        }
        Err(error) => return Err(cannot(format!("create topic {name}"))(error).into()),
    };
    let created = reply.topic.unwrap_or_default();
    let mut text = format!("topic {name} created: {}\n", render::summary(&created));
    if !reply.ready {
        text.push_str(
            "some partitions have no leader yet; run `lograft cluster status` to list them\n",
        );
    }
    print(&text)
}

async fn alter(admin: &Admin, args: AlterArgs) -> Result<(), CliError> {
    let name = args.topic;
    let action = || format!("alter topic {name}");
    let mut retention = None;
    if args.retention_bytes.is_some() || args.retention_ms.is_some() {
        // The request sets both limits, so the one not given keeps its current value.
        let found = admin
            .describe_topic(&name)
            .await
            .map_err(cannot(action()))?;
        let found = found.retention.unwrap_or_default();
        retention = Some(Retention {
            bytes: args
                .retention_bytes
                .map_or(found.bytes, RetentionArg::value),
            ms: args.retention_ms.map_or(found.ms, RetentionArg::value),
        });
    }
    let change = TopicChange {
        topic_id: None,
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        retention,
        settings: args.config,
        reset_settings: args.unset,
        wait: None,
    };
    let reply = admin
        .alter_topic(&name, change)
        .await
        .map_err(cannot(action()))?;
    let topic = reply.topic.unwrap_or_default();
    print(&format!(
        "topic {name} updated: {}\n",
        render::summary(&topic)
    ))
}
