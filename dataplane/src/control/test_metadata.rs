//! Metadata for the tests of control.

use lograft_core::limits::COORDINATORS_COUNT;
use lograft_core::metadata::{Command, Metadata, Registration, RegistrationToken};
use lograft_core::{
    ClusterId, FeatureLevel, GroupId, LogIndex, NodeId, PartitionId, RetentionPolicy, TopicSettings,
};
use lograft_storage::CorruptCopies;

/// The registration of node `n`.
pub(crate) fn registration(n: u8) -> Registration {
    Registration {
        token: RegistrationToken::from_random([n; 16]),
        name: format!("node-{n}"),
        client_address: format!("host-{n}:9400"),
        peer_address: format!("host-{n}:9401"),
        zone: String::new(),
    }
}

/// Applies a command that must succeed.
pub(crate) fn apply(metadata: &mut Metadata, command: &Command) {
    let index = LogIndex(metadata.version().get() + 1);
    metadata
        .apply(command, index)
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
}

/// A cluster of `nodes` nodes.
pub(crate) fn cluster(nodes: u8) -> Metadata {
    let mut metadata = Metadata::default();
    let cluster_id = ClusterId::from_bytes([1; 16]);
    apply(
        &mut metadata,
        &Command::InitCluster {
            cluster_id,
            first_node: registration(1),
            level: FeatureLevel::ZERO,
        },
    );
    for n in 2..=nodes {
        apply(&mut metadata, &Command::RegisterNode(registration(n)));
    }
    metadata
}

/// Corrupt copies of a group.
pub(crate) fn copies(count: usize) -> CorruptCopies {
    CorruptCopies {
        count,
        oldest: 1,
        bytes: 1000,
    }
}

/// Creates a topic with these replicas.
pub(crate) fn create(metadata: &mut Metadata, name: &str, assignment: &[&[u64]]) {
    let assignment = assignment.iter().map(|replicas| ids(replicas)).collect();
    let retention = RetentionPolicy::default();
    apply(
        metadata,
        &Command::CreateTopic {
            follows_default: false,
            name: name.to_owned(),
            retention,
            settings: TopicSettings::default(),
            assignment,
        },
    );
}

/// Creates the coordinators of consumer groups, each with these replicas.
pub(crate) fn create_coordinators(metadata: &mut Metadata, replicas: &[u64]) {
    let level = FeatureLevel(2);
    apply(metadata, &Command::FinalizeLevel { level });
    let assignment = vec![ids(replicas); COORDINATORS_COUNT as usize];
    apply(metadata, &Command::CreateCoordinators { assignment });
}

/// A partition's group.
pub(crate) fn group(metadata: &Metadata, topic: &str, partition: u32) -> GroupId {
    metadata
        .partition(topic, PartitionId(partition))
        .unwrap()
        .partition
        .group
}

/// Node ids.
pub(crate) fn ids<C: FromIterator<NodeId>>(numbers: &[u64]) -> C {
    numbers.iter().copied().map(NodeId).collect()
}
