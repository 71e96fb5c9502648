//! The encodings of the core against the checked-in bytes of every feature level.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::acl::{
    Effect, Operation, Principal, RevocationChange, Rule, RuleChange, RuleError, Serial,
};
use crate::consumer_group::{
    Applied, Assignor, CommitError, CommitSequence, ConsumerGroup, CoordinatorState, Generation,
    GroupCodecError, GroupCommand, GroupError, GroupOutcome, GroupTopic, Member, MemberSpec,
    OffsetCommit, Revoking, Subscription, TopicPartition,
};
use crate::feature_level::FeatureLevel;
use crate::fixtures::{Fixtures, LEVEL};
use crate::ids::{ClusterId, GroupId, NodeId, PartitionId, ProducerEpoch, ProducerId, Sequence};
use crate::metadata::{
    COORDINATORS_NAME, Command, FactorChange, Growth, MetaError, Metadata, MetadataRecovery,
    NextIds, Node, NodeState, Outcome, Partition, Rebalancing, Recoveries, Recovery, Registration,
    RegistrationToken, Repair, SkippedGroups, Topic, TopicId,
};
use crate::offset::{LogIndex, Offset};
use crate::partition::PartitionState;
use crate::producer_table::{BatchSpan, ProducerState};
use crate::record::{Header, Record};
use crate::record_batch::{BatchBuilder, BatchView};
use crate::recovery::RecoveryEpoch;
use crate::retention::RetentionPolicy;
use crate::topic::TopicError;
use crate::topic_config::{TopicKey, TopicSettings};
use crate::{Compression, metadata::CodecError};

fn fixtures(folder: &'static str) -> Fixtures {
    Fixtures::new(env!("CARGO_MANIFEST_DIR"), folder)
}

fn named<T>(samples: Vec<(&str, T)>) -> Vec<(String, T)> {
    let owned = |(name, value): (&str, T)| (name.to_owned(), value);
    samples.into_iter().map(owned).collect()
}

