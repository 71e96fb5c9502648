//! `lograft topic`: create, list, describe, alter, delete.

mod render;

use clap::{Args, Subcommand};
use lograft_client::admin_wire::Retention;
use lograft_client::{Admin, NewTopic, Reason, TopicChange};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{Paint, print, print_json};
use crate::units::{parse_millis, parse_size};

pub(crate) use render::{PartitionJson, partition_json, partitions as partition_table};

/// The words after `lograft topic`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List all topics
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a topic with its partitions: leader, replicas, offsets
    Describe {
        /// The topic
        topic: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add partitions, or change how long records are kept
    Alter(AlterArgs),
    /// Delete a topic and all its records
    Delete {
        /// The topic
        topic: String,
        /// Succeed as well when there is no such topic
        #[arg(long)]
        if_exists: bool,
    },
}

/// Options of `lograft topic create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The topic's name: letters, digits, '.', '_' and '-'
    topic: String,
    /// How many partitions [default: the cluster's, 1 unless configured]
    #[arg(long, short = 'p', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// How many nodes hold each partition [default: the cluster's, 3 or all unless configured]
    #[arg(long, short = 'r', value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    replication_factor: Option<u32>,
    /// The most kept of each partition, for example 10GiB, or "none" [default: the cluster's]
    #[arg(long, value_name = "BYTES", value_parser = bound_of_size)]
    retention_bytes: Option<Bound>,
    /// The greatest age kept, in milliseconds or for example 7d, or "none" [default: the cluster's]
    #[arg(long, value_name = "MS", value_parser = bound_of_millis)]
    retention_ms: Option<Bound>,
    /// Succeed as well when there is such a topic; it stays as it is
    #[arg(long)]
    if_not_exists: bool,
}

/// Options of `lograft topic alter`.
#[derive(Debug, Args)]
pub(crate) struct AlterArgs {
    /// The topic
    topic: String,
    /// The new number of partitions; it can only grow
    #[arg(long, short = 'p', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// The most kept of each partition, for example 10GiB, or "none"
    #[arg(long, value_name = "BYTES", value_parser = bound_of_size)]
    retention_bytes: Option<Bound>,
    /// The greatest age kept, in milliseconds or for example 7d, or "none"
    #[arg(long, value_name = "MS", value_parser = bound_of_millis)]
    retention_ms: Option<Bound>,
}

/// A bound that may be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    None,
    At(u64),
}

impl Bound {
    fn value(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::At(value) => Some(value),
        }
    }
}

fn bound_of_size(text: &str) -> Result<Bound, crate::units::UnitError> {
    if text == "none" {
        Ok(Bound::None)
    } else {
        parse_size(text).map(Bound::At)
    }
}

fn bound_of_millis(text: &str) -> Result<Bound, crate::units::UnitError> {
    if text == "none" {
        Ok(Bound::None)
    } else {
        parse_millis(text).map(Bound::At)
    }
}

/// Runs one of them.
pub(crate) async fn run(command: TopicCommand, global: &Global) -> Result<(), CliError> {
    let admin = global.connect().await?.admin();
    match command {
        TopicCommand::Create(args) => create(&admin, args).await,
        TopicCommand::List { json } => {
            let topics = admin
                .list_topics()
                .await
                .map_err(CliError::call("listing the topics"))?;
            if json {
                return print_json(&render::list_json(&topics));
            }
            print(&render::list(&topics, Paint::stdout()))
        }
        TopicCommand::Describe { topic, json } => {
            let action = format!("describing topic {topic:?}");
            let found = admin
                .describe_topic(&topic)
                .await
                .map_err(CliError::call(action))?;
            if json {
                return print_json(&render::topic_json(&found));
            }
            print(&render::describe(&found, Paint::stdout()))
        }
        TopicCommand::Alter(args) => alter(&admin, args).await,
        TopicCommand::Delete { topic, if_exists } => match admin.delete_topic(&topic).await {
            Ok(()) => print(&format!("topic {topic} is deleted\n")),
            Err(error) if if_exists && error.reason() == Some(Reason::UnknownTopic) => {
                print(&format!("there is no topic {topic}\n"))
            }
            Err(error) => Err(CliError::call(format!("deleting topic {topic:?}"))(error)),
        },
    }
}

async fn create(admin: &Admin, args: CreateArgs) -> Result<(), CliError> {
    let name = args.topic;
    let is_bounded = args.retention_bytes.is_some() || args.retention_ms.is_some();
    let topic = NewTopic {
        name: name.clone(),
        partitions: args.partitions.unwrap_or(0),
        replication_factor: args.replication_factor.unwrap_or(0),
        retention: is_bounded.then(|| Retention {
            bytes: args.retention_bytes.and_then(Bound::value),
            ms: args.retention_ms.and_then(Bound::value),
        }),
        wait: None,
    };
    let reply = match admin.create_topic(topic).await {
        Ok(reply) => reply,
        Err(error) if args.if_not_exists && error.reason() == Some(Reason::TopicExists) => {
            return print(&format!("topic {name} is there already\n"));
        }
        Err(error) => return Err(CliError::call(format!("creating topic {name:?}"))(error)),
    };
    let created = reply.topic.unwrap_or_default();
    let mut text = format!("topic {name} is created: {}\n", render::shape(&created));
    if !reply.ready {
        text.push_str(
            "not every partition has a leader yet: `lograft cluster status` shows which\n",
        );
    }
    print(&text)
}

async fn alter(admin: &Admin, args: AlterArgs) -> Result<(), CliError> {
    let name = args.topic;
    let action = || format!("altering topic {name:?}");
    let mut retention = None;
    if args.retention_bytes.is_some() || args.retention_ms.is_some() {
        // Both bounds are set at once: the one that is not given stays.
        let found = admin
            .describe_topic(&name)
            .await
            .map_err(CliError::call(action()))?;
        let found = found.retention.unwrap_or_default();
        retention = Some(Retention {
            bytes: args.retention_bytes.map_or(found.bytes, Bound::value),
            ms: args.retention_ms.map_or(found.ms, Bound::value),
        });
    }
    let change = TopicChange {
        partitions: args.partitions,
        retention,
        wait: None,
    };
    let reply = admin
        .alter_topic(&name, change)
        .await
        .map_err(CliError::call(action()))?;
    let topic = reply.topic.unwrap_or_default();
    print(&format!(
        "topic {name} is altered: {}\n",
        render::shape(&topic)
    ))
}
