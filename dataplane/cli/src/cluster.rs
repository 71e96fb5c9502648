//! `lograft cluster`: health, leadership and membership.

mod dump;
mod members;
mod older_disk;
mod rebalance;
mod recover;
mod render;

use std::time::Duration;

use clap::{Args, Subcommand};
use lograft_client::admin_wire::NodeState;
use lograft_client::{Admin, Client, FeatureLevel, NodeId, PartitionId};
use tokio::time::{Instant, sleep};

use crate::call_error::cannot;
use crate::error::{CliError, CommandError};
use crate::exit::Exit;
use crate::global::GlobalArgs;
use crate::output::{Paint, StatusLine, print, print_json};
use crate::units;

/// Interval between two requests while waiting for health or for a decommission.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Subcommands of `lograft cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show nodes, partitions and problems; exits with 0 only if the cluster is healthy
    Status {
        /// Print JSON, including every partition
        #[arg(long)]
        json: bool,
        /// Show every partition; by default, only unhealthy ones of a large cluster
        #[arg(long, short)]
        all: bool,
        /// Wait up to DURATION for the cluster to become healthy
        #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
        wait: Option<Duration>,
    },
    /// Show the other nodes as discovery sees them: state, address, sources
    Members {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what a bug report needs into one archive, without records and secrets
    Dump(dump::DumpArgs),
    /// Transfer leadership of a partition to another replica
    Transfer(TransferArgs),
    /// Move all replicas off a node, then remove it permanently
    Decommission(DecommissionArgs),
    /// Balance replicas and leaders over nodes and zones, or show what that would move
    Rebalance(RebalanceArgs),
    /// Finalize an upgrade: use the features of the new version; nodes cannot return to the former
    Finalize {
        /// Feature level to finalize; by default, the newest that all nodes know
        #[arg(long, value_name = "LEVEL")]
        level: Option<u32>,
    },
    /// Let a node vote although its disk is older than its votes; records may be lost
    AcceptOlderDisk(AcceptOlderDiskArgs),
    /// Recover partitions that lost the majority of their replicas; records may be lost
    Recover(recover::RecoverArgs),
    /// Cancel the decommission of a node that still holds replicas
    Recommission {
        /// Node id or name
        node: String,
    },
}

/// Options of `lograft cluster transfer`.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Partition as TOPIC/PARTITION, or "meta" for the meta group (cluster metadata)
    #[arg(value_parser = parse_group)]
    group: Group,
    /// Id of the new leader node
    #[arg(long, value_name = "NODE")]
    to: u64,
}

/// A raft group.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    Meta,
    Partition { topic: String, partition: u32 },
}

/// Options of `lograft cluster accept-older-disk`.
#[derive(Debug, Args)]
pub(crate) struct AcceptOlderDiskArgs {
    /// Node id or name
    node: String,
    /// Only this group: TOPIC/PARTITION, or "meta" for the meta group (cluster metadata)
    #[arg(long, value_parser = parse_group)]
    group: Option<Group>,
    /// Do it; otherwise only show what may be lost
    #[arg(long)]
    yes: bool,
}

/// Options of `lograft cluster decommission`.
#[derive(Debug, Args)]
pub(crate) struct DecommissionArgs {
    /// Node id or name
    node: String,
    /// Return at once instead of waiting until the node holds no replicas
    #[arg(long)]
    no_wait: bool,
    /// Maximum time to wait
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = units::parse_duration)]
    timeout: Duration,
}

/// Options of `lograft cluster rebalance`.
#[derive(Debug, Args)]
pub(crate) struct RebalanceArgs {
    #[command(flatten)]
    action: RebalanceAction,
    /// Wait until nothing is left to move
    #[arg(long, conflicts_with_all = ["dry_run", "pause"])]
    wait: bool,
    /// Maximum time to wait
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = units::parse_duration)]
    timeout: Duration,
}

/// Other actions of `lograft cluster rebalance` than to start.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct RebalanceAction {
    /// Only show the plan and what it costs
    #[arg(long)]
    dry_run: bool,
    /// Start no more moves; those in progress end
    #[arg(long)]
    pause: bool,
    /// Continue after a pause
    #[arg(long)]
    resume: bool,
}

