use lograft_core::{ClusterId, Term};

use super::*;
use crate::control::node_report::NodeReport;
use crate::control::test_metadata::{cluster, create, create_coordinators, ids};
use crate::identity::Member;

/// A group's report by one of its nodes; the leader reports the lags.
fn replica(group: u64, is_leader: bool, voters: &[u64], lags: &[(u64, u64)]) -> ReplicaReport {
    ReplicaReport {
        group: GroupId(group),
        term: Term(3),
        ready_leader: is_leader,
        voters: ids(voters),
        lags: lags
            .iter()
            .map(|(node, lag)| (NodeId(*node), *lag))
            .collect(),
        ..ReplicaReport::default()
    }
}

type Groups<'a> = &'a [(u64, u64, &'a [u64], &'a [(u64, u64)])];

/// The reports of these nodes. A group is its id, its leader, its voters and their lags.
fn reports(nodes: &[u64], groups: Groups<'_>) -> Vec<NodeReport> {
    let of = |node: u64| {
        let held = groups
            .iter()
            .filter(|(_, _, voters, _)| voters.contains(&node));
        held.map(|(group, leader, voters, lags)| {
            let is_leader = *leader == node;
            let mut report = replica(*group, is_leader, voters, lags);
            report.leader = Some(NodeId(*leader));
            report
        })
        .collect()
    };
    let report = |node: &u64| NodeReport {
        member: Some(Member {
            cluster: ClusterId::from_bytes([1; 16]),
            node: NodeId(*node),
        }),
        replicas: of(*node),
        ..NodeReport::default()
    };
    nodes.iter().map(report).collect()
}

const ALL: &[u64] = &[1, 2, 3];
const IN_SYNC: &[(u64, u64)] = &[(1, 0), (2, 0), (3, 5)];

/// Three nodes; one partition of three replicas.
fn three() -> Metadata {
    let mut metadata = cluster(3);
    create(&mut metadata, "t", &[&[2, 3, 1]]);
    metadata
}

fn check(metadata: &Metadata, reports: Vec<NodeReport>, node: u64) -> StopCheck {
    check_stop(metadata, &Reports::new(reports), NodeId(node))
}

#[test]
fn a_node_may_stop_while_all_are_in_sync_and_the_next_replica_leads_then() {
    let groups: Groups<'_> = &[(0, 2, ALL, IN_SYNC), (1, 2, ALL, IN_SYNC)];
    let found = check(&three(), reports(ALL, groups), 2);
    let leads = vec![(GroupId::META, NodeId(1)), (GroupId(1), NodeId(3))];
    assert_eq!(
        found,
        StopCheck {
            leads,
            ..StopCheck::default()
        }
    );
    assert_eq!(
        found.still_leads(NodeId(2)).as_deref(),
        Some("node 2 still leads 2 groups")
    );
    let found = check(&three(), reports(ALL, groups), 1);
    assert_eq!(found, StopCheck::default());
    assert_eq!(found.still_leads(NodeId(1)), None);
}

#[test]
fn a_second_node_waits_for_the_first() {
    let groups: Groups<'_> = &[(0, 2, ALL, IN_SYNC), (1, 2, ALL, IN_SYNC)];
    let found = check(&three(), reports(&[1, 2], groups), 2);
    let why = "waiting for a majority of the meta group, t/0 to be in sync without node 2: \
               node 3 does not answer";
    assert_eq!(found.waits_for, [why]);
    let found = check(&three(), reports(&[1, 2], groups), 3);
    assert_eq!(
        found.waits_for,
        Vec::<String>::new(),
        "it is stopped already"
    );
}

#[test]
fn the_coordinators_of_consumer_groups_keep_their_majorities_too() {
    let mut metadata = three();
    create_coordinators(&mut metadata, &[2, 3, 1]);
    let with = |lags| {
        let partitions = [(0, 2, ALL, IN_SYNC), (1, 2, ALL, IN_SYNC)];
        let coordinators = (2..=9).map(|group| (group, 2, ALL, lags));
        partitions
            .into_iter()
            .chain(coordinators)
            .collect::<Vec<_>>()
    };
    let behind: &[(u64, u64)] = &[(1, IN_SYNC_LAG_MAX_COUNT + 1), (3, 0)];
    let found = check(&metadata, reports(ALL, &with(IN_SYNC)), 2);
    assert_eq!(found.waits_for, Vec::<String>::new());
    assert_eq!(found.leads.len(), 10);
    let found = check(&metadata, reports(ALL, &with(behind)), 3);
    let why = "waiting for a majority of $coordinators/0, $coordinators/1, $coordinators/2, \
               $coordinators/3, $coordinators/4 and 3 more to be in sync without node 3: node 1 \
               is behind";
    assert_eq!(found.waits_for, [why]);
}