fn registration(n: u8, zone: &str) -> Registration {
    Registration {
        token: RegistrationToken::from_random([n; 16]),
        name: format!("node-{n}"),
        client_address: format!("node-{n}.example:9400"),
        peer_address: format!("node-{n}.example:9401"),
        zone: zone.to_owned(),
    }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

const BOUNDED: RetentionPolicy = RetentionPolicy {
    bytes: Some(1 << 30),
    ms: Some(86_400_000),
};
const SETTINGS: TopicSettings = TopicSettings {
    batch_max_bytes: Some(524_288),
    record_max_bytes: None,
    timestamp_after_max_ms: None,
    timestamp_before_max_ms: None,
};
const GROUP: GroupId = GroupId(7);
const NODE: NodeId = NodeId(3);

fn commands() -> Vec<(&'static str, Command)> {
    let mut commands = topic_commands();
    commands.extend(settings_commands());
    commands.extend(size_commands());
    commands.extend(node_commands());
    commands.extend(partition_commands());
    commands.extend(authorization_commands());
    commands.extend(recovery_commands());
    commands
}

fn rule(effect: Effect, principal: &str, resource: &str) -> Rule {
    Rule {
        principal: principal.parse().unwrap(),
        effect,
        operations: [Operation::Alter, Operation::Describe]
            .into_iter()
            .collect(),
        resource: resource.parse().unwrap(),
    }
}

fn rules() -> Vec<Rule> {
    vec![
        rule(Effect::Allow, "user/alice", "topic:orders"),
        rule(Effect::Deny, "user/team-a/bob", "topic:audit.*"),
        rule(Effect::Allow, "user/team-a/*", "group:*"),
        rule(Effect::Allow, "user/*", "cluster"),
    ]
}

fn revocations() -> Vec<RevocationChange> {
    let principal: Principal = "user/team-a/bob".parse().unwrap();
    let serial: Serial = "0aff".parse().unwrap();
    vec![
        RevocationChange::RevokeSerial {
            serial,
            not_after_s: 1_900_000_000,
        },
        RevocationChange::RevokePrincipal {
            principal,
            not_before_s: 1_800_000_000,
            not_after_s: Some(1_850_000_000),
        },
    ]
}

fn authorization_commands() -> Vec<(&'static str, Command)> {
    let changes = rules().into_iter().enumerate().map(|(position, rule)| {
        let change = if position == 1 {
            RuleChange::Remove
        } else {
            RuleChange::Add
        };
        change(rule)
    });
    let rules = Command::ChangeRules {
        changes: changes.collect(),
        changed_by: Principal::user("admin"),
        changed_at_ms: 1_790_000_000_000,
    };
    let allowed = [
        RevocationChange::AllowSerial("ff".parse().unwrap()),
        RevocationChange::AllowPrincipal("node/a-0".parse().unwrap()),
    ];
    let revocations = Command::ChangeRevocations {
        changes: revocations().into_iter().chain(allowed).collect(),
        changed_by: Principal::Operator,
        changed_at_ms: 1_790_000_000_000,
    };
    let coordinators = Command::CreateCoordinators {
        assignment: vec![nodes(&[1, 2, 3]), nodes(&[2, 3, 1])],
    };
    vec![
        ("change_rules", rules),
        ("change_revocations", revocations),
        ("create_coordinators", coordinators),
    ]
}

fn topic_commands() -> Vec<(&'static str, Command)> {
    let create = |retention| Command::CreateTopic {
        follows_default: false,
        name: "orders".to_owned(),
        retention,
        settings: TopicSettings::default(),
        assignment: vec![nodes(&[1, 2, 3]), nodes(&[2, 3, 1])],
    };
    let growth = || Growth {
        total: 3,
        assignment: vec![nodes(&[3, 1, 2])],
    };
    let alter = |retention, growth| Command::AlterTopic {
        replication_factor: None,
        name: "orders".to_owned(),
        retention,
        settings: TopicSettings::default(),
        reset: Vec::new(),
        growth,
        topic_id: None,
    };
    vec![
        ("create_topic", create(BOUNDED)),
        ("create_topic-unbounded", create(RetentionPolicy::default())),
        ("alter_topic", alter(Some(BOUNDED), Some(growth()))),
        ("alter_topic-retention", alter(Some(BOUNDED), None)),
        ("alter_topic-growth", alter(None, Some(growth()))),
        ("alter_topic-nothing", alter(None, None)),
        (
            "delete_topic",
            Command::DeleteTopic {
                name: "orders".to_owned(),
                topic_id: None,
            },
        ),
        (
            "allocate_producers",
            Command::AllocateProducers { count: 10 },
        ),
    ]
}

fn settings_commands() -> Vec<(&'static str, Command)> {
    vec![
        (
            "create_topic-settings",
            Command::CreateTopic {
                follows_default: false,
                name: "orders".to_owned(),
                retention: BOUNDED,
                settings: SETTINGS,
                assignment: vec![nodes(&[1, 2, 3])],
            },
        ),
        (
            "alter_topic-settings",
            Command::AlterTopic {
                replication_factor: None,
                name: "orders".to_owned(),
                retention: None,
                settings: SETTINGS,
                reset: vec![
                    TopicKey::RetentionBytes,
                    TopicKey::RetentionMs,
                    TopicKey::BatchMaxBytes,
                ],
                growth: None,
                topic_id: None,
            },
        ),
        (
            "alter_topic-id",
            Command::AlterTopic {
                replication_factor: None,
                name: "orders".to_owned(),
                retention: None,
                settings: TopicSettings::default(),
                reset: Vec::new(),
                growth: None,
                topic_id: Some(TopicId(5)),
            },
        ),
        (
            "delete_topic-id",
            Command::DeleteTopic {
                name: "orders".to_owned(),
                topic_id: Some(TopicId(5)),
            },
        ),
        (
            "alter_topic-timestamps",
            Command::AlterTopic {
                replication_factor: None,
                name: "orders".to_owned(),
                retention: None,
                settings: TopicSettings {
                    timestamp_after_max_ms: Some(60_000),
                    timestamp_before_max_ms: Some(120_000),
                    ..TopicSettings::default()
                },
                reset: vec![
                    TopicKey::TimestampAfterMaxMs,
                    TopicKey::TimestampBeforeMaxMs,
                ],
                growth: None,
                topic_id: None,
            },
        ),
    ]
}

fn size_commands() -> Vec<(&'static str, Command)> {
    vec![
        (
            "create_topic-follows_default",
            Command::CreateTopic {
                name: "orders".to_owned(),
                retention: RetentionPolicy::default(),
                settings: TopicSettings::default(),
                assignment: vec![nodes(&[1])],
                follows_default: true,
            },
        ),
        (
            "alter_topic-replication_factor",
            Command::AlterTopic {
                name: "orders".to_owned(),
                retention: None,
                settings: TopicSettings::default(),
                reset: Vec::new(),
                growth: None,
                topic_id: None,
                replication_factor: Some(FactorChange {
                    count: 3,
                    follows_default: true,
                }),
            },
        ),
        (
            "create_topic-record_size",
            Command::CreateTopic {
                follows_default: false,
                name: "orders".to_owned(),
                retention: RetentionPolicy::default(),
                settings: TopicSettings {
                    batch_max_bytes: Some(3_149_824),
                    record_max_bytes: Some(3_145_728),
                    ..TopicSettings::default()
                },
                assignment: vec![nodes(&[1, 2, 3])],
            },
        ),
        (
            "alter_topic-record_size",
            Command::AlterTopic {
                replication_factor: None,
                name: "orders".to_owned(),
                retention: None,
                settings: TopicSettings::default(),
                reset: vec![TopicKey::RecordMaxBytes],
                growth: None,
                topic_id: None,
            },
        ),
    ]
}

fn node_commands() -> Vec<(&'static str, Command)> {
    let init = |level| Command::InitCluster {
        cluster_id: ClusterId::from_bytes([7; 16]),
        first_node: registration(1, "zone-a"),
        level,
    };
    let level = FeatureLevel(1);
    let update = |zone| Command::UpdateNode {
        node: NODE,
        registration: registration(3, zone),
    };
    vec![
        ("init_cluster", init(FeatureLevel::ZERO)),
        ("init_cluster-level", init(level)),
        ("finalize_level", Command::FinalizeLevel { level }),
        (
            "register_node",
            Command::RegisterNode(registration(2, "zone-b")),
        ),
        (
            "register_node-no_zone",
            Command::RegisterNode(registration(2, "")),
        ),
        ("update_node", update("zone-c")),
        ("drain_node", Command::DrainNode { node: NODE }),
        ("remove_node", Command::RemoveNode { node: NODE }),
        ("undrain_node", Command::UndrainNode { node: NODE }),
        (
            "rest_node",
            Command::RestNode {
                node: NODE,
                until_ms: 1_700_000_000_000,
            },
        ),
        ("start_rebalance", Command::StartRebalance),
        (
            "pause_rebalance",
            Command::PauseRebalance { is_paused: true },
        ),
        ("end_rebalance", Command::EndRebalance { request: 5 }),
        (
            "mark_lost",
            Command::MarkLost {
                node: NODE,
                since_ms: 1_700_000_000_000,
            },
        ),
        ("find_node", Command::FindNode { node: NODE }),
    ]
}

fn partition_commands() -> Vec<(&'static str, Command)> {
    let (group, node) = (GROUP, NODE);
    let replicas = nodes(&[2, 3, 4]);
    vec![
        (
            "set_preferred_leader",
            Command::SetPreferredLeader { group, node },
        ),
        ("start_partition", Command::StartPartition { group }),
        (
            "set_target",
            Command::SetTarget {
                group,
                replicas: replicas.clone(),
            },
        ),
        ("commit_move", Command::CommitMove { group, replicas }),
        ("report_damage", Command::ReportDamage { group, node }),
        ("commit_eviction", Command::CommitEviction { group, node }),
        ("commit_repair", Command::CommitRepair { group, node }),
    ]
}

const EPOCH: RecoveryEpoch = RecoveryEpoch((2 << 32) | 3);

fn recovery_commands() -> Vec<(&'static str, Command)> {
    let (group, node, at_ms) = (GROUP, NODE, 1_790_000_000_000);
    vec![
        (
            "recover_partition",
            Command::RecoverPartition {
                group,
                node,
                from: EPOCH,
                at_ms,
            },
        ),
        (
            "commit_recovery",
            Command::CommitRecovery {
                group,
                epoch: EPOCH,
            },
        ),
        (
            "recover_metadata",
            Command::RecoverMetadata {
                epoch: EPOCH,
                at_ms,
                lost: nodes(&[1, 2]),
            },
        ),
    ]
}

#[test]
fn commands_keep_their_encoding() {
    let samples = named(commands());
    fixtures("command").check(
        &samples,
        |command| command.encode().unwrap(),
        |bytes| Command::decode(bytes).unwrap(),
    );
    let error = Command::decode(b"\x01\"?\"").unwrap_err();
    assert_eq!(sampled(&samples), variants(&error));
}

/// The crates without a dependency on this one have a constant of their own.
#[test]
fn the_level_of_the_fixtures_is_that_of_the_program() {
    assert_eq!(LEVEL, FeatureLevel::CURRENT.get());
}

type MetaOutcome = Result<Outcome, MetaError>;

fn outcomes() -> Vec<(&'static str, MetaOutcome)> {
    vec![
        ("ok-done", Ok(Outcome::Done)),
        ("ok-node", Ok(Outcome::Node(NODE))),
        ("ok-topic", Ok(Outcome::Topic(TopicId(5)))),
        (
            "ok-producers",
            Ok(Outcome::Producers {
                first: ProducerId(11),
                count: 10,
            }),
        ),
    ]
}

fn errors() -> Vec<(&'static str, MetaError)> {
    let (group, node) = (GROUP, NODE);
    let field = || "name".to_owned();
    let name = || "orders".to_owned();
    vec![
        ("NotBootstrapped", MetaError::NotBootstrapped),
        (
            "OtherCluster",
            MetaError::OtherCluster {
                actual: ClusterId::from_bytes([7; 16]),
                asked: ClusterId::from_bytes([8; 16]),
            },
        ),
        (
            "BadText",
            MetaError::BadText {
                field: field(),
                len_bytes: 300,
                min: 1,
                max: 253,
            },
        ),
        (
            "BadCount",
            MetaError::BadCount {
                field: "count".to_owned(),
                found: 0,
                max: 1000,
            },
        ),
        (
            "LimitExceeded",
            MetaError::LimitExceeded {
                field: "topics".to_owned(),
                found: 10_001,
                max: 10_000,
            },
        ),
        ("TopicExists", MetaError::TopicExists { name: name() }),
        ("UnknownTopic", MetaError::UnknownTopic { name: name() }),
        ("UnknownGroup", MetaError::UnknownGroup { group }),
        ("UnknownNode", MetaError::UnknownNode { node }),
        ("NodeDecommissioned", MetaError::NodeDecommissioned { node }),
    ]
}

fn partition_errors() -> Vec<(&'static str, MetaError)> {
    let (group, node) = (GROUP, NODE);
    vec![
        (
            "BadAssignment",
            MetaError::BadAssignment {
                position: 1,
                replicas: nodes(&[1, 1]),
            },
        ),
        ("NotReplica", MetaError::NotReplica { group, node }),
        ("OnlyReplica", MetaError::OnlyReplica { group, node }),
        ("OtherRepair", MetaError::OtherRepair { group, node }),
        (
            "OtherRecovery",
            MetaError::OtherRecovery {
                group,
                current: EPOCH,
                asked: RecoveryEpoch::ZERO,
            },
        ),
        ("Recovering", MetaError::Recovering { group, node }),
        (
            "OtherTarget",
            MetaError::OtherTarget {
                group,
                replicas: nodes(&[1, 2]),
            },
        ),
        ("NotStarted", MetaError::NotStarted { group }),
        (
            "TooFewNodes",
            MetaError::TooFewNodes {
                active: 2,
                needed: 3,
            },
        ),
        (
            "NoSpareNode",
            MetaError::NoSpareNode {
                node,
                active: 2,
                needed: 3,
            },
        ),
        (
            "NodeNotDrained",
            MetaError::NodeNotDrained {
                node,
                replicas_left: 4,
            },
        ),
    ]
}

fn level_errors() -> Vec<(&'static str, MetaError)> {
    let recreated = MetaError::TopicRecreated {
        name: "orders".to_owned(),
        current: TopicId(6),
    };
    vec![
        ("TopicRecreated", recreated),
        (
            "NotFinalized",
            MetaError::NotFinalized {
                feature: "batch.max.bytes".to_owned(),
                level: FeatureLevel(1),
                finalized: FeatureLevel::ZERO,
            },
        ),
        (
            "UnknownLevel",
            MetaError::UnknownLevel {
                level: FeatureLevel(2),
                known: FeatureLevel(1),
            },
        ),
        (
            "UnknownCommand",
            MetaError::UnknownCommand {
                cause: "unknown variant".to_owned(),
            },
        ),
    ]
}

fn topic_errors() -> Vec<(&'static str, TopicError)> {
    let name = "..".to_owned();
    let (partitions, existing) = (2, 3);
    vec![
        ("NameLength", TopicError::NameLength { len_bytes: 250 }),
        ("NameReserved", TopicError::NameReserved { name }),
        ("NameCharacter", TopicError::NameCharacter { found: '/' }),
        ("PartitionCount", TopicError::PartitionCount { partitions }),
        (
            "PartitionsShrink",
            TopicError::PartitionsShrink {
                partitions,
                existing,
            },
        ),
        (
            "ReplicationFactor",
            TopicError::ReplicationFactor {
                replication_factor: 4,
                max: 3,
            },
        ),
        ("RetentionBytes", TopicError::RetentionBytes { bytes: 1 }),
        ("RetentionMs", TopicError::RetentionMs { ms: 1 }),
        ("BatchMaxBytes", TopicError::BatchMaxBytes { bytes: 1 }),
        ("RecordMaxBytes", TopicError::RecordMaxBytes { bytes: 1 }),
        (
            "RecordAboveBatch",
            TopicError::RecordAboveBatch {
                record_bytes: 3_145_728,
                batch_bytes: 1_048_576,
            },
        ),
        (
            "TimestampAfterMaxMs",
            TopicError::TimestampAfterMaxMs { ms: 1 },
        ),
        (
            "TimestampBeforeMaxMs",
            TopicError::TimestampBeforeMaxMs { ms: 1 },
        ),
    ]
}

fn rule_errors() -> Vec<(&'static str, RuleError)> {
    let found = || "?".to_owned();
    vec![
        ("Principal", RuleError::Principal { found: found() }),
        (
            "PrincipalPattern",
            RuleError::PrincipalPattern { found: found() },
        ),
        ("Resource", RuleError::Resource { found: found() }),
        ("Operation", RuleError::Operation { found: found() }),
        ("Serial", RuleError::Serial { found: found() }),
        ("NoOperation", RuleError::NoOperation),
        (
            "OtherOperations",
            RuleError::OtherOperations {
                kind: "cluster".to_owned(),
                known: "alter,describe,admin".to_owned(),
                found: "read".to_owned(),
            },
        ),
    ]
}

#[test]
fn outcomes_keep_their_encoding() {
    let errors = [errors(), partition_errors(), level_errors()].concat();
    let topic_errors = topic_errors();
    let mut samples = named(outcomes());
    let refused = errors.iter().map(|(name, error)| (*name, error.clone()));
    let topic = topic_errors
        .iter()
        .map(|(name, error)| (*name, MetaError::Topic(error.clone())));
    samples.extend(refused.map(|(name, error)| (format!("err-{name}"), Err(error))));
    samples.extend(topic.map(|(name, error)| (format!("err-Topic-{name}"), Err(error))));
    let rule_errors = rule_errors();
    let rule = rule_errors
        .iter()
        .map(|(name, error)| (*name, MetaError::Rule(error.clone())));
    samples.extend(rule.map(|(name, error)| (format!("err-Rule-{name}"), Err(error))));
    fixtures("outcome").check(
        &samples,
        |outcome: &MetaOutcome| Outcome::encode(outcome).unwrap(),
        |bytes| Outcome::decode(bytes).unwrap(),
    );
    let unknown = |json: &str| variants(&Outcome::decode(json.as_bytes()).unwrap_err());
    let without = |prefix: &str, samples: Vec<&str>| -> BTreeSet<String> {
        let names = samples.iter().map(|name| name.strip_prefix(prefix));
        names.map(|name| name.unwrap().to_owned()).collect()
    };
    let ok = outcomes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(without("ok-", ok), unknown("\x01{\"Ok\":\"?\"}"));
    let mut all = errors.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    all.extend(["Topic", "Rule"]);
    assert_eq!(without("", all), unknown("\x01{\"Err\":\"?\"}"));
    let all = topic_errors.iter().map(|(name, _)| *name).collect();
    assert_eq!(without("", all), unknown("\x01{\"Err\":{\"Topic\":\"?\"}}"));
    let all = rule_errors.iter().map(|(name, _)| *name).collect();
    assert_eq!(without("", all), unknown("\x01{\"Err\":{\"Rule\":\"?\"}}"));
}

/// The variants that the samples have, from their names.
fn sampled<T>(samples: &[(String, T)]) -> BTreeSet<String> {
    let variant = |(name, _): &(String, T)| name.split('-').next().unwrap().to_owned();
    samples.iter().map(variant).collect()
}

/// All variants of an enum, from the error of decoding an unknown one: a new variant without a
/// sample fails the test.
fn variants(error: &CodecError) -> BTreeSet<String> {
    let CodecError::Malformed(source) = error else {
        panic!("expected an unknown variant, got {error}");
    };
    let text = source.to_string();
    let (_, listed) = text.split_once("expected").unwrap();
    let names = listed.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

fn partition(group: u64) -> Partition {
    Partition {
        group: GroupId(group),
        replicas: nodes(&[1, 2, 3]),
        target: None,
        leaving: Vec::new(),
        started: true,
        repair: None,
        recovery: None,
    }
}

fn node(id: u64, state: NodeState, rests_until_ms: i64) -> Node {
    Node {
        id: NodeId(id),
        registration: registration(u8::try_from(id).unwrap(), "zone-a"),
        state,
        rests_until_ms,
        lost_since_ms: None,
    }
}

/// Metadata with every field set somewhere, and every optional one left out somewhere.
fn rich_metadata() -> Metadata {
    let topic = |id, name: &str, retention, partitions| Topic {
        name: name.to_owned(),
        id: TopicId(id),
        replication_factor: 3,
        follows_default: false,
        retention,
        settings: TopicSettings::default(),
        partitions,
    };
    let moved = Partition {
        target: Some(nodes(&[2, 3, 4])),
        leaving: nodes(&[5]),
        ..partition(2)
    };
    let repaired = |group, is_evicted| Partition {
        repair: Some(Repair {
            node: NODE,
            is_evicted,
        }),
        ..partition(group)
    };
    let new = Partition {
        started: false,
        ..partition(5)
    };
    let topics = [
        topic(1, "orders", BOUNDED, vec![partition(1), moved]),
        topic(
            2,
            "clicks",
            RetentionPolicy::default(),
            vec![repaired(3, false), repaired(4, true), new],
        ),
    ];
    let nodes = [
        node(1, NodeState::Active, 0),
        node(2, NodeState::Active, 1_700_000_000_000),
        node(3, NodeState::Draining, 0),
        node(4, NodeState::Removed, 0),
        node(5, NodeState::Active, 0),
    ];
    Metadata {
        cluster_id: Some(ClusterId::from_bytes([7; 16])),
        version: LogIndex(99),
        finalized_level: FeatureLevel::ZERO,
        nodes: nodes.into_iter().map(|node| (node.id, node)).collect(),
        groups: groups(&topics),
        topics: topics
            .into_iter()
            .map(|topic| (topic.name.clone(), Arc::new(topic)))
            .collect(),
        coordinators: None,
        next: NextIds {
            node: NodeId(6),
            group: GroupId(6),
            topic: TopicId(4),
            producer: ProducerId(21),
        },
        rules: Arc::default(),
        revocations: Arc::default(),
        recoveries: Recoveries::default(),
        rebalancing: Rebalancing::default(),
    }
}

fn metadata_with_rebalancing() -> Metadata {
    Metadata {
        finalized_level: FeatureLevel(2),
        rebalancing: Rebalancing {
            requests: 3,
            is_wanted: true,
            is_paused: true,
        },
        ..rich_metadata()
    }
}

fn metadata_with_rules() -> Metadata {
    let mut metadata = Metadata {
        finalized_level: FeatureLevel(2),
        ..rich_metadata()
    };
    let table = Arc::make_mut(&mut metadata.rules);
    for rule in rules() {
        let add = RuleChange::Add(rule);
        table.change(&add, "user/admin", 1_790_000_000_000).unwrap();
    }
    let lost = metadata.nodes.get_mut(&NodeId(5)).unwrap();
    lost.lost_since_ms = Some(1_790_000_000_000);
    let following = metadata.topics.get_mut("clicks").unwrap();
    Arc::make_mut(following).follows_default = true;
    let table = Arc::make_mut(&mut metadata.revocations);
    for change in revocations() {
        table.change(&change, 1_790_000_000_000);
    }
    metadata
}

fn metadata_with_coordinators() -> Metadata {
    let mut metadata = Metadata {
        finalized_level: FeatureLevel(2),
        ..rich_metadata()
    };
    let name = COORDINATORS_NAME.to_owned();
    let group = GroupId(metadata.next.group.get());
    metadata.next.group = GroupId(group.get() + 1);
    metadata
        .groups
        .insert(group, (name.clone(), PartitionId(0)));
    metadata.coordinators = Some(Arc::new(Topic {
        name,
        id: TopicId(3),
        replication_factor: 3,
        follows_default: false,
        retention: RetentionPolicy::default(),
        settings: TopicSettings::default(),
        partitions: vec![partition(group.get())],
    }));
    metadata
}

fn metadata_with_recoveries() -> Metadata {
    let at_ms = 1_790_000_000_000;
    let mut metadata = Metadata {
        finalized_level: FeatureLevel(2),
        ..rich_metadata()
    };
    let partitions = metadata.topics.get_mut("orders").unwrap();
    let partitions = &mut Arc::make_mut(partitions).partitions;
    for (partition, former) in partitions.iter_mut().zip([&[1, 2][..], &[]]) {
        partition.recovery = Some(Recovery {
            epoch: EPOCH,
            at_ms,
            former: nodes(former),
            is_done: former.is_empty(),
        });
    }
    metadata.recoveries = Recoveries {
        generation: 2,
        metadata: Some(MetadataRecovery {
            epoch: EPOCH,
            at_ms,
            lost: nodes(&[1, 2]).into_iter().collect(),
            skipped_groups: vec![SkippedGroups {
                from: GroupId(9),
                to: GroupId(19),
            }],
        }),
    };
    metadata
}

fn metadata_with_settings() -> Metadata {
    let mut metadata = Metadata {
        finalized_level: FeatureLevel(1),
        ..rich_metadata()
    };
    for topic in metadata.topics.values_mut() {
        Arc::make_mut(topic).settings = SETTINGS;
    }
    metadata
}

fn groups(topics: &[Topic]) -> BTreeMap<GroupId, (String, PartitionId)> {
    let partitions = topics.iter().flat_map(|topic| {
        let numbered = (0..).map(PartitionId).zip(&topic.partitions);
        numbered.map(|(number, partition)| (partition.group, (topic.name.clone(), number)))
    });
    partitions.collect()
}

#[test]
fn metadata_checkpoints_keep_their_encoding() {
    let samples = named(vec![
        ("rich", rich_metadata()),
        (
            "finalized",
            Metadata {
                finalized_level: FeatureLevel(1),
                ..rich_metadata()
            },
        ),
        ("settings", metadata_with_settings()),
        ("rules", metadata_with_rules()),
        ("coordinators", metadata_with_coordinators()),
        ("rebalancing", metadata_with_rebalancing()),
        ("recovered", metadata_with_recoveries()),
        ("empty", Metadata::default()),
    ]);
    fixtures("metadata").check(
        &samples,
        |metadata| metadata.encode().unwrap(),
        |bytes| Metadata::decode(bytes).unwrap(),
    );
}

fn partition_state() -> PartitionState {
    let span = |base_sequence, record_count, base_offset| BatchSpan {
        base_sequence: Sequence(base_sequence),
        record_count,
        base_offset: Offset(base_offset),
    };
    let producer = |epoch, spans: &[BatchSpan]| ProducerState {
        epoch: ProducerEpoch(epoch),
        last_time_ms: 1_700_000_000_000 + i64::from(epoch),
        spans: spans.iter().copied().collect::<VecDeque<_>>(),
    };
    let mut state = PartitionState {
        next_offset: Offset(1000),
        log_start_offset: Offset(100),
        ..PartitionState::default()
    };
    let first = producer(1, &[span(0, 3, 500), span(3, 1, 510), span(4, 9, 700)]);
    assert!(state.producers.restore(ProducerId(4), first));
    let second = producer(7, &[span(1 << 40, 100, 900)]);
    assert!(state.producers.restore(ProducerId(9), second));
    state
}

#[test]
fn partition_states_keep_their_encoding() {
    let samples = named(vec![
        ("producers", partition_state()),
        ("empty", PartitionState::default()),
    ]);
    fixtures("partition").check(
        &samples,
        |state| state.encode().to_vec(),
        |bytes| PartitionState::decode(bytes).unwrap(),
    );
}

#[test]
fn trims_keep_their_encoding() {
    fixtures("trim").check(
        &named(vec![("offset", Offset(0x0102_0304_0506_0708))]),
        |offset| PartitionState::trim_payload(*offset).to_vec(),
        |bytes| Offset(u64::from_le_bytes(bytes.try_into().unwrap())),
    );
}

fn group_partition(topic: u64, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicId(topic),
        partition: PartitionId(partition),
    }
}

/// A membership with every field set somewhere, and every optional one left out somewhere.
fn membership() -> ConsumerGroup {
    let member = |name: &str, instance_id: Option<&str>, pattern: Option<&str>| Member {
        spec: MemberSpec {
            id: name.parse().unwrap(),
            principal: "user/team-a/bob".to_owned(),
            client_id: "billing".to_owned(),
            instance_id: instance_id.map(str::to_owned),
            subscription: Subscription {
                topics: ["orders".to_owned(), "clicks".to_owned()].into(),
                pattern: pattern.map(str::to_owned),
            },
            assignor: if pattern.is_some() {
                Assignor::Range
            } else {
                Assignor::Sticky
            },
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 60_000,
        },
        topics_hash: 0x0102_0304_0506_0708,
        changed_at: Generation(7),
        assigned: [(group_partition(1, 0), Generation(3))].into(),
        revoking: BTreeMap::new(),
        target: [group_partition(1, 0), group_partition(2, 300)].into(),
    };
    let mut holder = member("b-2", None, None);
    holder.assigned.clear();
    holder.target.clear();
    let revoking = Revoking {
        since: Generation(2),
        revoked_at: Generation(7),
    };
    holder.revoking.insert(group_partition(2, 300), revoking);
    let members = [member("a-1", Some("a"), Some("audit.*")), holder];
    let topic = |id, name: &str, partition_count| GroupTopic {
        id: TopicId(id),
        name: name.to_owned(),
        partition_count,
    };
    let topics = [topic(1, "orders", 1), topic(2, "clicks", 301)];
    ConsumerGroup {
        generation: Generation(7),
        members: members
            .map(|member| (member.spec.id.clone(), member))
            .into(),
        topics: topics.map(|topic| (topic.id, topic)).into(),
        empty_since_ms: None,
    }
}

fn group_commits() -> Vec<OffsetCommit> {
    let commit = |member: Option<&str>, offset, metadata: &str| OffsetCommit {
        group: "billing".to_owned(),
        member: member.map(|id| (id.parse().unwrap(), Generation(7))),
        sequence: CommitSequence(member.map_or(0, |_| 1_790_000_000_000_000)),
        partition: group_partition(1, 0),
        offset,
        metadata: metadata.to_owned(),
        committed_at_ms: 1_790_000_000_000,
    };
    vec![commit(Some("a-1"), 1 << 40, "done"), commit(None, 0, "")]
}

fn group_commands() -> Vec<(&'static str, GroupCommand)> {
    let group = || "billing".to_owned();
    let put = |membership| GroupCommand::PutMembership {
        group: group(),
        expected: Generation(6),
        membership,
    };
    let empty = ConsumerGroup {
        generation: Generation(9),
        empty_since_ms: Some(1_790_000_000_000),
        ..ConsumerGroup::default()
    };
    vec![
        ("put_membership", put(membership())),
        ("put_membership-empty", put(empty)),
        (
            "commit",
            GroupCommand::Commit {
                commits: group_commits(),
            },
        ),
        (
            "delete_offsets",
            GroupCommand::DeleteOffsets {
                group: group(),
                partitions: vec![group_partition(1, 0), group_partition(2, 300)],
            },
        ),
        ("delete", GroupCommand::Delete { group: group() }),
        (
            "forget_topics",
            GroupCommand::ForgetTopics {
                topics: vec![TopicId(1), TopicId(300)],
            },
        ),
        (
            "expire",
            GroupCommand::Expire {
                groups: vec![
                    (group(), Generation(7)),
                    ("other".to_owned(), Generation(0)),
                ],
                before_ms: 1_790_000_000_000,
            },
        ),
    ]
}

#[test]
fn group_commands_keep_their_encoding() {
    let samples = named(group_commands());
    for (name, command) in &samples {
        assert_eq!(name.split('-').next().unwrap(), command.name());
    }
    fixtures("group_command").check(
        &samples,
        |command| command.encode().unwrap(),
        |bytes| GroupCommand::decode(bytes).unwrap(),
    );
    // A variant without a sample would be missing here: its number would decode.
    let is_known = |variant: &u8| {
        let bytes = [&[1, *variant][..], &[0; 64]].concat();
        let unknown = postcard::Error::SerdeDeCustom;
        !matches!(GroupCommand::decode(&bytes), Err(GroupCodecError::Malformed(e)) if e == unknown)
    };
    let known = (0..0x80).filter(is_known).count();
    assert_eq!(known, sampled(&samples).len());
}

fn group_outcomes() -> Vec<(&'static str, GroupOutcome)> {
    let limit = || ("offsets of the group".to_owned(), 20_001, 20_000);
    let (field, found, max) = limit();
    let results = vec![
        Ok(()),
        Err(CommitError::UnknownMember),
        Err(CommitError::NotAssigned),
        Err(CommitError::Superseded {
            last: CommitSequence(300),
        }),
        Err(CommitError::GroupNotEmpty),
        Err(CommitError::LimitExceeded { field, found, max }),
    ];
    let (field, found, max) = limit();
    let group = || "billing".to_owned();
    vec![
        ("ok-done", Ok(Applied::Done)),
        ("ok-committed", Ok(Applied::Committed(results))),
        ("ok-deleted", Ok(Applied::Deleted { count: 300 })),
        (
            "err-UnknownGroup",
            Err(GroupError::UnknownGroup { group: group() }),
        ),
        (
            "err-GroupNotEmpty",
            Err(GroupError::GroupNotEmpty {
                group: group(),
                member_count: 2,
            }),
        ),
        (
            "err-LimitExceeded",
            Err(GroupError::LimitExceeded { field, found, max }),
        ),
        (
            "err-Stale",
            Err(GroupError::Stale {
                expected: Generation(6),
                current: Generation(7),
            }),
        ),
    ]
}

/// Only the outcomes of commands: the other errors are of single events and never encoded.
#[test]
fn group_outcomes_keep_their_encoding() {
    fixtures("group_outcome").check(
        &named(group_outcomes()),
        |outcome: &GroupOutcome| Applied::encode(outcome).unwrap(),
        |bytes| Applied::decode(bytes).unwrap(),
    );
}

#[test]
fn group_states_keep_their_encoding() {
    let mut state = CoordinatorState::default();
    let mut refused = 0;
    for (_, command) in group_commands() {
        if let GroupCommand::PutMembership {
            group, membership, ..
        } = command
        {
            let expected = state.membership(&group).generation;
            let put = GroupCommand::PutMembership {
                group,
                expected,
                membership,
            };
            refused += usize::from(state.apply(&put).is_err());
        }
    }
    for mut commit in group_commits() {
        commit.member = None;
        commit.group.push_str(&commit.offset.to_string());
        let commits = vec![commit];
        state.apply(&GroupCommand::Commit { commits }).unwrap();
    }
    let group = "billing".to_owned();
    state.apply(&GroupCommand::Delete { group }).unwrap();
    let put = GroupCommand::PutMembership {
        group: "billing-2".to_owned(),
        expected: state.membership("billing-2").generation,
        membership: ConsumerGroup {
            generation: Generation(10),
            ..membership()
        },
    };
    refused += usize::from(state.apply(&put).is_err());
    assert_eq!((refused, state.groups().len()), (0, 3));
    let samples = named(vec![
        ("rich", state),
        ("empty", CoordinatorState::default()),
    ]);
    fixtures("group_state").check(
        &samples,
        |state| state.encode().unwrap(),
        |bytes| CoordinatorState::decode(bytes).unwrap(),
    );
}

fn records() -> Vec<Record> {
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let header = |key: &str, value: &'static str| Header {
        key: key.to_owned(),
        value: Bytes::from_static(value.as_bytes()),
    };
    let record = |timestamp_ms, key, value| Record {
        timestamp_ms: Some(timestamp_ms),
        key,
        value,
        headers: Vec::new(),
    };
    let mut with_headers = record(1_700_000_000_005, text("key"), text("value value value"));
    with_headers.headers = vec![header("trace", "abc"), header("trace", "")];
    vec![
        record(1_700_000_000_000, None, text("no key")),
        with_headers,
        record(1_699_999_999_999, text(""), None),
        record(1_700_000_000_001, text("empty value"), text("")),
    ]
}