/// A subcommand failed for a reason other than a failed call.
#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error("cluster is not healthy")]
    NotHealthy,
    #[error("node {name} not found")]
    NodeNotFound { name: String },
    #[error("nothing was changed")]
    NotConfirmed,
    #[error("the meta group is not a partition")]
    MetaNotPartition,
    #[error("{waiting} groups are not recovered within {after}")]
    StillRecovering { waiting: usize, after: String },
    #[error("cannot decommission node {node} within {after}: it still holds {left} replicas")]
    StillDraining { node: u64, left: u32, after: String },
    #[error("cannot balance the cluster within {after}: {left} replicas are left to move")]
    StillMoving { left: u64, after: String },
    #[error("rebalancing is paused: {left} replicas are left to move")]
    Paused { left: u64 },
}

/// How to continue a paused balancing.
const RESUME: &str = "run `lograft cluster rebalance --resume` to continue it";

impl CommandError for ClusterError {
    fn exit(&self) -> Exit {
        Exit::NotFound
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotHealthy => return None,
            Self::NotConfirmed => "add --yes to accept the loss",
            Self::NodeNotFound { .. } => "run `lograft cluster status` to list nodes",
            Self::StillMoving { .. } => {
                "it continues; run `lograft cluster rebalance --wait` to keep waiting"
            }
            Self::Paused { .. } => RESUME,
            Self::MetaNotPartition => "name a partition as TOPIC/PARTITION",
            Self::StillRecovering { .. } => {
                "the recovery continues; run `lograft cluster status` to follow it"
            }
            Self::StillDraining { .. } => {
                "the decommission continues; run the same command to keep waiting"
            }
        };
        Some(text.into())
    }

    /// The printed status already has the problems of a cluster that is not healthy.
    fn is_silent(&self) -> bool {
        matches!(self, Self::NotHealthy)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("group must be TOPIC/PARTITION, e.g. clicks/0, or \"meta\"")]
struct GroupError;

fn parse_group(text: &str) -> Result<Group, GroupError> {
    if text == "meta" {
        return Ok(Group::Meta);
    }
    let (topic, partition) = text.rsplit_once('/').ok_or(GroupError)?;
    let partition = partition.parse().map_err(|_| GroupError)?;
    Ok(Group::Partition {
        topic: topic.into(),
        partition,
    })
}

/// Runs a subcommand.
pub(crate) async fn run(command: ClusterCommand, global: &GlobalArgs) -> Result<(), CliError> {
    if let ClusterCommand::Dump(args) = command {
        // Also of a cluster that cannot be connected to.
        return dump::run(args, global).await;
    }
    let client = global.connect().await?;
    match command {
        ClusterCommand::Dump(_) => Ok(()),
        ClusterCommand::Status { json, all, wait } => {
            status(&client.admin(), json, all, wait).await
        }
        ClusterCommand::Members { json } => members(&client.admin(), json).await,
        ClusterCommand::Transfer(args) => transfer(&client.admin(), args).await,
        ClusterCommand::Decommission(args) => decommission(&client, args).await,
        ClusterCommand::Rebalance(args) => rebalance::run(&client.admin(), args).await,
        ClusterCommand::Finalize { level } => finalize(&client.admin(), level).await,
        ClusterCommand::AcceptOlderDisk(args) => older_disk::accept(&client.admin(), args).await,
        ClusterCommand::Recover(args) => recover::recover(&client.admin(), args).await,
        ClusterCommand::Recommission { node } => recommission(&client.admin(), &node).await,
    }
}

async fn status(
    admin: &Admin,
    json: bool,
    all: bool,
    wait: Option<Duration>,
) -> Result<(), CliError> {
    let deadline = Instant::now() + wait.unwrap_or_default();
    let cluster = loop {
        let reply = admin.describe_cluster(false).await;
        let is_last = Instant::now() >= deadline;
        match reply {
            Ok(cluster) if cluster.healthy || is_last => break cluster,
            Err(error) if is_last || !error.is_retryable() => {
                return Err(cannot("describe the cluster")(error).into());
            }
            _ => sleep(POLL_INTERVAL).await,
        }
    };
    if json {
        print_json(&render::status_json(&cluster))?;
    } else {
        print(&render::status(&cluster, all, Paint::stdout()))?;
    }
    if cluster.healthy {
        Ok(())
    } else {
        Err(ClusterError::NotHealthy.into())
    }
}

