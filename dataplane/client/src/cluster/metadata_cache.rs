//! The cached metadata of the cluster: a value without IO.

use std::collections::BTreeMap;
use std::sync::Arc;

use lograft_core::{NodeId, PartitionId, Term};
use lograft_proto::log::v1 as wire;

use super::metadata::{Metadata, NodeInfo, PartitionInfo, TopicInfo};
use crate::error::ClientError;

/// Nodes, topics and leaders as last reported by any node.
#[derive(Debug, Default)]
pub(crate) struct MetadataCache {
    cluster_id: String,
    /// The greatest version of the cluster's metadata in a reply. Nodes apply changes at different
    /// times; a smaller version is older.
    version: u64,
    nodes: BTreeMap<NodeId, NodeInfo>,
    topics: BTreeMap<Arc<str>, Arc<TopicInfo>>,
}

/// The current leader, as named in a `NOT_LEADER` error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaderHint {
    pub(crate) node: NodeId,
    pub(crate) address: Option<Arc<str>>,
    pub(crate) epoch: Term,
}

impl LeaderHint {
    /// Reads the hint of a `NOT_LEADER` error, if it has one.
    pub(crate) fn from_error(error: &ClientError) -> Option<Self> {
        Some(Self {
            node: error.metadata("leader_node")?.parse().ok()?,
            address: error
                .metadata("leader_address")
                .filter(|a| !a.is_empty())
                .map(Arc::from),
            epoch: Term(
                error
                    .metadata("leader_epoch")
                    .and_then(|e| e.parse().ok())
                    .unwrap_or(0),
            ),
        })
    }
}

impl MetadataCache {
    /// Whether a reply is older than what is known already: it is of a node that lags behind, and
    /// may lack topics that exist. Versions of different clusters cannot be compared.
    pub(crate) fn is_stale(&self, reply: &wire::GetMetadataReply) -> bool {
        reply.cluster_id == self.cluster_id && reply.metadata_version < self.version
    }

    /// Stores a reply.
    ///
    /// A stale reply removes nothing: a topic that one lagging node does not know yet is in use
    /// elsewhere. It only adds what is missing, and newer leaders.
    ///
    /// Of two leaders of a partition the one with the greater epoch is kept. Nodes learn of leader
    /// changes at different times, so the reply of a lagging node would otherwise bring back an old
    /// leader and send the client in circles.
    pub(crate) fn update(&mut self, reply: wire::GetMetadataReply) {
        if self.is_stale(&reply) {
            return self.add(reply);
        }
        if reply.cluster_id != self.cluster_id {
            *self = Self::default();
        }
        self.cluster_id = reply.cluster_id;
        self.version = reply.metadata_version;
        self.nodes = reply
            .nodes
            .into_iter()
            .map(node_info)
            .map(|n| (n.id, n))
            .collect();
        for topic in reply.topics {
            let name: Arc<str> = topic.name.as_str().into();
            if topic.error.is_some() {
                self.topics.remove(&name);
                continue;
            }
            let mut fresh = topic_info(Arc::clone(&name), topic);
            if let Some(known) = self.topics.get(&name).filter(|known| known.id == fresh.id) {
                take_newer_leaders(&mut fresh, known);
            }
            self.topics.insert(name, Arc::new(fresh));
        }
    }

    /// Whether the leader of a partition of one of these topics is unknown.
    pub(crate) fn lacks_leader(&self, topics: &[String]) -> bool {
        let known = topics
            .iter()
            .filter_map(|name| self.topics.get(name.as_str()));
        let mut partitions = known.flat_map(|topic| &topic.partitions);
        partitions.any(|partition| partition.leader.is_none())
    }

    /// Whether a reply is from the cluster of this cache.
    pub(crate) fn is_same_cluster(&self, reply: &wire::GetMetadataReply) -> bool {
        reply.cluster_id == self.cluster_id
    }

