//! `lograft cluster recover`: groups that have lost the majority of their replicas.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use lograft_client::Admin;
use lograft_client::admin_wire::{
    RecoverGroupsReply, RecoverGroupsRequest, RecoverableReplica, RecoveredGroup,
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
    #[arg(value_parser = parse_group, required_unless_present_any = ["group_id", "partitions"])]
    group: Option<Group>,
    /// Raft group by its id, e.g. a coordinator of consumer groups
    #[arg(long, value_name = "ID", conflicts_with = "group")]
    group_id: Option<u64>,
    /// All partitions and coordinators that have lost their majority
    #[arg(long, conflicts_with_all = ["group", "group_id", "survivor"])]
    partitions: bool,
    /// Node whose replica survives, by id or name; by default, the one with the longest log
    #[arg(long, value_name = "NODE")]
    survivor: Option<String>,
    /// Show what would be done and what may be lost, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Maximum time to wait until the survivors lead
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = units::parse_duration)]
    timeout: std::time::Duration,
}

pub(super) async fn recover(admin: &Admin, args: RecoverArgs) -> Result<(), CliError> {
    let RecoverArgs {
        group,
        group_id,
        partitions: _,
        survivor,
        dry_run,
        yes,
        timeout,
    } = args;
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
    let found = call(admin, &request).await?;
    print(&plan(&found))?;
    if dry_run || !found.groups.iter().any(is_recoverable) {
        return Ok(());
    }
    if !yes && !ask()? {
        return Err(ClusterError::NotConfirmed.into());
    }
    request.dry_run = false;
    carry_out(admin, request, timeout).await
}

async fn call(
    admin: &Admin,
    request: &RecoverGroupsRequest,
) -> Result<RecoverGroupsReply, CliError> {
    let reply = admin.recover_groups(request.clone()).await;
    Ok(reply.map_err(cannot("recover partitions"))?)
}

/// Repeats the call while there are more groups, and until all survivors lead.
async fn carry_out(
    admin: &Admin,
    request: RecoverGroupsRequest,
    timeout: std::time::Duration,
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
fn ask() -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    print("Recover them? Type \"yes\": ")?;
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