async fn members(admin: &Admin, json: bool) -> Result<(), CliError> {
    let reply = admin.describe_cluster(true).await;
    let cluster = reply.map_err(cannot("describe the cluster"))?;
    if json {
        print_json(&members::json(&cluster))
    } else {
        print(&members::text(&cluster, Paint::stdout()))
    }
}

async fn transfer(admin: &Admin, args: TransferArgs) -> Result<(), CliError> {
    let to = NodeId(args.to);
    let (group, outcome) = match &args.group {
        Group::Meta => (
            "the meta group".to_owned(),
            admin.transfer_meta_leadership(to).await,
        ),
        Group::Partition { topic, partition } => (
            format!("{topic}/{partition}"),
            admin
                .transfer_leadership(topic, PartitionId(*partition), to)
                .await,
        ),
    };
    let action = format!("transfer leadership of {group} to node {to}");
    let epoch = outcome.map_err(cannot(action))?;
    print(&format!(
        "node {to} is the leader of {group} in epoch {epoch}\n"
    ))
}

async fn decommission(client: &Client, args: DecommissionArgs) -> Result<(), CliError> {
    let admin = client.admin();
    let node = resolve_node(&admin, &args.node).await?;
    let started = Instant::now();
    let mut status = StatusLine::new();
    loop {
        let reply = admin
            .decommission(node)
            .await
            .map_err(cannot(format!("decommission node {}", args.node)))?;
        let left = reply.replicas_left;
        if reply.state() == NodeState::Removed {
            status.clear();
            let after = units::elapsed(started.elapsed());
            return print(&format!(
                "node {node} decommissioned and removed after {after}\n"
            ));
        }
        if args.no_wait {
            return print(&format!(
                "decommission of node {node} started, {left} replicas left to move\n"
            ));
        }
        if started.elapsed() >= args.timeout {
            let (node, after) = (node.get(), units::elapsed(args.timeout));
            return Err(ClusterError::StillDraining { node, left, after }.into());
        }
        status.show(&format!("node {node}: {left} replicas left to move"));
        sleep(POLL_INTERVAL).await;
    }
}

async fn finalize(admin: &Admin, level: Option<u32>) -> Result<(), CliError> {
    let reply = admin
        .finalize_level(level.map(FeatureLevel))
        .await
        .map_err(cannot("finalize the feature level"))?;
    let level = reply.finalized_level;
    print(&if reply.changed {
        format!("feature level {level} finalized\n")
    } else {
        format!("feature level {level} is already finalized\n")
    })
}

async fn recommission(admin: &Admin, node: &str) -> Result<(), CliError> {
    let id = resolve_node(admin, node).await?;
    admin
        .recommission(id)
        .await
        .map_err(cannot(format!("recommission node {node}")))?;
    print(&format!(
        "decommission of node {id} cancelled; it keeps its remaining replicas\n"
    ))
}

/// The node with this id or name. An id is not checked.
async fn resolve_node(admin: &Admin, node: &str) -> Result<NodeId, CliError> {
    match node.parse() {
        Ok(id) => Ok(NodeId(id)),
        Err(_) => find_node(admin, node).await,
    }
}

/// The node with this name that has not been removed.
async fn find_node(admin: &Admin, name: &str) -> Result<NodeId, CliError> {
    let cluster = admin
        .describe_cluster(true)
        .await
        .map_err(cannot(format!("look up node {name}")))?;
    cluster
        .nodes
        .iter()
        .find(|node| node.state() != NodeState::Removed && node.name == name)
        .map(|node| NodeId(node.node_id))
        .ok_or_else(|| ClusterError::NodeNotFound { name: name.into() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_partition_or_the_meta_group() {
        assert_eq!(parse_group("meta").unwrap(), Group::Meta);
        let partition = Group::Partition {
            topic: "a.b".into(),
            partition: 3,
        };
        assert_eq!(parse_group("a.b/3").unwrap(), partition);
        for bad in ["a", "a/", "a/x", "/"] {
            assert!(parse_group(bad).is_err(), "{bad}");
        }
    }
}
