//! Commands that bootstrap the cluster and change its nodes.

use std::sync::Arc;

use super::{Applied, check_limit, count_u32};
use crate::feature_level::FeatureLevel;
use crate::ids::{ClusterId, GroupId, NodeId};
use crate::limits::{NODE_ADDRESS_MAX_BYTES, NODE_NAME_MAX_BYTES, NODES_MAX_COUNT};
use crate::metadata::{MetaError, Metadata, Node, NodeState, Outcome, Partition, Registration};

impl Metadata {
    pub(super) fn init_cluster(
        &mut self,
        asked: ClusterId,
        first: &Registration,
        level: FeatureLevel,
    ) -> Applied {
        match self.cluster_id {
            Some(actual) if actual != asked => {
                return Err(MetaError::OtherCluster { actual, asked });
            }
            Some(_) => return Ok(Outcome::Node(NodeId(1))),
            None => {}
        }
        // Registered before the id is set: a rejected registration must leave the cluster without
        // an id.
        let outcome = self.register_node(first)?;
        self.cluster_id = Some(asked);
        self.finalized_level = level;
        Ok(outcome)
    }

    pub(super) fn register_node(&mut self, registration: &Registration) -> Applied {
        if let Some(node) = self
            .nodes
            .values()
            .find(|n| n.registration.token == registration.token)
        {
            return match node.state {
                NodeState::Removed => Err(MetaError::NodeDecommissioned { node: node.id }),
                NodeState::Active | NodeState::Draining => Ok(Outcome::Node(node.id)),
            };
        }
        validate_registration(registration)?;
        let members = self.members().count() + 1;
        check_limit("nodes", members, NODES_MAX_COUNT)?;
        let id = self.next.node;
        self.next.node = NodeId(id.get() + 1);
        let registration = registration.clone();
        self.nodes.insert(
            id,
            Node {
                id,
                registration,
                state: NodeState::Active,
                rests_until_ms: 0,
                lost_since_ms: None,
            },
        );
        self.want_rebalancing();
        Ok(Outcome::Node(id))
    }