#[test]
fn a_replica_that_is_behind_corrupt_or_missing_does_not_count() {
    let behind: &[(u64, u64)] = &[(1, IN_SYNC_LAG_MAX_COUNT + 1), (3, 0)];
    let groups: Groups<'_> = &[(0, 2, ALL, IN_SYNC), (1, 2, ALL, behind)];
    let why =
        |what: &str| format!("waiting for a majority of t/0 to be in sync without node 3: {what}");
    let found = check(&three(), reports(ALL, groups), 3);
    assert_eq!(found.waits_for, [why("node 1 is behind")]);
    let groups: Groups<'_> = &[(0, 2, ALL, IN_SYNC), (1, 2, ALL, IN_SYNC)];
    let mut corrupt = reports(ALL, groups);
    corrupt[0].replicas[1].corrupt = true;
    let found = check(&three(), corrupt, 3);
    assert_eq!(found.waits_for, [why("node 1 has a corrupt replica")]);
    let mut fenced = reports(ALL, groups);
    fenced[0].replicas[1].fenced = true;
    let found = check(&three(), fenced, 3);
    assert_eq!(
        found.waits_for,
        [why("node 1 does not vote, its disk is older")]
    );
    let mut empty = reports(ALL, groups);
    empty[0].replicas.truncate(1);
    let found = check(&three(), empty, 3);
    assert_eq!(
        found.waits_for,
        [why("node 1 has not created its replica yet")]
    );
    let mut unknown = reports(ALL, groups);
    unknown[1].replicas[1].lags.clear();
    let found = check(&three(), unknown, 3);
    assert_eq!(found.waits_for, [why("node 1 is behind")]);
}

#[test]
fn a_group_without_a_leader_blocks_only_its_own_nodes() {
    let mut metadata = three();
    create(&mut metadata, "u", &[&[1]]);
    let groups: Groups<'_> = &[(0, 2, ALL, IN_SYNC), (1, 2, ALL, IN_SYNC)];
    let found = check(&metadata, reports(ALL, groups), 1);
    assert_eq!(found.waits_for, ["waiting for a leader of u/0"]);
    assert_eq!(
        check(&metadata, reports(ALL, groups), 3).waits_for,
        Vec::<String>::new()
    );
    let found = check(&metadata, reports(&[2, 3], groups), 1);
    assert_eq!(
        found.waits_for,
        Vec::<String>::new(),
        "its only node is down already"
    );
    assert_eq!(found.notes.len(), 1);
    let found = check(&metadata, reports(ALL, &groups[1..]), 3);
    assert_eq!(found.waits_for, ["waiting for a leader of the meta group"]);
}

#[test]
fn a_group_of_one_or_two_replicas_pauses_and_blocks_nothing() {
    let mut metadata = cluster(3);
    create(&mut metadata, "one", &[&[2], &[1]]);
    create(&mut metadata, "two", &[&[2, 3]]);
    let one: &[u64] = &[2];
    let groups: Groups<'_> = &[
        (0, 1, ALL, IN_SYNC),
        (1, 2, one, &[]),
        (2, 1, &[1], &[]),
        (3, 2, &[2, 3], IN_SYNC),
    ];
    let found = check(&metadata, reports(ALL, groups), 2);
    let note = "one/0, two/0 cannot be written while node 2 is stopped: too few replicas";
    assert_eq!(found.notes, [note]);
    assert_eq!(found.waits_for, Vec::<String>::new());
    assert_eq!(
        found.leads,
        [(GroupId(3), NodeId(3))],
        "no other node could lead one/0"
    );
    let found = check(&metadata, reports(&[1, 2], groups), 2);
    assert!(
        found.waits_for[0]
            .ends_with(", two/0 to be in sync without node 2: node 3 does not answer"),
        "{found:?}"
    );
}

#[test]
fn a_cluster_of_one_may_stop_and_one_that_grows_waits_for_its_voters() {
    let alone: Groups<'_> = &[(0, 1, &[1], &[])];
    let found = check(&cluster(1), reports(&[1], alone), 1);
    assert_eq!(
        (found.waits_for.len(), found.notes.len()),
        (0, 1),
        "{found:?}"
    );
    let found = check(&cluster(3), reports(ALL, alone), 1);
    assert_eq!(
        found.waits_for,
        ["waiting for voters to be added to the meta group"]
    );
    let evicted: Groups<'_> = &[(0, 1, ALL, IN_SYNC), (1, 2, &[2, 3], IN_SYNC)];
    let found = check(&three(), reports(ALL, evicted), 2);
    assert_eq!(found.waits_for, ["waiting for voters to be added to t/0"]);
}

#[test]
fn while_voters_change_both_sets_count() {
    let mut metadata = cluster(4);
    create(&mut metadata, "t", &[&[1, 2, 3]]);
    let nodes: &[u64] = &[1, 2, 3, 4];
    let lags: &[(u64, u64)] = &[(1, 0), (2, 0), (3, 0), (4, 9000)];
    let groups: Groups<'_> = &[(0, 1, ALL, IN_SYNC), (1, 1, ALL, lags)];
    let mut reports = reports(nodes, groups);
    reports[3].replicas.push(replica(1, false, ALL, &[]));
    assert_eq!(
        check(&metadata, reports.clone(), 2).waits_for,
        Vec::<String>::new()
    );
    reports[0].replicas[1].joint_voters = ids(&[1, 2, 4]);
    let found = check(&metadata, reports.clone(), 2);
    assert!(
        found.waits_for[0].ends_with("of t/0 to be in sync without node 2: node 4 is behind"),
        "{found:?}"
    );
    let found = check(&metadata, reports, 3);
    assert_eq!(
        found.waits_for,
        Vec::<String>::new(),
        "node 3 is only in the old set"
    );
}

#[test]
fn many_groups_are_one_sentence() {
    let mut metadata = cluster(2);
    let replicas: Vec<&[u64]> = vec![&[1]; 8];
    create(&mut metadata, "t", &replicas);
    let alone: Groups<'_> = &[(0, 2, &[2], &[])];
    let found = check(&metadata, reports(&[1, 2], alone), 1);
    assert_eq!(
        found.waits_for,
        ["waiting for a leader of t/0, t/1, t/2, t/3, t/4 and 3 more"]
    );
}
