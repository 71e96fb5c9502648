use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::limits::{RETENTION_MIN_BYTES, TOPICS_MAX_COUNT};
use crate::reason::Reason;
use crate::topic::TopicError;
use crate::topic_config::TopicKey;

const CLUSTER: [u8; 16] = [7; 16];

pub(crate) fn registration(n: u8) -> Registration {
    Registration {
        token: RegistrationToken::from_random([n; 16]),
        name: format!("node-{n}"),
        client_address: format!("host-{n}:9400"),
        peer_address: format!("host-{n}:9401"),
        zone: String::new(),
    }
}

fn init() -> Command {
    let cluster_id = ClusterId::from_bytes(CLUSTER);
    Command::InitCluster {
        cluster_id,
        first_node: registration(1),
        level: FeatureLevel::ZERO,
    }
}

/// The metadata of a cluster of `nodes` nodes.
pub(crate) fn cluster(nodes: u8) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.apply(&init(), LogIndex(1)).unwrap();
    for n in 2..=nodes {
        metadata
            .apply(&Command::RegisterNode(registration(n)), LogIndex(n.into()))
            .unwrap();
    }
    metadata
}

fn ids(numbers: &[u64]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

pub(crate) fn create(name: &str, assignment: &[&[u64]]) -> Command {
    Command::CreateTopic {
        follows_default: false,
        name: name.to_owned(),
        retention: RetentionPolicy::default(),
        settings: TopicSettings::default(),
        assignment: assignment.iter().map(|r| ids(r)).collect(),
    }
}

/// Applies a command that must be rejected, and checks that nothing changed.
pub(crate) fn rejected(metadata: &mut Metadata, command: &Command) -> MetaError {
    let before = metadata.clone();
    let error = metadata.apply(command, LogIndex(1000)).unwrap_err();
    assert_eq!(
        *metadata, before,
        "{command:?} was rejected and changed the metadata"
    );
    error
}

pub(crate) fn apply(metadata: &mut Metadata, command: &Command) -> Outcome {
    let index = metadata.version().next();
    metadata
        .apply(command, index)
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

#[test]
fn commands_are_rejected_before_the_bootstrap() {
    let mut metadata = Metadata::default();
    let error = rejected(&mut metadata, &Command::RegisterNode(registration(1)));
    assert_eq!(error.reason(), Reason::NotBootstrapped);
}

#[test]
fn a_cluster_is_initialized_once() {
    let mut metadata = cluster(2);
    assert_eq!(apply(&mut metadata, &init()), Outcome::Node(NodeId(1)));
    assert_eq!(metadata.nodes().count(), 2);
    let other = ClusterId::from_bytes([8; 16]);
    let command = Command::InitCluster {
        cluster_id: other,
        first_node: registration(9),
        level: FeatureLevel::ZERO,
    };
    assert_eq!(
        rejected(&mut metadata, &command).reason(),
        Reason::ClusterMismatch
    );
}

#[test]
fn a_token_gets_one_id_and_a_removed_node_is_rejected() {
    let mut metadata = cluster(3);
    let register = Command::RegisterNode(registration(3));
    assert_eq!(apply(&mut metadata, &register), Outcome::Node(NodeId(3)));
    apply(&mut metadata, &Command::DrainNode { node: NodeId(3) });
    assert_eq!(apply(&mut metadata, &register), Outcome::Node(NodeId(3)));
    apply(&mut metadata, &Command::RemoveNode { node: NodeId(3) });
    assert_eq!(
        rejected(&mut metadata, &register).reason(),
        Reason::NodeDecommissioned
    );
    let update = Command::UpdateNode {
        node: NodeId(3),
        registration: registration(3),
    };
    assert_eq!(
        rejected(&mut metadata, &update).reason(),
        Reason::NodeDecommissioned
    );
    let next = Command::RegisterNode(registration(4));
    assert_eq!(apply(&mut metadata, &next), Outcome::Node(NodeId(4)));
}

#[test]
fn an_update_keeps_the_token() {
    let mut metadata = cluster(2);
    let update = Command::UpdateNode {
        node: NodeId(2),
        registration: registration(9),
    };
    apply(&mut metadata, &update);
    let node = metadata.node(NodeId(2)).unwrap();
    assert_eq!(node.registration.peer_address, "host-9:9401");
    assert_eq!(node.registration.token, registration(2).token);
    let mut bad = registration(2);
    bad.peer_address = String::new();
    let update = Command::UpdateNode {
        node: NodeId(2),
        registration: bad,
    };
    assert_eq!(
        rejected(&mut metadata, &update).field(),
        Some("peer_address")
    );
}

#[test]
fn a_topic_is_created_altered_and_deleted() {
    let mut metadata = cluster(3);
    apply(&mut metadata, &create("t", &[&[1, 2, 3], &[2, 3, 1]]));
    let topic = Arc::clone(metadata.topic("t").unwrap());
    assert_eq!((topic.partition_count(), topic.replication_factor), (2, 3));
    assert_eq!(
        rejected(&mut metadata, &create("t", &[&[1]])).reason(),
        Reason::TopicExists
    );

    let growth = Growth {
        total: 3,
        assignment: vec![ids(&[3, 1, 2])],
    };
    let policy = RetentionPolicy {
        bytes: Some(RETENTION_MIN_BYTES),
        ms: None,
    };
    let alter = Command::AlterTopic {
        replication_factor: None,
        name: "t".into(),
        retention: Some(policy),
        settings: TopicSettings::default(),
        reset: Vec::new(),
        growth: Some(growth.clone()),
        topic_id: None,
    };
    apply(&mut metadata, &alter);
    let once = metadata.topic("t").cloned();
    apply(&mut metadata, &alter);
    assert_eq!(
        metadata.topic("t").cloned(),
        once,
        "the same command twice changes nothing"
    );
    assert_eq!(once.unwrap().partition_count(), 3);

    let shrink = Command::AlterTopic {
        replication_factor: None,
        name: "t".into(),
        retention: Some(RetentionPolicy::default()),
        settings: TopicSettings::default(),
        reset: Vec::new(),
        growth: Some(Growth {
            total: 1,
            assignment: Vec::new(),
        }),
        topic_id: None,
    };
    assert_eq!(
        rejected(&mut metadata, &shrink).reason(),
        Reason::InvalidPartitionCount
    );

    let group = metadata
        .partition("t", PartitionId(2))
        .unwrap()
        .partition
        .group;
    let delete = Command::DeleteTopic {
        name: "t".into(),
        topic_id: None,
    };
    apply(&mut metadata, &delete);
    let error = rejected(&mut metadata, &Command::StartPartition { group });
    assert_eq!(error.reason(), Reason::UnknownPartition);
    apply(&mut metadata, &create("t", &[&[1]]));
    let again = metadata.partition("t", PartitionId(0)).unwrap();
    assert!(again.partition.group > group && again.topic.id > topic.id);
}

#[test]
fn a_request_for_a_former_topic_does_not_touch_the_one_that_has_its_name() {
    let mut metadata = cluster(1);
    let delete = |topic_id| Command::DeleteTopic {
        name: "t".into(),
        topic_id,
    };
    let level = Command::TOPIC_ID_LEVEL;
    apply(&mut metadata, &Command::FinalizeLevel { level });
    apply(&mut metadata, &create("t", &[&[1]]));
    let former = Some(metadata.topic("t").unwrap().id);
    apply(&mut metadata, &delete(former));
    apply(&mut metadata, &create("t", &[&[1]]));
    let current = metadata.topic("t").unwrap().id;
    let alter = |topic_id| Command::AlterTopic {
        replication_factor: None,
        name: "t".into(),
        retention: Some(RetentionPolicy::default()),
        settings: TopicSettings::default(),
        reset: Vec::new(),
        growth: None,
        topic_id,
    };
    for command in [delete(former), alter(former)] {
        assert_eq!(command.level(), level);
        let name = "t".into();
        let error = rejected(&mut metadata, &command);
        assert_eq!(error, MetaError::TopicRecreated { name, current });
        assert_eq!(error.reason(), Reason::TopicRecreated);
    }
    apply(&mut metadata, &alter(Some(current)));
    assert_eq!(delete(None).level(), FeatureLevel::ZERO);
    assert_eq!(alter(None).level(), FeatureLevel::ZERO);
}

#[test]
fn bad_assignments_are_rejected() {
    let mut metadata = cluster(3);
    for (assignment, reason) in [
        (&[&[1, 2, 3, 4][..]][..], Reason::InvalidReplicationFactor),
        (&[&[][..]][..], Reason::InvalidReplicationFactor),
        (&[][..], Reason::InvalidPartitionCount),
        (&[&[1, 2][..], &[1][..]][..], Reason::InvalidArgument),
        (&[&[1, 1][..]][..], Reason::InvalidArgument),
        (&[&[1, 9][..]][..], Reason::UnknownNode),
    ] {
        let error = rejected(&mut metadata, &create("t", assignment));
        assert_eq!(error.reason(), reason, "{assignment:?}");
    }
    apply(&mut metadata, &Command::DrainNode { node: NodeId(2) });
    let error = rejected(&mut metadata, &create("t", &[&[1, 2]]));
    assert_eq!(error.reason(), Reason::NodeDecommissioned);
    let error = rejected(&mut metadata, &create("a b", &[&[1]]));
    assert_eq!(
        error,
        MetaError::Topic(TopicError::NameCharacter { found: ' ' })
    );
}

#[test]
fn a_move_goes_through_its_target() {
    let mut metadata = cluster(5);
    apply(&mut metadata, &create("t", &[&[1, 2, 3]]));
    let group = metadata
        .partition("t", PartitionId(0))
        .unwrap()
        .partition
        .group;
    let set = |replicas: &[u64]| Command::SetTarget {
        group,
        replicas: ids(replicas),
    };
    let commit = |replicas: &[u64]| Command::CommitMove {
        group,
        replicas: ids(replicas),
    };
    let partition = |m: &Metadata| m.group(group).unwrap().partition.clone();

    assert_eq!(
        rejected(&mut metadata, &set(&[1, 2, 4])).reason(),
        Reason::NotReady
    );
    apply(&mut metadata, &Command::StartPartition { group });
    rejected(&mut metadata, &commit(&[1, 2, 4]));
    apply(&mut metadata, &set(&[1, 2, 4]));
    rejected(&mut metadata, &commit(&[1, 2, 5]));

    // Another target replaces the move: node 4 may be a voter already, so it stays a host.
    apply(&mut metadata, &set(&[1, 2, 5]));
    assert_eq!(partition(&metadata).leaving, ids(&[4]));
    assert_eq!(
        partition(&metadata).hosts().collect::<Vec<_>>(),
        ids(&[1, 2, 3, 5, 4])
    );
    rejected(&mut metadata, &commit(&[1, 2, 4]));
    apply(&mut metadata, &commit(&[1, 2, 5]));
    apply(&mut metadata, &commit(&[1, 2, 5]));
    assert_eq!(
        partition(&metadata).hosts().collect::<Vec<_>>(),
        ids(&[1, 2, 5])
    );

    // Cancelled: back to the current replicas, and the new node leaves.
    apply(&mut metadata, &set(&[3, 2, 5]));
    apply(&mut metadata, &set(&[1, 2, 5]));
    assert_eq!(partition(&metadata).leaving, ids(&[3]));
    apply(&mut metadata, &commit(&[1, 2, 5]));
    assert_eq!(partition(&metadata).leaving, ids(&[]));
    apply(
        &mut metadata,
        &Command::SetPreferredLeader {
            group,
            node: NodeId(5),
        },
    );
    assert_eq!(partition(&metadata).replicas, ids(&[5, 1, 2]));
    let command = Command::SetPreferredLeader {
        group,
        node: NodeId(3),
    };
    assert_eq!(
        rejected(&mut metadata, &command).reason(),
        Reason::InvalidArgument
    );
}

#[test]
fn a_corrupt_replica_leaves_before_it_rejoins() {
    let mut metadata = cluster(4);
    apply(&mut metadata, &create("t", &[&[1, 2, 3], &[1, 2, 3]]));
    apply(&mut metadata, &create("alone", &[&[4]]));
    let group_of = |topic| {
        let found = metadata.partition(topic, PartitionId(0)).unwrap();
        found.partition.group
    };
    let (group, alone) = (group_of("t"), group_of("alone"));
    let report = |group, node| Command::ReportDamage {
        group,
        node: NodeId(node),
    };
    let evicted = |node| Command::CommitEviction {
        group,
        node: NodeId(node),
    };
    let repaired = |node| Command::CommitRepair {
        group,
        node: NodeId(node),
    };
    let repair = |m: &Metadata| {
        let repair = m.group(group).unwrap().partition.repair;
        repair.map(|r| (r.node.get(), r.is_evicted))
    };

    assert_eq!(
        rejected(&mut metadata, &report(group, 2)).reason(),
        Reason::NotReady
    );
    apply(&mut metadata, &Command::StartPartition { group });
    apply(&mut metadata, &Command::StartPartition { group: alone });
    assert_eq!(
        rejected(&mut metadata, &report(alone, 4)).reason(),
        Reason::ReplicaCorrupt
    );
    assert_eq!(
        rejected(&mut metadata, &report(group, 4)).reason(),
        Reason::InvalidArgument
    );
    rejected(&mut metadata, &evicted(2));
    apply(&mut metadata, &report(group, 2));
    rejected(&mut metadata, &report(group, 3));
    rejected(&mut metadata, &repaired(2));
    rejected(&mut metadata, &evicted(3));
    apply(&mut metadata, &evicted(2));
    assert_eq!(repair(&metadata), Some((2, true)));
    apply(&mut metadata, &report(group, 2));
    assert_eq!(repair(&metadata), Some((2, false)));
    apply(&mut metadata, &evicted(2));
    apply(&mut metadata, &repaired(2));
    apply(&mut metadata, &repaired(2));
    assert_eq!(repair(&metadata), None);

    apply(&mut metadata, &report(group, 2));
    let replicas = ids(&[1, 4, 3]);
    apply(
        &mut metadata,
        &Command::SetTarget {
            group,
            replicas: replicas.clone(),
        },
    );
    apply(&mut metadata, &Command::CommitMove { group, replicas });
    assert_eq!(repair(&metadata), None, "the replica was moved away");
}

#[test]
fn a_node_is_removed_only_if_drained_and_enough_nodes_remain() {
    let mut metadata = cluster(4);
    apply(&mut metadata, &create("t", &[&[1, 2, 3]]));
    let group = metadata
        .partition("t", PartitionId(0))
        .unwrap()
        .partition
        .group;
    apply(&mut metadata, &Command::StartPartition { group });
    let (drain, remove) = (
        Command::DrainNode { node: NodeId(3) },
        Command::RemoveNode { node: NodeId(3) },
    );
    assert_eq!(
        rejected(&mut metadata, &remove).reason(),
        Reason::NodeNotDrained
    );
    apply(&mut metadata, &drain);
    let error = rejected(&mut metadata, &remove);
    assert_eq!(
        error,
        MetaError::NodeNotDrained {
            node: NodeId(3),
            replicas_left: 1
        }
    );
    let error = rejected(&mut metadata, &Command::DrainNode { node: NodeId(1) });
    assert_eq!(
        error,
        MetaError::TooFewNodes {
            active: 2,
            needed: 3
        }
    );
    assert_eq!(error.bound().as_deref(), Some("3"));
    let replicas = ids(&[1, 2, 4]);
    apply(
        &mut metadata,
        &Command::SetTarget {
            group,
            replicas: replicas.clone(),
        },
    );
    rejected(&mut metadata, &remove);
    apply(&mut metadata, &Command::CommitMove { group, replicas });
    apply(&mut metadata, &remove);
    apply(&mut metadata, &remove);
    assert_eq!(metadata.members().count(), 3);
    assert_eq!(
        rejected(&mut metadata, &drain).reason(),
        Reason::NodeDecommissioned
    );
}

#[test]
fn a_decommission_is_cancelled_while_the_node_drains_and_not_later() {
    let mut metadata = cluster(4);
    apply(&mut metadata, &create("t", &[&[1, 2, 3]]));
    let node = NodeId(3);
    let (drain, undrain) = (Command::DrainNode { node }, Command::UndrainNode { node });
    assert_eq!(apply(&mut metadata, &undrain), Outcome::Node(node));
    assert_eq!(metadata.node(node).unwrap().state, NodeState::Active);
    apply(&mut metadata, &drain);
    rejected(&mut metadata, &create("u", &[&[3]]));
    let group = metadata.partitions().next().unwrap().partition.group;
    apply(&mut metadata, &Command::StartPartition { group });
    let replicas = ids(&[1, 2, 4]);
    apply(&mut metadata, &Command::SetTarget { group, replicas });
    apply(&mut metadata, &undrain);
    let back = metadata.group(group).unwrap().partition.clone();
    assert_eq!(back.target, Some(ids(&[1, 2, 3])), "the move is cancelled");
    assert_eq!(back.leaving, ids(&[4]));
    apply(&mut metadata, &undrain);
    assert_eq!(metadata.group(group).unwrap().partition, &back);
    assert_eq!(metadata.node(node).unwrap().state, NodeState::Active);
    apply(&mut metadata, &create("u", &[&[3]]));
    let remove = Command::RemoveNode { node };
    assert_eq!(
        rejected(&mut metadata, &remove).reason(),
        Reason::NodeNotDrained,
        "a removal after the cancellation is rejected"
    );
    let replicas = ids(&[1, 2, 3]);
    apply(&mut metadata, &Command::CommitMove { group, replicas });
    let node = NodeId(4);
    apply(&mut metadata, &Command::DrainNode { node });
    apply(&mut metadata, &Command::RemoveNode { node });
    let error = rejected(&mut metadata, &Command::UndrainNode { node });
    assert_eq!(error, MetaError::NodeDecommissioned { node });
    let node = NodeId(9);
    let error = rejected(&mut metadata, &Command::UndrainNode { node });
    assert_eq!(error, MetaError::UnknownNode { node });
}

#[test]
fn a_node_rests_until_the_latest_time_also_after_a_checkpoint() {
    let mut metadata = cluster(2);
    let node = NodeId(2);
    let rest = |until_ms| Command::RestNode { node, until_ms };
    assert_eq!(metadata.node(node).unwrap().rests_for(0), None);
    apply(&mut metadata, &rest(5000));
    apply(&mut metadata, &rest(4000));
    let metadata = Metadata::decode(&metadata.encode().unwrap()).unwrap();
    let rests = |now_ms| metadata.node(node).unwrap().rests_for(now_ms);
    assert_eq!(rests(4999), Some(Duration::from_millis(1)));
    assert_eq!(rests(5000), None);
    assert_eq!(rests(i64::MIN), None, "a clock that is far wrong");
    let max_ms = i64::try_from(STOP_REST_MAX.as_millis()).unwrap();
    assert_eq!(rests(5000 - max_ms), Some(STOP_REST_MAX));
    assert_eq!(rests(4999 - max_ms), None, "the exclusion is bounded");
}

#[test]
fn an_id_that_was_never_issued_is_known_as_such_from_its_level_on() {
    let mut metadata = cluster(2);
    let key = metadata.producer_id_key().unwrap();
    apply(&mut metadata, &Command::AllocateProducers { count: 64 });
    let sealed = key.seal(ProducerId(3)).unwrap();
    // Issued by a node whose allocation this one has not applied yet.
    let ahead = key.seal(ProducerId(1000)).unwrap();
    let issued = [sealed, ahead, ProducerId(1), ProducerId(64)];
    let never = [
        ProducerId(0),
        ProducerId(65),
        ProducerId(sealed.get() + 1),
        ProducerId(u64::MAX),
    ];
    for id in issued.iter().chain(&never) {
        assert!(metadata.is_producer_issued(*id), "{id}");
    }
    let level = SEALED_IDS_LEVEL;
    apply(&mut metadata, &Command::FinalizeLevel { level });
    for id in issued {
        assert!(metadata.is_producer_issued(id), "{id}");
    }
    for id in never {
        assert!(!metadata.is_producer_issued(id), "{id}");
    }
    // The key outlives the first node.
    let node = NodeId(1);
    apply(&mut metadata, &Command::DrainNode { node });
    apply(&mut metadata, &Command::RemoveNode { node });
    assert!(metadata.is_producer_issued(sealed));

    let mut other = Metadata::default();
    let bootstrap = Command::InitCluster {
        cluster_id: ClusterId::from_bytes([8; 16]),
        first_node: registration(9),
        level,
    };
    apply(&mut other, &bootstrap);
    assert!(!other.is_producer_issued(sealed), "of another cluster");
}

#[test]
fn producer_ids_are_allocated_once() {
    let mut metadata = cluster(1);
    let allocate = Command::AllocateProducers { count: 10 };
    let first = apply(&mut metadata, &allocate);
    assert_eq!(
        first,
        Outcome::Producers {
            first: ProducerId(1),
            count: 10
        }
    );
    let second = apply(&mut metadata, &allocate);
    assert_eq!(
        second,
        Outcome::Producers {
            first: ProducerId(11),
            count: 10
        }
    );
    let error = rejected(&mut metadata, &Command::AllocateProducers { count: 0 });
    assert_eq!(error.bound().as_deref(), Some("1..=10000"));
}

#[test]
fn the_encoding_of_commands_is_stable() {
    let command = Command::SetTarget {
        group: GroupId(4),
        replicas: ids(&[1, 2]),
    };
    assert_eq!(
        command.encode().unwrap(),
        b"\x01{\"set_target\":{\"group\":4,\"replicas\":[1,2]}}"
    );
    let command = Command::RestNode {
        node: NodeId(3),
        until_ms: 7,
    };
    assert_eq!(
        command.encode().unwrap(),
        b"\x01{\"rest_node\":{\"node\":3,\"until_ms\":7}}"
    );
    assert!(matches!(Command::decode(&[]), Err(CodecError::Empty)));
    assert!(matches!(
        Command::decode(b"\x02{}"),
        Err(CodecError::UnknownVersion {
            found: 2,
            newest: 1
        })
    ));
    let unknown = Command::decode(b"\x01{\"from_the_future\":{}}");
    assert!(matches!(unknown, Err(CodecError::Malformed(_))));
}

#[test]
fn unknown_fields_are_refused_at_every_depth() {
    type Decodes<'a> = &'a dyn Fn(&[u8]) -> bool;
    let mut metadata = cluster(2);
    apply(&mut metadata, &create("t", &[&[1, 2]]));
    let commands = [init(), create("t", &[&[1]])];
    let commands = commands.map(|command| command.encode().unwrap());
    let decode_command = |bytes: &[u8]| Command::decode(bytes).is_ok();
    let decode_checkpoint = |bytes: &[u8]| Metadata::decode(bytes).is_ok();
    let decoders: [(&[u8], Decodes<'_>); 3] = [
        (&commands[0], &decode_command),
        (&commands[1], &decode_command),
        (&metadata.encode().unwrap(), &decode_checkpoint),
    ];
    for (bytes, decode) in decoders {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(decode(text.as_bytes()));
        let objects: Vec<usize> = text.match_indices("{\"").map(|(at, _)| at).collect();
        assert!(objects.len() > 2);
        for at in objects {
            let with = format!("{}{{\"later\":1,{}", &text[..at], &text[at + 1..]);
            assert!(!decode(with.as_bytes()), "{with}");
        }
    }
}

#[test]
fn a_level_is_finalized_once_and_survives_a_checkpoint() {
    let finalize = |level| Command::FinalizeLevel {
        level: FeatureLevel(level),
    };
    let mut metadata = cluster(1);
    assert_eq!(
        metadata.encode().unwrap()[0],
        1,
        "programs of level 0 read it"
    );
    apply(&mut metadata, &finalize(2));
    apply(&mut metadata, &finalize(1));
    assert_eq!(metadata.finalized_level(), FeatureLevel(2));
    let bytes = metadata.encode().unwrap();
    assert_eq!(bytes[0], 2, "programs of level 0 refuse it");
    assert_eq!(Metadata::decode(&bytes).unwrap(), metadata);
    let newer = [&[3], &bytes[1..]].concat();
    let error = Metadata::decode(&newer).unwrap_err().to_string();
    assert!(error.contains("a newer version wrote it"), "{error}");
}

#[test]
fn a_new_cluster_is_finalized_at_the_level_of_its_first_node() {
    let mut metadata = Metadata::default();
    let command = Command::InitCluster {
        cluster_id: ClusterId::from_bytes(CLUSTER),
        first_node: registration(1),
        level: FeatureLevel(1),
    };
    assert_eq!(
        Command::decode(&command.encode().unwrap()).unwrap(),
        command
    );
    apply(&mut metadata, &command);
    assert_eq!(metadata.finalized_level(), FeatureLevel(1));
    apply(&mut metadata, &init());
    assert_eq!(metadata.finalized_level(), FeatureLevel(1));
}

#[test]
fn a_level_that_the_program_does_not_know_is_not_finalized() {
    let level = FeatureLevel(FeatureLevel::CURRENT.get() + 1);
    let command = Command::FinalizeLevel { level };
    let error = command.check_level(FeatureLevel::ZERO, FeatureLevel::CURRENT);
    let error = error.unwrap_err();
    assert_eq!(error.reason(), Reason::VersionTooOld);
    assert_eq!(
        error.bound().unwrap(),
        format!("0..={}", FeatureLevel::CURRENT)
    );
}

#[test]
fn a_checkpoint_with_an_unallocated_id_is_rejected() {
    let mut metadata = cluster(2);
    apply(&mut metadata, &create("t", &[&[1, 2]]));
    let text = String::from_utf8(metadata.encode().unwrap()).unwrap();
    assert_eq!(Metadata::decode(text.as_bytes()).unwrap(), metadata);
    for (from, to) in [
        ("\"node\":3", "\"node\":2"),
        ("\"group\":2,", "\"group\":1,"),
    ] {
        let corrupt = text.replacen(from, to, 1);
        assert_ne!(corrupt, text, "{from}");
        let result = Metadata::decode(corrupt.as_bytes());
        assert!(
            matches!(result, Err(CodecError::Inconsistent { .. })),
            "{from}"
        );
    }
}

fn any_nodes() -> impl Strategy<Value = Vec<NodeId>> + Clone {
    prop::collection::vec((1u64..7).prop_map(NodeId), 0..4)
}

fn any_command() -> impl Strategy<Value = Command> {
    let name = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("b/d".to_owned())
    ];
    let group = (0u64..8).prop_map(GroupId);
    let node = (1u64..7).prop_map(NodeId);
    let policy = prop_oneof![Just(None), Just(Some(1)), Just(Some(RETENTION_MIN_BYTES))]
        .prop_map(|bytes| RetentionPolicy { bytes, ms: None });
    let assignment = prop::collection::vec(any_nodes(), 0..3);
    prop_oneof![
           1 => Just(init()),
           6 => (0u8..8).prop_map(|n| Command::RegisterNode(registration(n))),
           1 => (node.clone(), 0u8..8)
               .prop_map(|(node, n)| Command::UpdateNode { node, registration: registration(n) }),
           8 => (name.clone(), policy.clone(), assignment.clone()).prop_map(
               |(name, retention, assignment)| Command::CreateTopic {
    follows_default: false,
                   name, retention, settings: TopicSettings::default(), assignment
               }
           ),
           3 => (name.clone(), prop::option::of(policy), 0u32..5, assignment).prop_map(
               |(name, retention, total, assignment)| Command::AlterTopic {
    replication_factor: None,
                   name,
                   retention,
                   settings: TopicSettings {
                       batch_max_bytes: (total > 2).then_some(total * 1000),
                       ..TopicSettings::default()
                   },
                   reset: (total < 2).then_some(TopicKey::BatchMaxBytes).into_iter().collect(),
                   growth: Some(Growth { total, assignment }),
                   topic_id: (total == 4).then_some(TopicId(1)),
               }
           ),
           1 => (name, prop::option::of((1u64..4).prop_map(TopicId)))
               .prop_map(|(name, topic_id)| Command::DeleteTopic { name, topic_id }),
           1 => (0u32..3).prop_map(|count| Command::AllocateProducers { count }),
           2 => (group.clone(), node.clone())
               .prop_map(|(group, node)| Command::SetPreferredLeader { group, node }),
           6 => group.clone().prop_map(|group| Command::StartPartition { group }),
           6 => (group.clone(), any_nodes())
               .prop_map(|(group, replicas)| Command::SetTarget { group, replicas }),
           3 => (group.clone(), node.clone())
               .prop_map(|(group, node)| Command::ReportDamage { group, node }),
           2 => (group.clone(), node.clone())
               .prop_map(|(group, node)| Command::CommitEviction { group, node }),
           2 => (group.clone(), node.clone())
               .prop_map(|(group, node)| Command::CommitRepair { group, node }),
           4 => (group.clone(), any_nodes())
               .prop_map(|(group, replicas)| Command::CommitMove { group, replicas }),
           3 => node.clone().prop_map(|node| Command::DrainNode { node }),
           1 => node.clone().prop_map(|node| Command::UndrainNode { node }),
           1 => (node.clone(), any::<i64>())
               .prop_map(|(node, until_ms)| Command::RestNode { node, until_ms }),
           1 => (0u32..3).prop_map(|n| Command::FinalizeLevel { level: FeatureLevel(n) }),
        2 => (group.clone(), node.clone(), 0u64..3).prop_map(|(group, node, generation)| {
            let from = RecoveryEpoch::new(generation, node).unwrap_or_default();
            let from = if generation == 0 { RecoveryEpoch::ZERO } else { from };
            Command::RecoverPartition { group, node, from, at_ms: 1 }
        }),
        2 => (group.clone(), node.clone(), 1u64..3).prop_map(|(group, node, generation)| {
            let epoch = RecoveryEpoch::new(generation, node).unwrap_or_default();
            Command::CommitRecovery { group, epoch }
        }),
           3 => node.prop_map(|node| Command::RemoveNode { node }),
       ]
}

/// All ids that were ever allocated, to check that none is allocated twice.
#[derive(Default)]
struct AllocatedIds {
    tokens: BTreeMap<RegistrationToken, NodeId>,
    nodes: BTreeSet<NodeId>,
    groups: BTreeMap<GroupId, (TopicId, PartitionId)>,
    topics: BTreeMap<TopicId, String>,
    producers: BTreeSet<ProducerId>,
}

impl AllocatedIds {
    fn check(&mut self, metadata: &Metadata) {
        for id in &self.nodes {
            assert!(metadata.node(*id).is_some(), "node {id} is missing");
        }
        for node in metadata.nodes() {
            let known = self
                .tokens
                .entry(node.registration.token)
                .or_insert(node.id);
            assert_eq!(*known, node.id, "a token got two ids");
            self.nodes.insert(node.id);
        }
        assert_eq!(
            self.tokens.len(),
            self.nodes.len(),
            "two tokens got the same id"
        );
        for place in metadata.partitions() {
            let owner = (place.topic.id, place.number);
            let known = self.groups.entry(place.partition.group).or_insert(owner);
            assert_eq!(*known, owner, "a group id was reused");
            let name = self
                .topics
                .entry(place.topic.id)
                .or_insert(place.topic.name.clone());
            assert_eq!(*name, place.topic.name, "a topic id was reused");
        }
    }
}

fn check_invariants(metadata: &Metadata) {
    for place in metadata.partitions() {
        let partition = place.partition;
        let (count, factor) = (
            partition.replicas.len(),
            place.topic.replication_factor as usize,
        );
        // A recovery leaves one replica, and the partition grows back.
        let is_recovered = partition.recovery.is_some() && (1..factor).contains(&count);
        assert!(count == factor || is_recovered, "{count} replicas");
        let mut seen = BTreeSet::new();
        for node in partition.hosts() {
            assert!(seen.insert(node), "a host is listed twice");
            let state = metadata.node(node).expect("a host is a known node").state;
            assert_ne!(state, NodeState::Removed, "a host is removed");
        }
        if let Some(repair) = partition.repair {
            assert!(
                partition.is_on(repair.node),
                "the node under repair is not a host"
            );
        }
        if let Some(target) = &partition.target {
            assert!(partition.started, "moved before it was initialized");
            assert!(
                partition.pending_recovery().is_none(),
                "moved before it leads"
            );
            let grown = partition.recovery.is_some() && target.len() > count;
            assert!(target.len() == count || (grown && target.len() <= factor));
        }
        let found = metadata
            .group(partition.group)
            .expect("the index has every group");
        assert_eq!(
            (found.topic.id, found.number),
            (place.topic.id, place.number)
        );
    }
    assert_eq!(metadata.groups.len(), metadata.partitions().count());
    assert!(metadata.topics.len() <= TOPICS_MAX_COUNT);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_name_of_a_command_is_that_in_the_log(command in any_command()) {
        let text = String::from_utf8(command.encode().unwrap()).unwrap();
        let expected = format!("\u{1}{{\"{}\":", command.name());
        prop_assert!(text.starts_with(&expected), "{}", text);
    }

    #[test]
    fn any_commands_keep_the_invariants(
        commands in prop::collection::vec(any_command(), 1..80),
        with_cluster in prop::bool::weighted(0.9),
    ) {
        let mut metadata = if with_cluster { cluster(4) } else { Metadata::default() };
        let mut allocated = AllocatedIds::default();
        for (index, command) in (100..).map(LogIndex).zip(&commands) {
            let before = metadata.clone();
            let bytes = command.encode().unwrap();
            prop_assert_eq!(&Command::decode(&bytes).unwrap(), command);
            let result = metadata.apply(command, index);
            if result.is_err() {
                prop_assert_eq!(&metadata, &before);
            } else {
                prop_assert_eq!(metadata.version(), index);
            }
            if let Ok(Outcome::Producers { first, count }) = &result {
                for id in first.get()..first.get() + u64::from(*count) {
                    prop_assert!(allocated.producers.insert(ProducerId(id)), "allocated twice");
                }
            }
            let bytes = Outcome::encode(&result).unwrap();
            prop_assert_eq!(Outcome::decode(&bytes).unwrap(), result);
            check_invariants(&metadata);
            allocated.check(&metadata);
        }
        let copy = Metadata::decode(&metadata.encode().unwrap()).unwrap();
        prop_assert_eq!(copy, metadata);
    }

    #[test]
    fn corrupt_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Metadata::decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = Command::decode(&bytes);
    }
}

fn limit(batch_max_bytes: Option<u32>, reset: &[TopicKey]) -> Command {
    Command::AlterTopic {
        replication_factor: None,
        name: "t".into(),
        retention: None,
        settings: TopicSettings {
            batch_max_bytes,
            ..TopicSettings::default()
        },
        reset: reset.to_vec(),
        growth: None,
        topic_id: None,
    }
}

#[test]
fn settings_are_set_kept_and_removed() {
    let mut metadata = cluster(1);
    let level = FeatureLevel(1);
    apply(&mut metadata, &Command::FinalizeLevel { level });
    let mut created = create("t", &[&[1]]);
    if let Command::CreateTopic { settings, .. } = &mut created {
        settings.batch_max_bytes = Some(2048);
    }
    apply(&mut metadata, &created);
    let found = |metadata: &Metadata| metadata.topic("t").unwrap().settings.batch_max_bytes;
    assert_eq!(found(&metadata), Some(2048));
    let decoded = Metadata::decode(&metadata.encode().unwrap()).unwrap();
    assert_eq!(decoded, metadata);
    apply(&mut metadata, &limit(None, &[]));
    assert_eq!(found(&metadata), Some(2048), "not mentioned");
    apply(&mut metadata, &limit(Some(4096), &[]));
    assert_eq!(found(&metadata), Some(4096));
    for bytes in [1023, u32::MAX] {
        let error = rejected(&mut metadata, &limit(Some(bytes), &[]));
        assert_eq!(error.field(), Some("batch.max.bytes"));
        assert_eq!(error.reason(), Reason::InvalidArgument);
    }
    apply(&mut metadata, &limit(None, &[TopicKey::BatchMaxBytes]));
    assert_eq!(found(&metadata), None);
}

#[test]
fn sizes_that_level_1_cannot_read_need_level_2_and_must_agree() {
    let sizes = |record_max_bytes, batch_max_bytes| {
        let mut command = limit(batch_max_bytes, &[]);
        if let Command::AlterTopic { settings, .. } = &mut command {
            settings.record_max_bytes = record_max_bytes;
        }
        command
    };
    let mut metadata = cluster(1);
    apply(&mut metadata, &create("t", &[&[1]]));
    let level = FeatureLevel(1);
    apply(&mut metadata, &Command::FinalizeLevel { level });
    apply(&mut metadata, &sizes(None, Some(2 << 20)));
    for command in [
        sizes(None, Some((2 << 20) + 1)),
        sizes(Some(1024), None),
        limit(None, &[TopicKey::RecordMaxBytes]),
    ] {
        assert_eq!(command.level(), FeatureLevel(2));
        let error = rejected(&mut metadata, &command);
        assert_eq!(error.reason(), Reason::FeatureNotFinalized);
    }
    let level = FeatureLevel(2);
    apply(&mut metadata, &Command::FinalizeLevel { level });
    // Together with what the topic has: a batch of 2 MiB.
    let error = rejected(&mut metadata, &sizes(Some(2 << 20), None));
    assert_eq!(error.field(), Some("record.max.bytes"));
    assert_eq!(error.bound().as_deref(), Some("1024..=2093056"));
    apply(&mut metadata, &sizes(Some(2 << 20), Some((2 << 20) + 4096)));
    let error = rejected(&mut metadata, &sizes(None, Some(1024)));
    assert_eq!(error.field(), Some("record.max.bytes"));
    apply(
        &mut metadata,
        &limit(Some(1024), &[TopicKey::RecordMaxBytes]),
    );
    let found = metadata.topic("t").unwrap().settings;
    assert_eq!(
        (found.record_max_bytes, found.batch_max_bytes),
        (None, Some(1024))
    );
    for bytes in [1023, (3 << 20) + 1] {
        let error = rejected(&mut metadata, &sizes(Some(bytes), None));
        assert_eq!(error.field(), Some("record.max.bytes"));
    }
    let mut created = create("u", &[&[1]]);
    if let Command::CreateTopic { settings, .. } = &mut created {
        settings.record_max_bytes = Some(2 << 20);
        settings.batch_max_bytes = Some(2 << 20);
    }
    let error = rejected(&mut metadata, &created);
    assert_eq!(error.field(), Some("record.max.bytes"));
}

#[test]
fn settings_need_their_level_and_change_no_encoding_below_it() {
    let mut metadata = cluster(1);
    apply(&mut metadata, &create("t", &[&[1]]));
    for command in [
        limit(Some(4096), &[]),
        limit(None, &[TopicKey::BatchMaxBytes]),
    ] {
        assert_eq!(command.level(), FeatureLevel(1));
        let error = rejected(&mut metadata, &command);
        assert_eq!(error.reason(), Reason::FeatureNotFinalized);
    }
    for command in [create("t", &[&[1]]), limit(None, &[])] {
        assert_eq!(command.level(), FeatureLevel::ZERO);
        let text = String::from_utf8(command.encode().unwrap()).unwrap();
        assert!(
            !text.contains("settings") && !text.contains("reset"),
            "{text}"
        );
    }
    let stored = String::from_utf8(metadata.encode().unwrap()).unwrap();
    assert!(!stored.contains("settings"), "{stored}");
}