fn batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for record in records() {
        builder.push(&record, 0).unwrap();
    }
    // Repeated, so that the block is compressed at all.
    for record in records().iter().cycle().take(100) {
        builder.push(record, 0).unwrap();
    }
    builder.finish().unwrap().bytes.to_vec()
}

fn decode_batch(bytes: &[u8]) -> (Compression, Vec<Record>) {
    let view = BatchView::parse(Bytes::copy_from_slice(bytes)).unwrap();
    let records: Result<Vec<Record>, _> = view.records().unwrap().collect();
    (view.compression(), records.unwrap())
}

/// The compressed ones are only decoded: their bytes are those of the compressor's version.
#[test]
fn record_batches_keep_their_encoding() {
    let fixtures = fixtures("record_batch");
    let all = [Compression::None, Compression::Lz4, Compression::Zstd];
    let known = fixtures.all();
    let encoded = all.map(|compression| {
        let name = compression.as_str();
        let written = known.iter().rfind(|fixture| fixture.name == name);
        let bytes = match written {
            Some(fixture) if compression != Compression::None => fixture.bytes.clone(),
            _ => batch(compression),
        };
        (name, bytes)
    });
    let findings = fixtures.differences(encoded);
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    for fixture in fixtures.all() {
        let (compression, found) = decode_batch(&fixture.bytes);
        let first = records();
        let expected = first.iter().chain(first.iter().cycle().take(100));
        assert_eq!(compression.as_str(), fixture.name);
        assert!(found.iter().eq(expected), "{}", fixture.name);
    }
}

/// A format cannot change unnoticed, and a new one cannot lack a fixture.
#[test]
fn differences_say_what_to_do() {
    let at = |level| Fixtures {
        level,
        bless: false,
        ..fixtures("trim")
    };
    let finding = |level, name, bytes: &[u8]| {
        let mut findings = at(level).differences([(name, bytes.to_vec())]);
        findings.sort();
        findings.swap_remove(0)
    };
    let changed = finding(0, "offset", b"other");
    let expected = "the encoding of trim/offset changed: raise FeatureLevel::CURRENT";
    assert!(changed.starts_with(expected), "{changed}");
    let later = finding(1, "offset", b"other");
    assert!(later.contains("is not that of level 0"), "{later}");
    let new = at(0).differences([("new", Vec::new())]);
    assert!(new[0].contains("trim/new has no fixture"), "{new:?}");
    assert!(
        new[1].contains("trim/offset of level 0 has no sample"),
        "{new:?}"
    );
}
