//! Groups as text and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lograft_client::group_wire::{
    Assignor, DescribeGroupReply, GroupMember, GroupState, ListedGroup,
};
use serde::Serialize;

use super::partitions::{Place, Progress};
use crate::output::{Cell, Paint, Table, Tone, plural};
use crate::units::count;

/// A group in a list as JSON.
#[derive(Debug, Serialize)]
pub(super) struct ListedGroupJson {
    name: String,
    state: &'static str,
    member_count: u32,
}

/// A group as JSON.
#[derive(Debug, Serialize)]
pub(super) struct GroupJson {
    name: String,
    state: &'static str,
    generation: u64,
    assignor: &'static str,
    coordinator_node: u64,
    /// Sum of the lags that are known.
    lag: u64,
    members: Vec<MemberJson>,
    partitions: Vec<PartitionJson>,
}

#[derive(Debug, Serialize)]
struct MemberJson {
    member_id: String,
    instance_id: Option<String>,
    client_id: String,
    principal: String,
    topics: Vec<String>,
    topic_pattern: Option<String>,
    partition_count: usize,
}

#[derive(Debug, Serialize)]
struct PartitionJson {
    topic: String,
    partition: u32,
    committed_offset: Option<u64>,
    committed_at_ms: Option<i64>,
    metadata: String,
    log_start_offset: Option<u64>,
    high_watermark: Option<u64>,
    lag: Option<u64>,
    member_id: Option<String>,
    is_revoking: bool,
}

fn state(state: GroupState) -> (&'static str, Tone) {
    match state {
        GroupState::Empty => ("empty", Tone::Plain),
        GroupState::Rebalancing => ("rebalancing", Tone::Warn),
        GroupState::Stable => ("stable", Tone::Good),
        GroupState::Unspecified => ("unknown", Tone::Warn),
    }
}

const fn assignor(assignor: Assignor) -> &'static str {
    match assignor {
        Assignor::Unspecified | Assignor::Sticky => "sticky",
        Assignor::Range => "range",
    }
}

/// JSON of `group list`.
pub(super) fn list_json(groups: &[ListedGroup]) -> Vec<ListedGroupJson> {
    let json = |group: &ListedGroup| ListedGroupJson {
        name: group.group.clone(),
        state: state(group.state()).0,
        member_count: group.member_count,
    };
    groups.iter().map(json).collect()
}

/// JSON of `group describe`.
pub(super) fn group_json(
    group: &DescribeGroupReply,
    progress: &BTreeMap<Place, Progress>,
) -> GroupJson {
    let member = |member: &GroupMember| MemberJson {
        member_id: member.member_id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        principal: member.principal.clone(),
        topics: member.topics.clone(),
        topic_pattern: member.topic_pattern.clone(),
        partition_count: member.partitions.len(),
    };
    let partition = |((topic, partition), progress): (&Place, &Progress)| PartitionJson {
        topic: topic.clone(),
        partition: *partition,
        committed_offset: progress.committed,
        committed_at_ms: progress.committed_at_ms,
        metadata: progress.metadata.clone(),
        log_start_offset: progress.log_start,
        high_watermark: progress.log_end,
        lag: progress.lag(),
        member_id: progress.member.clone(),
        is_revoking: progress.is_revoking,
    };
    GroupJson {
        name: group.group.clone(),
        state: state(group.state()).0,
        generation: group.generation,
        assignor: assignor(group.assignor()),
        coordinator_node: group.coordinator_node,
        lag: total_lag(progress),
        members: group.members.iter().map(member).collect(),
        partitions: progress.iter().map(partition).collect(),
    }
}

fn total_lag(progress: &BTreeMap<Place, Progress>) -> u64 {
    progress.values().filter_map(Progress::lag).sum()
}

/// Text of `group list`.
pub(super) fn list(groups: &[ListedGroup], paint: Paint) -> String {
    let mut table = Table::new(&["GROUP", "STATE", ">MEMBERS"]);
    for group in groups {
        let (name, tone) = state(group.state());
        table.row([
            Cell::from(group.group.clone()),
            Cell::toned(name, tone),
            group.member_count.to_string().into(),
        ]);
    }
    table.render(paint, 0)
}

/// Text of `group describe`: a summary, a table of the members and one of the partitions.
pub(super) fn describe(
    group: &DescribeGroupReply,
    progress: &BTreeMap<Place, Progress>,
    paint: Paint,
) -> String {
    let mut text = format!(
        "{}: {}, {}, {}, lag {}, generation {}, assignor {}, coordinator node {}\n",
        paint.strong(&group.group),
        state(group.state()).0,
        plural(group.members.len(), "member"),
        plural(progress.len(), "partition"),
        count(total_lag(progress)),
        group.generation,
        assignor(group.assignor()),
        group.coordinator_node,
    );
    if !group.members.is_empty() {
        let _ = write!(text, "\n{}", members(&group.members, paint));
    }
    if !progress.is_empty() {
        let _ = write!(text, "\n{}", partitions(progress, paint));
    }
    text
}