    pub(super) fn update_node(&mut self, id: NodeId, registration: &Registration) -> Applied {
        let node = self.member(id)?;
        validate_registration(registration)?;
        let is_zone_new = node.registration.zone != registration.zone;
        let token = node.registration.token;
        let registration = Registration {
            token,
            ..registration.clone()
        };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.registration = registration;
        }
        if is_zone_new {
            self.want_rebalancing();
        }
        Ok(Outcome::Node(id))
    }

    pub(super) fn drain_node(&mut self, id: NodeId) -> Applied {
        // The remaining nodes must be able to hold all replicas of each partition. Otherwise the
        // drain could never finish.
        let node = self.member(id)?;
        if node.state == NodeState::Draining {
            return Ok(Outcome::Node(id));
        }
        let active = self.active_nodes().filter(|n| n.id != id).count();
        let widest = self
            .topics
            .values()
            .filter(|t| !t.follows_default)
            .map(|t| t.replication_factor as usize)
            .max();
        let needed = widest.unwrap_or(0).max(1);
        if active < needed {
            return Err(MetaError::TooFewNodes { active, needed });
        }
        // Nobody asked for the number of replicas of a topic that follows the cluster.
        let remaining = count_u32(active);
        for topic in self.topics.values_mut() {
            if topic.follows_default && topic.replication_factor > remaining {
                Arc::make_mut(topic).replication_factor = remaining;
            }
        }
        self.set_state(id, NodeState::Draining);
        Ok(Outcome::Node(id))
    }

    pub(super) fn undrain_node(&mut self, id: NodeId) -> Applied {
        if self.member(id)?.state == NodeState::Active {
            return Ok(Outcome::Node(id));
        }
        self.set_state(id, NodeState::Active);
        self.cancel_moves_off(id, |_| true)?;
        self.want_rebalancing();
        Ok(Outcome::Node(id))
    }

    /// Cancels the moves in progress that take a replica off a node, of the partitions that
    /// `is_meant` accepts.
    fn cancel_moves_off(
        &mut self,
        id: NodeId,
        is_meant: impl Fn(&Partition) -> bool,
    ) -> Result<(), MetaError> {
        let is_leaving = |partition: &Partition| {
            let target = partition.target.as_ref();
            partition.replicas.contains(&id) && target.is_some_and(|target| !target.contains(&id))
        };
        let moves: Vec<(GroupId, Vec<NodeId>)> = self
            .partitions()
            .map(|place| place.partition)
            .filter(|partition| is_leaving(partition) && is_meant(partition))
            .map(|partition| (partition.group, partition.replicas.clone()))
            .collect();
        for (group, replicas) in moves {
            self.set_target(group, &replicas)?;
        }
        Ok(())
    }

    pub(super) fn mark_lost(&mut self, id: NodeId, since_ms: i64) -> Applied {
        if self.member(id)?.is_lost() {
            return Ok(Outcome::Node(id));
        }
        self.check_spare(id)?;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lost_since_ms = Some(since_ms);
        }
        Ok(Outcome::Node(id))
    }

    pub(super) fn find_node(&mut self, id: NodeId) -> Applied {
        let node = self.member(id)?;
        let (was_lost, state) = (node.is_lost(), node.state);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lost_since_ms = None;
        }
        // What it has needs no second copy. A move that also changes the number of replicas was
        // asked for by a person and goes on.
        if was_lost && state == NodeState::Active {
            let keeps_number = |partition: &Partition| {
                let target = partition.target.as_ref();
                target.is_some_and(|target| target.len() == partition.replicas.len())
            };
            self.cancel_moves_off(id, keeps_number)?;
        }
        if was_lost {
            self.want_rebalancing();
        }
        Ok(Outcome::Node(id))
    }

    pub(super) fn rest_node(&mut self, id: NodeId, until_ms: i64) -> Applied {
        self.member(id)?;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.rests_until_ms = node.rests_until_ms.max(until_ms);
        }
        Ok(Outcome::Node(id))
    }

    pub(super) fn remove_node(&mut self, id: NodeId) -> Applied {
        // Removal is final, and only for a node without replicas: a node that is removed with
        // replicas on it would take acknowledged records with it. Nothing but an explicit
        // decommission leads here; a node that is only unreachable stays a member.
        let Some(node) = self.nodes.get(&id) else {
            return Err(MetaError::UnknownNode { node: id });
        };
        let replicas_left = self.partitions().filter(|p| p.partition.is_on(id)).count();
        match node.state {
            NodeState::Removed => return Ok(Outcome::Node(id)),
            NodeState::Draining if replicas_left == 0 => {}
            NodeState::Draining | NodeState::Active => {
                return Err(MetaError::NodeNotDrained {
                    node: id,
                    replicas_left,
                });
            }
        }
        self.set_state(id, NodeState::Removed);
        self.want_rebalancing();
        Ok(Outcome::Node(id))
    }

    fn set_state(&mut self, id: NodeId, state: NodeState) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state = state;
        }
    }
}

fn validate_registration(registration: &Registration) -> Result<(), MetaError> {
    let Registration {
        token: _,
        name,
        client_address,
        peer_address,
        zone,
    } = registration;
    validate_text("name", name, 1, NODE_NAME_MAX_BYTES)?;
    validate_text("client_address", client_address, 1, NODE_ADDRESS_MAX_BYTES)?;
    validate_text("peer_address", peer_address, 1, NODE_ADDRESS_MAX_BYTES)?;
    validate_text("zone", zone, 0, NODE_NAME_MAX_BYTES)
}

fn validate_text(field: &str, text: &str, min: usize, max: usize) -> Result<(), MetaError> {
    let len_bytes = text.len();
    if (min..=max).contains(&len_bytes) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(MetaError::BadText {
        field: field.to_owned(),
        len_bytes,
        min,
        max,
    })
}
