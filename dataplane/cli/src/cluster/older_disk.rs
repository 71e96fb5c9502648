//! `lograft cluster accept-older-disk`: for groups that have no majority without the node.

use std::fmt::Write as _;

use lograft_client::Admin;
use lograft_client::admin_wire::{AcceptOlderDiskRequest, FencedGroup};

use super::{AcceptOlderDiskArgs, ClusterError, Group, resolve_node};
use crate::call_error::cannot;
use crate::error::CliError;
use crate::output::print;

/// The meta group.
const META: u64 = 0;

pub(super) async fn accept(admin: &Admin, args: AcceptOlderDiskArgs) -> Result<(), CliError> {
    let AcceptOlderDiskArgs { node, group, yes } = args;
    let mut request = AcceptOlderDiskRequest {
        node_id: resolve_node(admin, &node).await?.get(),
        dry_run: !yes,
        ..AcceptOlderDiskRequest::default()
    };
    match group {
        None => {}
        Some(Group::Meta) => request.group_id = Some(META),
        Some(Group::Partition { topic, partition }) => {
            request.topic = topic;
            request.partition = partition;
        }
    }
    let groups = admin
        .accept_older_disk(request)
        .await
        .map_err(cannot(format!("accept the older disk of node {node}")))?;
    print(&text(&node, &groups, yes))?;
    if yes || groups.is_empty() {
        return Ok(());
    }
    Err(ClusterError::NotConfirmed.into())
}

fn text(node: &str, groups: &[FencedGroup], is_done: bool) -> String {
    if groups.is_empty() {
        return format!("no group is fenced on node {node}\n");
    }
    let verb = if is_done {
        "votes again on"
    } else {
        "does not vote on"
    };
    let mut text = String::new();
    for group in groups {
        let (name, end) = (name(group), group.log_end_offset);
        let lost = if group.group_id == META {
            "later changes of topics and nodes may be lost".to_owned()
        } else {
            format!("records from offset {end} on may be lost")
        };
        let _ = writeln!(text, "{name} {verb} node {node}: {lost}");
    }
    text
}

fn name(group: &FencedGroup) -> String {
    match group.group_id {
        META => "meta".to_owned(),
        id if group.topic.is_empty() => format!("group {id}"),
        _ => format!("{}/{}", group.topic, group.partition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_may_be_lost() {
        let group = |group_id, topic: &str| FencedGroup {
            group_id,
            topic: topic.to_owned(),
            partition: 2,
            log_end_offset: 17,
        };
        let groups = [group(0, ""), group(4, "clicks"), group(9, "")];
        assert_eq!(
            text("n1", &groups, false),
            "meta does not vote on node n1: later changes of topics and nodes may be lost\n\
             clicks/2 does not vote on node n1: records from offset 17 on may be lost\n\
             group 9 does not vote on node n1: records from offset 17 on may be lost\n"
        );
        let done = text("n1", &groups[1..2], true);
        assert_eq!(
            done,
            "clicks/2 votes again on node n1: records from offset 17 on may be lost\n"
        );
        assert_eq!(text("n1", &[], true), "no group is fenced on node n1\n");
    }
}