fn members(members: &[GroupMember], paint: Paint) -> String {
    let mut table = Table::new(&[
        "MEMBER",
        "INSTANCE",
        "CLIENT",
        "PRINCIPAL",
        "TOPICS",
        ">PARTITIONS",
    ]);
    for member in members {
        let mut topics = member.topics.join(",");
        if let Some(pattern) = &member.topic_pattern {
            let separator = if topics.is_empty() { "" } else { "," };
            let _ = write!(topics, "{separator}/{pattern}/");
        }
        table.row([
            member.member_id.clone(),
            member.instance_id.clone().unwrap_or_default(),
            member.client_id.clone(),
            member.principal.clone(),
            topics,
            member.partitions.len().to_string(),
        ]);
    }
    table.render(paint, 0)
}

fn partitions(progress: &BTreeMap<Place, Progress>, paint: Paint) -> String {
    let mut table = Table::new(&[
        "TOPIC",
        ">PARTITION",
        ">COMMITTED",
        ">END",
        ">LAG",
        "MEMBER",
        "METADATA",
    ]);
    let number = |offset: Option<u64>| offset.map_or_else(|| "-".to_owned(), count);
    for ((topic, partition), progress) in progress {
        let member = match (&progress.member, progress.is_revoking) {
            (None, _) => Cell::toned("none", Tone::Warn),
            (Some(member), false) => Cell::from(member.clone()),
            (Some(member), true) => Cell::toned(format!("{member} (revoking)"), Tone::Warn),
        };
        table.row([
            Cell::from(topic.clone()),
            partition.to_string().into(),
            number(progress.committed).into(),
            number(progress.log_end).into(),
            number(progress.lag()).into(),
            member,
            progress.metadata.clone().into(),
        ]);
    }
    table.render(paint, 0)
}

#[cfg(test)]
mod tests {
    use lograft_client::group_wire::MemberPartition;

    use super::*;

    fn group() -> DescribeGroupReply {
        let has = |partition, is_revoking| MemberPartition {
            topic: "orders".into(),
            topic_id: 7,
            partition,
            is_revoking,
        };
        DescribeGroupReply {
            group: "billing".into(),
            state: GroupState::Rebalancing.into(),
            generation: 7,
            assignor: Assignor::Sticky.into(),
            members: vec![GroupMember {
                member_id: "m-1".into(),
                instance_id: Some("pod-0".into()),
                client_id: "biller".into(),
                principal: "user/billing".into(),
                topics: vec!["orders".into()],
                topic_pattern: Some("o.*".into()),
                partitions: vec![has(0, false), has(1, true)],
            }],
            offsets: Vec::new(),
            coordinator_node: 2,
            next: None,
        }
    }

    fn progress() -> BTreeMap<Place, Progress> {
        let one = Progress {
            committed: Some(60),
            metadata: "host a".into(),
            committed_at_ms: Some(1000),
            log_start: Some(0),
            log_end: Some(1294),
            member: Some("m-1".into()),
            is_revoking: false,
        };
        let given_up = Progress {
            is_revoking: true,
            committed: None,
            metadata: String::new(),
            committed_at_ms: None,
            ..one.clone()
        };
        let gone = Progress {
            committed: Some(5),
            ..Progress::default()
        };
        let place = |partition| ("orders".to_owned(), partition);
        [(place(0), one), (place(1), given_up), (place(2), gone)].into()
    }

    #[test]
    fn describe_shows_members_and_partitions() {
        let expected = "\
billing: rebalancing, 1 member, 3 partitions, lag 1,234, generation 7, assignor sticky, coordinator node 2

MEMBER  INSTANCE  CLIENT  PRINCIPAL     TOPICS        PARTITIONS
m-1     pod-0     biller  user/billing  orders,/o.*/           2

TOPIC   PARTITION  COMMITTED    END    LAG  MEMBER          METADATA
orders          0         60  1,294  1,234  m-1             host a
orders          1          -  1,294      -  m-1 (revoking)
orders          2          5      -      -  none
";
        assert_eq!(describe(&group(), &progress(), Paint::plain()), expected);
    }

    #[test]
    fn json_has_the_same_fields() {
        let json = serde_json::to_value(group_json(&group(), &progress())).unwrap();
        assert_eq!(json["state"], "rebalancing");
        assert_eq!(json["lag"], 1234);
        assert_eq!(json["members"][0]["partition_count"], 2);
        assert_eq!(json["partitions"][0]["high_watermark"], 1294);
        assert_eq!(
            json["partitions"][1]["committed_offset"],
            serde_json::Value::Null
        );
        assert_eq!(json["partitions"][1]["is_revoking"], true);
    }

    #[test]
    fn list_has_a_line_for_each_group() {
        let group = ListedGroup {
            group: "billing".into(),
            state: GroupState::Empty.into(),
            member_count: 0,
        };
        let groups = [group];
        assert_eq!(
            list(&groups, Paint::plain()),
            "GROUP    STATE  MEMBERS\nbilling  empty        0\n"
        );
        let json = serde_json::to_value(list_json(&groups)).unwrap();
        assert_eq!(json[0]["state"], "empty");
    }
}
