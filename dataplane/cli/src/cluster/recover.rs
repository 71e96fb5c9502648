//! `lograft cluster recover`: groups that have lost the majority of their replicas.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use lograft_client::Admin;
use lograft_client::admin_wire::{
    RecoverGroupsReply, RecoverGroupsRequest, RecoverMetadataReply, RecoverMetadataRequest,
    RecoverableReplica, RecoveredGroup,
};
use lograft_core::RecoveryEpoch;
use tokio::time::{Instant, sleep};

use super::{ClusterError, Group, POLL_INTERVAL, parse_group, resolve_node};
use crate::call_error::cannot;
use crate::error::CliError;
use crate::output::print;
use crate::units;

/// Options of `lograft cluster recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// Partition as TOPIC/PARTITION
    #[arg(
        value_parser = parse_group,
        required_unless_present_any = ["group_id", "partitions", "metadata", "all"],
        conflicts_with_all = ["partitions", "metadata", "all"]
    )]
    group: Option<Group>,
    /// Raft group by its id, e.g. a coordinator of consumer groups
    #[arg(long, value_name = "ID", conflicts_with = "group")]
    group_id: Option<u64>,
    #[command(flatten)]
    scope: Scope,
    /// Id of the node that becomes the only voter of the metadata
    #[arg(long, value_name = "NODE")]
    node: Option<u64>,
    /// Node whose replica survives, by id or name; by default, the one with the longest log
    #[arg(long, value_name = "NODE")]
    survivor: Option<String>,
    #[command(flatten)]
    consent: Consent,
    /// Maximum time to wait until the survivors lead
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = units::parse_duration)]
    timeout: Duration,
}

/// The groups to recover, if not a single one.
#[derive(Clone, Copy, Debug, Args)]
struct Scope {
    /// All partitions and coordinators that have lost their majority
    #[arg(long, conflicts_with_all = ["group_id", "survivor", "metadata", "all"])]
    partitions: bool,
    /// The metadata, from the node given by --node
    #[arg(long, requires = "node", conflicts_with_all = ["group_id", "survivor", "all"])]
    metadata: bool,
    /// The metadata from the node given by --node, then all partitions
    #[arg(long, requires = "node", conflicts_with_all = ["group_id", "survivor"])]
    all: bool,
}

