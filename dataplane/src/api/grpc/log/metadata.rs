//! GetMetadata: answered by any node from what it knows.

use lograft_core::metadata::{Node, Partition, Topic};
use lograft_proto::log::v1 as proto;

use super::LogContext;
use crate::api::grpc::status::ApiError;

/// The cluster's shape as this node knows it.
pub(crate) fn describe(
    context: &LogContext,
    request: &proto::GetMetadataRequest,
) -> proto::GetMetadataReply {
    let metadata = context.meta.load();
    let topics = if request.topics.is_empty() {
        metadata
            .topics()
            .map(|topic| describe_topic(context, topic))
            .collect()
    } else {
        let mut names: Vec<&String> = request.topics.iter().collect();
        names.sort_unstable();
        names.dedup();
        let described = names.into_iter().map(|name| {
            metadata.topic(name).map_or_else(
                || proto::Topic {
                    name: name.clone(),
                    error: Some(ApiError::unknown_topic(name).to_wire()),
                    ..Default::default()
                },
                |topic| describe_topic(context, topic),
            )
        });
        described.collect()
    };
    proto::GetMetadataReply {
        cluster_id: metadata
            .cluster_id()
            .map(|id| id.to_string())
            .unwrap_or_default(),
        nodes: metadata.members().map(describe_node).collect(),
        topics,
        metadata_version: metadata.version().get(),
        answered_by: context.node.get(),
    }
}

fn describe_node(node: &Node) -> proto::Node {
    proto::Node {
        node_id: node.id.get(),
        name: node.registration.name.clone(),
        client_address: node.registration.client_address.clone(),
        zone: node.registration.zone.clone(),
    }
}

fn describe_topic(context: &LogContext, topic: &Topic) -> proto::Topic {
    let partitions = (0..).zip(&topic.partitions);
    proto::Topic {
        name: topic.name.clone(),
        topic_id: topic.id.0,
        partitions: partitions
            .map(|(n, found)| describe_partition(context, n, found))
            .collect(),
        error: None,
    }
}

fn describe_partition(context: &LogContext, number: u32, found: &Partition) -> proto::Partition {
    let leader = context.known_leader(found.group);
    proto::Partition {
        partition: number,
        leader_node: leader.map(|(node, _)| node.get()),
        leader_epoch: leader.map_or(0, |(_, term)| term.get()),
        replicas: found.replicas.iter().map(|node| node.get()).collect(),
        group_id: found.group.get(),
    }
}