    /// Adds what is missing of a reply, and newer leaders. Removes nothing.
    pub(crate) fn add(&mut self, reply: wire::GetMetadataReply) {
        for node in reply.nodes.into_iter().map(node_info) {
            self.nodes.entry(node.id).or_insert(node);
        }
        let existing = |topic: &wire::Topic| topic.error.is_none();
        for topic in reply.topics.into_iter().filter(existing) {
            let name: Arc<str> = topic.name.as_str().into();
            let stale = topic_info(Arc::clone(&name), topic);
            let known = self
                .topics
                .entry(name)
                .or_insert_with(|| Arc::new(stale.clone()));
            if known.id == stale.id {
                take_newer_leaders(Arc::make_mut(known), &stale);
            }
        }
    }

    /// Stores the leader of a partition, unless one with a greater epoch is known.
    pub(crate) fn update_leader(&mut self, topic: &str, partition: PartitionId, hint: &LeaderHint) {
        if let Some(address) = &hint.address
            && !self.nodes.contains_key(&hint.node)
        {
            let info = NodeInfo {
                id: hint.node,
                name: String::new(),
                address: Arc::clone(address),
                zone: String::new(),
            };
            self.nodes.insert(hint.node, info);
        }
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        let at = partition.get() as usize;
        if topic
            .partitions
            .get(at)
            .is_some_and(|p| hint.epoch >= p.leader_epoch)
        {
            let info = &mut Arc::make_mut(topic).partitions[at];
            info.leader = Some(hint.node);
            info.leader_epoch = hint.epoch;
        }
    }

    /// Removes `node` as leader of the partition: it did not reply, or replied that it is not.
    pub(crate) fn clear_leader(&mut self, topic: &str, partition: PartitionId, node: NodeId) {
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        let at = partition.get() as usize;
        if topic
            .partitions
            .get(at)
            .is_some_and(|p| p.leader == Some(node))
        {
            Arc::make_mut(topic).partitions[at].leader = None;
        }
    }