/// Whether the user agrees.
#[derive(Clone, Copy, Debug, Args)]
struct Consent {
    /// Show what would be done and what may be lost, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

pub(super) async fn recover(admin: &Admin, args: RecoverArgs) -> Result<(), CliError> {
    let RecoverArgs {
        group,
        group_id,
        scope,
        node,
        survivor,
        consent,
        timeout,
    } = args;
    let Scope {
        partitions: _,
        metadata,
        all,
    } = scope;
    if metadata || all {
        let node = node.unwrap_or_default();
        recover_metadata(admin, node, (consent, timeout)).await?;
        if metadata || consent.dry_run {
            return Ok(());
        }
    }
    let mut request = RecoverGroupsRequest {
        group_id,
        dry_run: true,
        ..RecoverGroupsRequest::default()
    };
    match group {
        None => {}
        Some(Group::Meta) => return Err(ClusterError::MetaNotPartition.into()),
        Some(Group::Partition { topic, partition }) => {
            request.topic = topic;
            request.partition = partition;
        }
    }
    if let Some(survivor) = survivor {
        request.node_id = resolve_node(admin, &survivor).await?.get();
    }
    let found = if all {
        call_until(admin, &request, timeout).await?
    } else {
        call(admin, &request).await?
    };
    print(&plan(&found))?;
    if consent.dry_run || !found.groups.iter().any(is_recoverable) {
        return Ok(());
    }
    consent.require("Recover them?")?;
    request.dry_run = false;
    carry_out(admin, request, timeout).await
}

impl Consent {
    /// Fails unless the user agrees.
    fn require(self, question: &str) -> Result<(), CliError> {
        if self.yes || ask(question)? {
            return Ok(());
        }
        Err(ClusterError::NotConfirmed.into())
    }
}

/// Recovers the metadata from a node, and waits until it leads the meta group again.
async fn recover_metadata(
    admin: &Admin,
    node: u64,
    (consent, timeout): (Consent, Duration),
) -> Result<(), CliError> {
    let call = async |dry_run| {
        let request = RecoverMetadataRequest {
            node_id: node,
            dry_run,
        };
        let reply = admin.recover_metadata(request).await;
        reply.map_err(cannot(format!("recover the metadata from node {node}")))
    };
    let found = call(true).await?;
    print(&metadata_plan(&found))?;
    if consent.dry_run {
        return Ok(());
    }
    consent.require("Recover the metadata?")?;
    let epoch = call(false).await?.recovery_epoch;
    let started = Instant::now();
    loop {
        sleep(POLL_INTERVAL).await;
        let described = admin.describe_cluster(true).await;
        if described.is_ok_and(|cluster| {
            cluster.metadata_recovery_epoch == epoch && cluster.meta_leader_node.is_some()
        }) {
            let epoch = RecoveryEpoch(epoch);
            return print(&format!(
                "metadata recovered from node {node}, recovery epoch {epoch}\n"
            ));
        }
        if started.elapsed() >= timeout {
            let (waiting, after) = (1, units::elapsed(timeout));
            return Err(ClusterError::StillRecovering { waiting, after }.into());
        }
    }
}

fn metadata_plan(found: &RecoverMetadataReply) -> String {
    let RecoverMetadataReply {
        node_id,
        recovery_epoch: _,
        last_index,
        following_node_ids,
        lost_node_ids,
    } = found;
    let list = |nodes: &[u64]| {
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        if nodes.is_empty() {
            "none".to_owned()
        } else {
            nodes.join(", ")
        }
    };
    format!(
        "the metadata survive on node {node_id}, which restarts: changes after index {last_index} \
         are lost (topics, nodes, access rules, revoked certificates)\n\
         nodes that follow, and restart: {}\n\
         nodes that are lost, and must be stopped or cut off: {}\n\
         A lost node is refused from then on; its disk must be wiped before it joins again.\n",
        list(following_node_ids),
        list(lost_node_ids)
    )
}

async fn call(
    admin: &Admin,
    request: &RecoverGroupsRequest,
) -> Result<RecoverGroupsReply, CliError> {
    let reply = admin.recover_groups(request.clone()).await;
    Ok(reply.map_err(cannot("recover partitions"))?)
}

/// Repeats the call while nodes that follow recovered metadata restart.
async fn call_until(
    admin: &Admin,
    request: &RecoverGroupsRequest,
    timeout: Duration,
) -> Result<RecoverGroupsReply, CliError> {
    let started = Instant::now();
    loop {
        match admin.recover_groups(request.clone()).await {
            Ok(reply) => return Ok(reply),
            Err(error) if error.is_retryable() && started.elapsed() < timeout => {
                sleep(POLL_INTERVAL).await;
            }
            Err(error) => return Err(cannot("recover partitions")(error).into()),
        }
    }
}

/// Repeats the call while there are more groups, and until all survivors lead.
async fn carry_out(
    admin: &Admin,
    request: RecoverGroupsRequest,
    timeout: Duration,
) -> Result<(), CliError> {
    let is_one = request.group_id.is_some() || !request.topic.is_empty();
    let started = Instant::now();
    let mut request = request;
    loop {
        let reply = call(admin, &request).await?;
        print(&outcome(&reply))?;
        let waiting = reply
            .groups
            .iter()
            .filter(|group| is_recoverable(group) && !group.done)
            .count();
        if waiting == 0 && !reply.more {
            return Ok(());
        }
        if started.elapsed() >= timeout {
            let after = units::elapsed(timeout);
            return Err(ClusterError::StillRecovering { waiting, after }.into());
        }
        // Named again, a recovery in progress is waited for; once done it has its majority.
        if is_one {
            request.node_id = 0;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Asks on a terminal. Without one, nobody can answer.
fn ask(question: &str) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    print(&format!("{question} Type \"yes\": "))?;
    io::stdout().flush().ok();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim() == "yes")
}

const fn is_recoverable(group: &RecoveredGroup) -> bool {
    group.node_id != 0
}

fn plan(found: &RecoverGroupsReply) -> String {
    if found.groups.is_empty() {
        return "every partition has its majority\n".to_owned();
    }
    let mut text = String::new();
    for group in &found.groups {
        let name = name(group);
        for replica in &group.replicas {
            let _ = writeln!(
                text,
                "{name} on node {}: {}",
                replica.node_id,
                state(replica)
            );
        }
        let survivor = group
            .replicas
            .iter()
            .find(|replica| replica.node_id == group.node_id);
        match survivor {
            None => {
                let _ = writeln!(text, "{name} cannot be recovered: {}", group.refused);
            }
            Some(survivor) => text.push_str(&losses(&name, survivor)),
        }
    }
    if found.groups.iter().any(is_recoverable) {
        text.push_str(
            "A node that is lost must be stopped, or cut off, before: its replica is given up.\n\
             Retries of batches that the lost replicas have acknowledged are appended again.\n",
        );
    }
    if found.more {
        text.push_str("There are more of them.\n");
    }
    text
}

fn losses(name: &str, survivor: &RecoverableReplica) -> String {
    let RecoverableReplica {
        node_id,
        high_watermark,
        log_end_offset,
        ..
    } = survivor;
    format!(
        "{name} survives on node {node_id}: acknowledged records from offset {log_end_offset} on \
         are lost; those from {high_watermark} on are kept, perhaps never acknowledged\n"
    )
}

fn state(replica: &RecoverableReplica) -> String {
    let RecoverableReplica {
        node_id: _,
        reachable,
        corrupt,
        last_term,
        last_index,
        high_watermark,
        log_end_offset,
    } = replica;
    match (reachable, corrupt) {
        (false, _) => "does not answer".to_owned(),
        (true, true) => "corrupt".to_owned(),
        (true, false) => format!(
            "term {last_term}, index {last_index}, high watermark {high_watermark}, end {log_end_offset}"
        ),
    }
}

fn outcome(reply: &RecoverGroupsReply) -> String {
    let mut text = String::new();
    for group in reply.groups.iter().filter(|group| is_recoverable(group)) {
        let (name, node) = (name(group), group.node_id);
        let epoch = RecoveryEpoch(group.recovery_epoch);
        let _ = if group.done {
            writeln!(
                text,
                "{name} recovered from node {node}, recovery epoch {epoch}"
            )
        } else {
            writeln!(text, "{name} waits for node {node}, recovery epoch {epoch}")
        };
    }
    text
}

fn name(group: &RecoveredGroup) -> String {
    if group.topic.is_empty() {
        return format!("group {}", group.group_id);
    }
    format!("{}/{}", group.topic, group.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(node_id: u64, reachable: bool) -> RecoverableReplica {
        RecoverableReplica {
            node_id,
            reachable,
            last_term: 4,
            last_index: 90,
            high_watermark: 70,
            log_end_offset: 81,
            ..RecoverableReplica::default()
        }
    }

    #[test]
    fn the_plan_says_what_survives_and_what_may_be_lost() {
        let lost = RecoveredGroup {
            group_id: 7,
            topic: "clicks".into(),
            partition: 2,
            replicas: vec![replica(1, false), replica(3, true)],
            node_id: 3,
            ..RecoveredGroup::default()
        };
        let hopeless = RecoveredGroup {
            group_id: 9,
            refused: "none answers".into(),
            ..RecoveredGroup::default()
        };
        let found = RecoverGroupsReply {
            groups: vec![lost.clone(), hopeless],
            more: true,
        };
        assert_eq!(
            plan(&found),
            "clicks/2 on node 1: does not answer\n\
             clicks/2 on node 3: term 4, index 90, high watermark 70, end 81\n\
             clicks/2 survives on node 3: acknowledged records from offset 81 on are lost; those \
             from 70 on are kept, perhaps never acknowledged\n\
             group 9 cannot be recovered: none answers\n\
             A node that is lost must be stopped, or cut off, before: its replica is given up.\n\
             Retries of batches that the lost replicas have acknowledged are appended again.\n\
             There are more of them.\n"
        );
        let metadata = RecoverMetadataReply {
            node_id: 3,
            last_index: 40,
            following_node_ids: vec![4, 5],
            ..RecoverMetadataReply::default()
        };
        assert_eq!(
            metadata_plan(&metadata),
            "the metadata survive on node 3, which restarts: changes after index 40 are lost \
             (topics, nodes, access rules, revoked certificates)\n\
             nodes that follow, and restart: 4, 5\n\
             nodes that are lost, and must be stopped or cut off: none\n\
             A lost node is refused from then on; its disk must be wiped before it joins again.\n"
        );
        let none = RecoverGroupsReply::default();
        assert_eq!(plan(&none), "every partition has its majority\n");
        let done = RecoverGroupsReply {
            groups: vec![RecoveredGroup {
                done: true,
                recovery_epoch: (1 << 32) | 3,
                ..lost
            }],
            more: false,
        };
        let expected = "clicks/2 recovered from node 3, recovery epoch 1.3\n";
        assert_eq!(outcome(&done), expected);
    }
}
