//! `lograft cluster`: how it is, who leads, who goes.

mod render;

use std::time::Duration;

use clap::{Args, Subcommand};
use lograft_client::admin_wire::NodeState;
use lograft_client::{Admin, Client, NodeId, PartitionId};
use tokio::time::{Instant, sleep};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{Paint, Status, print, print_json};
use crate::units;

/// Between two looks at how far a node's replicas have moved.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The words after `lograft cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show nodes, leaders, lag and what is wrong; exit code 0 only when all is well
    Status {
        /// Print JSON, with every partition
        #[arg(long)]
        json: bool,
        /// Show all partitions, however many there are
        #[arg(long, short)]
        all: bool,
        /// Wait until the cluster is healthy, at most so long
        #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
        wait: Option<Duration>,
    },
    /// Hand the leadership of a partition to another of its replicas
    Transfer(TransferArgs),
    /// Move all replicas away from a node, then remove it for ever
    Decommission(DecommissionArgs),
    /// Call a decommission off while the node is still being emptied
    Recommission {
        /// The node's id or name
        node: String,
    },
}

/// Options of `lograft cluster transfer`.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// TOPIC/PARTITION, or "meta" for the group that holds the cluster's own state
    #[arg(value_parser = parse_group)]
    group: Group,
    /// The id of the node that is to lead
    #[arg(long, value_name = "NODE")]
    to: u64,
}

/// What is led.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    Meta,
    Partition { topic: String, partition: u32 },
}

/// Options of `lograft cluster decommission`.
#[derive(Debug, Args)]
pub(crate) struct DecommissionArgs {
    /// The node's id or name
    node: String,
    /// Do not wait until the node holds nothing
    #[arg(long)]
    no_wait: bool,
    /// The longest wait
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = units::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("expected TOPIC/PARTITION, for example clicks/0, or \"meta\"")]
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

/// Runs one of them.
pub(crate) async fn run(command: ClusterCommand, global: &Global) -> Result<(), CliError> {
    let client = global.connect().await?;
    match command {
        ClusterCommand::Status { json, all, wait } => {
            status(&client.admin(), json, all, wait).await
        }
        ClusterCommand::Transfer(args) => transfer(&client.admin(), args).await,
        ClusterCommand::Decommission(args) => decommission(&client, args).await,
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
        let asked = admin.describe_cluster(false).await;
        let is_last = Instant::now() >= deadline;
        match asked {
            Ok(cluster) if cluster.healthy || is_last => break cluster,
            Err(error) if is_last || !error.is_retryable() => {
                return Err(CliError::call("describing the cluster")(error));
            }
            _ => sleep(LOOK_EVERY).await,
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
        Err(CliError::NotHealthy)
    }
}

async fn transfer(admin: &Admin, args: TransferArgs) -> Result<(), CliError> {
    let to = NodeId(args.to);
    let (what, outcome) = match &args.group {
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
    let action = format!("handing the leadership of {what} to node {to}");
    let epoch = outcome.map_err(CliError::call(action))?;
    print(&format!("node {to} leads {what} in epoch {epoch}\n"))
}

async fn decommission(client: &Client, args: DecommissionArgs) -> Result<(), CliError> {
    let admin = client.admin();
    let action = || format!("decommissioning node {}", args.node);
    let node = node_of(&admin, &args.node).await?;
    let begun = Instant::now();
    let mut shown = Status::new();
    loop {
        let reply = admin
            .decommission(node)
            .await
            .map_err(CliError::call(action()))?;
        let left = reply.replicas_left;
        if reply.state() == NodeState::Removed {
            shown.clear();
            let after = units::elapsed(begun.elapsed());
            return print(&format!("node {node} is removed for ever, after {after}\n"));
        }
        if args.no_wait {
            return print(&format!(
                "node {node} is being emptied: {left} replicas left\n"
            ));
        }
        if begun.elapsed() >= args.timeout {
            let (node, after) = (node.get(), units::elapsed(args.timeout));
            return Err(CliError::StillDraining { node, left, after });
        }
        shown.show(&format!("node {node}: {left} replicas left to move"));
        sleep(LOOK_EVERY).await;
    }
}

async fn recommission(admin: &Admin, node: &str) -> Result<(), CliError> {
    let id = node_of(admin, node).await?;
    let action = format!("calling off the decommission of node {node}");
    let stays = admin.recommission(id).await;
    stays.map_err(CliError::call(action))?;
    print(&format!(
        "node {id} stays: what it still holds stays with it\n"
    ))
}

/// The id of a node given by id or name.
async fn node_of(admin: &Admin, node: &str) -> Result<NodeId, CliError> {
    match node.parse() {
        Ok(id) => Ok(NodeId(id)),
        Err(_) => find_node(admin, node).await,
    }
}

/// The id of the node at work with this name.
async fn find_node(admin: &Admin, name: &str) -> Result<NodeId, CliError> {
    let asked = admin.describe_cluster(true).await;
    let cluster = asked.map_err(CliError::call(format!("looking for node {name:?}")))?;
    let at_work = cluster
        .nodes
        .iter()
        .filter(|node| node.state() != NodeState::Removed);
    let found = at_work
        .filter(|node| node.name == name)
        .map(|node| NodeId(node.node_id))
        .next();
    found.ok_or_else(|| CliError::NoNode { name: name.into() })
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