    pub(crate) fn remove_topic(&mut self, name: &str) {
        self.topics.remove(name);
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicInfo>> {
        self.topics.get(name)
    }

    pub(crate) fn topic_names(&self) -> Vec<String> {
        self.topics
            .keys()
            .map(|name| name.as_ref().to_owned())
            .collect()
    }

    /// The leader of a partition, if known, and its address.
    pub(crate) fn leader(&self, topic: &str, partition: PartitionId) -> Option<(NodeId, Arc<str>)> {
        let info = self
            .topics
            .get(topic)?
            .partitions
            .get(partition.get() as usize)?;
        let node = self.nodes.get(&info.leader?)?;
        Some((node.id, Arc::clone(&node.address)))
    }

    /// The nodes with a replica of a partition, as far as they are known.
    pub(crate) fn replicas(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> impl Iterator<Item = &NodeInfo> {
        let topic = self.topics.get(topic);
        let info = topic.and_then(|t| t.partitions.get(partition.get() as usize));
        let replicas = info.into_iter().flat_map(|info| &info.replicas);
        replicas.filter_map(|node| self.nodes.get(node))
    }

    /// The greatest known leader epoch of a partition.
    pub(crate) fn leader_epoch(&self, topic: &str, partition: PartitionId) -> Term {
        let topic = self.topics.get(topic);
        let info = topic.and_then(|t| t.partitions.get(partition.get() as usize));
        info.map_or(Term(0), |info| info.leader_epoch)
    }

    /// The address of a node, if it is known.
    pub(crate) fn address(&self, node: NodeId) -> Option<Arc<str>> {
        let node = self.nodes.get(&node);
        node.map(|node| Arc::clone(&node.address))
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Arc<str>> {
        self.nodes.values().map(|node| &node.address)
    }

    pub(crate) fn snapshot(&self) -> Metadata {
        Metadata {
            cluster_id: self.cluster_id.clone(),
            nodes: self.nodes.values().cloned().collect(),
            topics: self.topics.values().map(|t| t.as_ref().clone()).collect(),
        }
    }

    /// Removes the topics that are not in `existing`, a complete list.
    pub(crate) fn retain_topics(&mut self, existing: &[wire::Topic]) {
        self.topics
            .retain(|name, _| existing.iter().any(|t| t.name == name.as_ref()));
    }
}

/// Takes the leaders of `other`, another state of the same topic, that have greater epochs.
fn take_newer_leaders(topic: &mut TopicInfo, other: &TopicInfo) {
    for (own, other) in topic.partitions.iter_mut().zip(&other.partitions) {
        if other.leader_epoch > own.leader_epoch {
            own.leader = other.leader;
            own.leader_epoch = other.leader_epoch;
        }
    }
}

fn node_info(node: wire::Node) -> NodeInfo {
    NodeInfo {
        id: NodeId(node.node_id),
        name: node.name,
        address: node.client_address.into(),
        zone: node.zone,
    }
}

fn topic_info(name: Arc<str>, topic: wire::Topic) -> TopicInfo {
    let partitions = topic
        .partitions
        .into_iter()
        .map(|p| PartitionInfo {
            partition: PartitionId(p.partition),
            leader: p.leader_node.map(NodeId),
            leader_epoch: Term(p.leader_epoch),
            replicas: p.replicas.into_iter().map(NodeId).collect(),
        })
        .collect();
    TopicInfo {
        name,
        id: topic.topic_id,
        partitions,
        batch_max_bytes: topic.batch_max_bytes,
        record_max_bytes: topic.record_max_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(topic_id: u64, leader: Option<u64>, epoch: u64) -> wire::GetMetadataReply {
        let node = |id: u64| wire::Node {
            node_id: id,
            client_address: format!("n{id}:9400"),
            ..wire::Node::default()
        };
        wire::GetMetadataReply {
            nodes: vec![node(1), node(2)],
            topics: vec![wire::Topic {
                name: "t".into(),
                topic_id,
                partitions: vec![wire::Partition {
                    partition: 0,
                    leader_node: leader,
                    leader_epoch: epoch,
                    ..wire::Partition::default()
                }],
                ..wire::Topic::default()
            }],
            ..wire::GetMetadataReply::default()
        }
    }

    fn leader(cache: &MetadataCache) -> Option<u64> {
        cache
            .leader("t", PartitionId(0))
            .map(|(node, _)| node.get())
    }

    #[test]
    fn a_lagging_node_does_not_replace_a_newer_leader() {
        let mut cache = MetadataCache::default();
        cache.update(reply(1, Some(1), 5));
        let hint = LeaderHint {
            node: NodeId(2),
            address: None,
            epoch: Term(6),
        };
        cache.update_leader("t", PartitionId(0), &hint);
        assert_eq!(leader(&cache), Some(2));
        cache.update(reply(1, Some(1), 5));
        assert_eq!(leader(&cache), Some(2));
        cache.update(reply(1, None, 6));
        assert_eq!(leader(&cache), None);
        cache.update(reply(1, Some(1), 7));
        assert_eq!(leader(&cache), Some(1));
    }

    #[test]
    fn a_recreated_topic_replaces_the_old_one() {
        let mut cache = MetadataCache::default();
        cache.update(reply(1, Some(1), 5));
        cache.update(reply(2, Some(2), 1));
        assert_eq!(leader(&cache), Some(2));
        let mut gone = reply(2, None, 0);
        gone.topics[0].error = Some(wire::Error::default());
        cache.update(gone);
        assert!(cache.topic("t").is_none());
    }

    /// The same reply with the version of the metadata, of a node that does not know the topic.
    fn unknown(version: u64) -> wire::GetMetadataReply {
        let mut reply = versioned(version, 1, None, 0);
        reply.topics[0].error = Some(wire::Error::default());
        reply
    }

    fn versioned(
        version: u64,
        topic_id: u64,
        leader: Option<u64>,
        epoch: u64,
    ) -> wire::GetMetadataReply {
        wire::GetMetadataReply {
            cluster_id: "c".into(),
            metadata_version: version,
            ..reply(topic_id, leader, epoch)
        }
    }

    #[test]
    fn a_stale_reply_removes_and_replaces_nothing() {
        let mut cache = MetadataCache::default();
        cache.update(versioned(10, 1, Some(1), 5));
        cache.update(unknown(9));
        assert_eq!(leader(&cache), Some(1));
        // A topic of the same name from before.
        cache.update(versioned(8, 7, Some(2), 9));
        assert_eq!(cache.topic("t").unwrap().id, 1);
        let mut without_nodes = versioned(9, 1, None, 0);
        without_nodes.nodes.clear();
        cache.update(without_nodes);
        assert_eq!(leader(&cache), Some(1));
        // Leaders have no part in the version.
        cache.update(versioned(9, 1, Some(2), 6));
        assert_eq!(leader(&cache), Some(2));
        assert!(cache.is_stale(&versioned(9, 1, None, 0)));
        assert!(!cache.is_stale(&versioned(10, 1, None, 0)));
    }

    #[test]
    fn another_node_adds_the_leader_that_the_first_one_does_not_know() {
        let mut cache = MetadataCache::default();
        let topics = ["t".to_owned()];
        assert!(!cache.lacks_leader(&topics));
        cache.update(versioned(10, 1, None, 5));
        assert!(cache.lacks_leader(&topics));
        cache.add(versioned(10, 1, Some(1), 5));
        assert!(cache.lacks_leader(&topics), "the same epoch is no news");
        cache.add(versioned(11, 1, Some(2), 6));
        assert_eq!(leader(&cache), Some(2));
        assert!(!cache.lacks_leader(&topics));
    }

    #[test]
    fn a_topic_is_forgotten_on_the_word_of_newer_metadata_alone() {
        let mut cache = MetadataCache::default();
        cache.update(versioned(10, 1, Some(1), 5));
        cache.update(unknown(11));
        assert!(cache.topic("t").is_none());
        cache.update(versioned(12, 2, Some(2), 1));
        assert_eq!(leader(&cache), Some(2));
    }

    #[test]
    fn versions_of_another_cluster_are_not_compared() {
        let mut cache = MetadataCache::default();
        cache.update(versioned(10, 1, Some(1), 5));
        let other = wire::GetMetadataReply {
            cluster_id: "d".into(),
            ..versioned(3, 4, Some(2), 1)
        };
        cache.update(other);
        assert_eq!(leader(&cache), Some(2));
        assert_eq!(cache.topic("t").unwrap().id, 4);
        assert!(cache.is_stale(&wire::GetMetadataReply {
            cluster_id: "d".into(),
            ..versioned(2, 4, None, 0)
        }));
    }

    #[test]
    fn only_the_given_node_is_removed_as_leader() {
        let mut cache = MetadataCache::default();
        cache.update(reply(1, Some(1), 5));
        cache.clear_leader("t", PartitionId(0), NodeId(2));
        assert_eq!(leader(&cache), Some(1));
        cache.clear_leader("t", PartitionId(0), NodeId(1));
        assert_eq!(leader(&cache), None);
        cache.update(reply(1, Some(1), 5));
        assert_eq!(leader(&cache), Some(1));
    }

    #[test]
    fn a_hint_can_name_an_unknown_node() {
        let mut cache = MetadataCache::default();
        cache.update(reply(1, Some(1), 5));
        let hint = LeaderHint {
            node: NodeId(9),
            address: Some("n9:9400".into()),
            epoch: Term(6),
        };
        cache.update_leader("t", PartitionId(0), &hint);
        let known = cache.leader("t", PartitionId(0));
        assert_eq!(known, Some((NodeId(9), "n9:9400".into())));
    }
}
