//! How commands change the metadata. Each checks everything first and changes only then.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Command, Growth, MetaError, Metadata, Node, NodeState, Outcome, Partition, Registration,
    Repair, Topic, TopicId,
};
use crate::ids::{ClusterId, GroupId, NodeId, PartitionId, ProducerId};
use crate::limits::{
    CLUSTER_REPLICAS_MAX_COUNT, NODE_ADDRESS_MAX_BYTES, NODE_NAME_MAX_BYTES, NODES_MAX_COUNT,
    PRODUCERS_ALLOCATE_MAX_COUNT, TOPICS_MAX_COUNT,
};
use crate::offset::LogIndex;
use crate::retention::RetentionPolicy;
use crate::topic;

type Applied = Result<Outcome, MetaError>;

impl Metadata {
    /// Applies the command at `index`. What is refused changes nothing; what changes something
    /// becomes version `index`.
    pub fn apply(&mut self, command: &Command, index: LogIndex) -> Applied {
        if self.cluster_id.is_none() && !matches!(command, Command::InitCluster { .. }) {
            return Err(MetaError::NotBootstrapped);
        }
        let outcome = self.dispatch(command)?;
        self.version = index;
        Ok(outcome)
    }

    fn dispatch(&mut self, command: &Command) -> Applied {
        match command {
            Command::InitCluster {
                cluster_id,
                first_node,
            } => self.init_cluster(*cluster_id, first_node),
            Command::RegisterNode(registration) => self.register_node(registration),
            Command::UpdateNode { node, registration } => self.update_node(*node, registration),
            Command::CreateTopic {
                name,
                retention,
                assignment,
            } => self.create_topic(name, *retention, assignment),
            Command::AlterTopic {
                name,
                retention,
                growth,
            } => self.alter_topic(name, *retention, growth.as_ref()),
            Command::DeleteTopic { name } => self.delete_topic(name),
            Command::AllocateProducers { count } => self.allocate_producers(*count),
            Command::SetPreferredLeader { group, node } => self.set_preferred_leader(*group, *node),
            Command::StartPartition { group } => {
                self.edit(*group, |partition| partition.started = true)
            }
            Command::SetTarget { group, replicas } => self.set_target(*group, replicas),
            Command::CommitMove { group, replicas } => self.commit_move(*group, replicas),
            Command::ReportDamage { group, node } => self.report_damage(*group, *node),
            Command::CommitEviction { group, node } => self.commit_eviction(*group, *node),
            Command::CommitRepair { group, node } => self.commit_repair(*group, *node),
            Command::DrainNode { node } => self.drain_node(*node),
            Command::RemoveNode { node } => self.remove_node(*node),
            Command::UndrainNode { node } => self.undrain_node(*node),
            Command::RestNode { node, until_ms } => self.rest_node(*node, *until_ms),
        }
    }

    fn init_cluster(&mut self, asked: ClusterId, first: &Registration) -> Applied {
        match self.cluster_id {
            Some(actual) if actual != asked => {
                return Err(MetaError::OtherCluster { actual, asked });
            }
            Some(_) => return Ok(Outcome::Node(NodeId(1))),
            None => {}
        }
        // Registered first: a refusal must leave the cluster without an id.
        let outcome = self.register_node(first)?;
        self.cluster_id = Some(asked);
        Ok(outcome)
    }

    fn register_node(&mut self, registration: &Registration) -> Applied {
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
            },
        );
        Ok(Outcome::Node(id))
    }

    fn update_node(&mut self, id: NodeId, registration: &Registration) -> Applied {
        let node = self.member(id)?;
        validate_registration(registration)?;
        let token = node.registration.token;
        let registration = Registration {
            token,
            ..registration.clone()
        };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.registration = registration;
        }
        Ok(Outcome::Node(id))
    }

    fn create_topic(
        &mut self,
        name: &str,
        retention: RetentionPolicy,
        assignment: &[Vec<NodeId>],
    ) -> Applied {
        topic::validate_name(name)?;
        topic::validate_retention(retention)?;
        topic::validate_partitions(count_u32(assignment.len()), 0)?;
        if self.topics.contains_key(name) {
            return Err(MetaError::TopicExists {
                name: name.to_owned(),
            });
        }
        check_limit("topics", self.topics.len() + 1, TOPICS_MAX_COUNT)?;
        let replication_factor = count_u32(assignment.first().map_or(0, Vec::len));
        self.validate_assignment(assignment, replication_factor)?;
        let id = self.next.topic;
        self.next.topic = TopicId(id.0 + 1);
        let mut topic = Topic {
            name: name.to_owned(),
            id,
            replication_factor,
            retention,
            partitions: Vec::new(),
        };
        self.grow(&mut topic, assignment);
        self.topics.insert(name.to_owned(), Arc::new(topic));
        Ok(Outcome::Topic(id))
    }

    fn alter_topic(
        &mut self,
        name: &str,
        retention: Option<RetentionPolicy>,
        growth: Option<&Growth>,
    ) -> Applied {
        let Some(topic) = self.topics.get(name) else {
            return Err(MetaError::UnknownTopic {
                name: name.to_owned(),
            });
        };
        let mut topic = Arc::clone(topic);
        if let Some(retention) = retention {
            topic::validate_retention(retention)?;
        }
        // A topic that has the partitions already was grown by the same command, sent twice.
        let growth = growth.filter(|g| g.total != topic.partition_count());
        if let Some(growth) = growth {
            topic::validate_partitions(growth.total, topic.partition_count())?;
            let new = growth.total - topic.partition_count();
            if new != count_u32(growth.assignment.len()) {
                let position = growth.assignment.len();
                return Err(MetaError::BadAssignment {
                    position,
                    replicas: Vec::new(),
                });
            }
            self.validate_assignment(&growth.assignment, topic.replication_factor)?;
        }
        let altered = Arc::make_mut(&mut topic);
        altered.retention = retention.unwrap_or(altered.retention);
        if let Some(growth) = growth {
            self.grow(altered, &growth.assignment);
        }
        let id = topic.id;
        self.topics.insert(name.to_owned(), topic);
        Ok(Outcome::Topic(id))
    }

    fn delete_topic(&mut self, name: &str) -> Applied {
        match self.topics.remove(name) {
            None => Err(MetaError::UnknownTopic {
                name: name.to_owned(),
            }),
            Some(topic) => {
                for partition in &topic.partitions {
                    self.groups.remove(&partition.group);
                }
                Ok(Outcome::Topic(topic.id))
            }
        }
    }

    fn allocate_producers(&mut self, count: u32) -> Applied {
        if count == 0 || count > PRODUCERS_ALLOCATE_MAX_COUNT {
            return Err(MetaError::BadCount {
                field: "count".to_owned(),
                found: count.into(),
                max: PRODUCERS_ALLOCATE_MAX_COUNT.into(),
            });
        }
        let first = self.next.producer;
        self.next.producer = ProducerId(first.get() + u64::from(count));
        Ok(Outcome::Producers { first, count })
    }

    fn set_preferred_leader(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        let Some(place) = partition.replicas.iter().position(|n| *n == node) else {
            return Err(MetaError::NotReplica { group, node });
        };
        self.edit(group, |partition| {
            partition.replicas[..=place].rotate_right(1);
        })
    }

    fn set_target(&mut self, group: GroupId, replicas: &[NodeId]) -> Applied {
        let partition = self.group_partition(group)?;
        if !partition.started {
            return Err(MetaError::NotStarted { group });
        }
        let is_called_off = replicas == partition.replicas;
        if is_called_off && partition.target.is_none() {
            return Ok(Outcome::Done);
        }
        if !is_called_off {
            let size = count_u32(partition.replicas.len());
            self.validate_assignment(&[replicas.to_vec()], size)?;
        }
        self.edit(group, |partition| {
            // Who was on the way in may have become a voter: it keeps its replica till the end,
            // and a move that is called off is a move back.
            let dropped = partition.target.take().into_iter().flatten();
            let leaving = partition.leaving.drain(..).chain(dropped);
            let mut left: Vec<NodeId> = leaving.filter(|n| !replicas.contains(n)).collect();
            left.sort_unstable();
            left.dedup();
            partition.leaving = left;
            partition.target = Some(replicas.to_vec());
        })
    }

    fn commit_move(&mut self, group: GroupId, replicas: &[NodeId]) -> Applied {
        let partition = self.group_partition(group)?;
        match &partition.target {
            None if partition.replicas == replicas => return Ok(Outcome::Done),
            Some(target) if target == replicas => {}
            _ => {
                return Err(MetaError::OtherTarget {
                    group,
                    replicas: replicas.to_vec(),
                });
            }
        }
        self.edit(group, |partition| {
            partition.replicas = replicas.to_vec();
            partition.target = None;
            partition.leaving.clear();
            // A damaged replica that has moved away needs no repair.
            partition.repair = partition
                .repair
                .filter(|repair| replicas.contains(&repair.node));
        })
    }

    fn report_damage(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        if !partition.started {
            return Err(MetaError::NotStarted { group });
        }
        if !partition.is_on(node) {
            return Err(MetaError::NotReplica { group, node });
        }
        if partition.replicas.len() < 2 {
            return Err(MetaError::OnlyReplica { group, node });
        }
        if partition.repair.is_some_and(|repair| repair.node != node) {
            return Err(MetaError::OtherRepair { group, node });
        }
        self.edit(group, |partition| {
            partition.repair = Some(Repair {
                node,
                is_evicted: false,
            });
        })
    }

    fn commit_eviction(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        if partition.repair.is_none_or(|repair| repair.node != node) {
            return Err(MetaError::OtherRepair { group, node });
        }
        self.edit(group, |partition| {
            partition.repair = Some(Repair {
                node,
                is_evicted: true,
            });
        })
    }

    fn commit_repair(&mut self, group: GroupId, node: NodeId) -> Applied {
        let partition = self.group_partition(group)?;
        match partition.repair {
            None => Ok(Outcome::Done),
            Some(repair) if repair.node == node && repair.is_evicted => {
                self.edit(group, |partition| partition.repair = None)
            }
            Some(_) => Err(MetaError::OtherRepair { group, node }),
        }
    }

    fn drain_node(&mut self, id: NodeId) -> Applied {
        let node = self.member(id)?;
        if node.state == NodeState::Draining {
            return Ok(Outcome::Node(id));
        }
        let active = self.active_nodes().filter(|n| n.id != id).count();
        let widest = self
            .topics
            .values()
            .map(|t| t.replication_factor as usize)
            .max();
        let needed = widest.unwrap_or(0).max(1);
        if active < needed {
            return Err(MetaError::TooFewNodes { active, needed });
        }
        self.set_state(id, NodeState::Draining);
        Ok(Outcome::Node(id))
    }

    fn undrain_node(&mut self, id: NodeId) -> Applied {
        if self.member(id)?.state == NodeState::Active {
            return Ok(Outcome::Node(id));
        }
        self.set_state(id, NodeState::Active);
        let is_leaving = |partition: &Partition| {
            let target = partition.target.as_ref();
            partition.replicas.contains(&id) && target.is_some_and(|target| !target.contains(&id))
        };
        let moves: Vec<(GroupId, Vec<NodeId>)> = self
            .partitions()
            .map(|place| place.partition)
            .filter(|partition| is_leaving(partition))
            .map(|partition| (partition.group, partition.replicas.clone()))
            .collect();
        for (group, replicas) in moves {
            self.set_target(group, &replicas)?;
        }
        Ok(Outcome::Node(id))
    }

    fn rest_node(&mut self, id: NodeId, until_ms: i64) -> Applied {
        self.member(id)?;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.rests_until_ms = node.rests_until_ms.max(until_ms);
        }
        Ok(Outcome::Node(id))
    }

    fn remove_node(&mut self, id: NodeId) -> Applied {
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
        Ok(Outcome::Node(id))
    }

    fn set_state(&mut self, id: NodeId, state: NodeState) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state = state;
        }
    }

    fn member(&self, id: NodeId) -> Result<&Node, MetaError> {
        match self.nodes.get(&id) {
            None => Err(MetaError::UnknownNode { node: id }),
            Some(node) if node.state == NodeState::Removed => {
                Err(MetaError::NodeDecommissioned { node: id })
            }
            Some(node) => Ok(node),
        }
    }

    fn group_partition(&self, group: GroupId) -> Result<&Partition, MetaError> {
        self.group(group)
            .map(|p| p.partition)
            .ok_or(MetaError::UnknownGroup { group })
    }

    fn edit(&mut self, group: GroupId, change: impl FnOnce(&mut Partition)) -> Applied {
        let partition = self.groups.get(&group).and_then(|(name, number)| {
            let topic = Arc::make_mut(self.topics.get_mut(name)?);
            topic
                .partitions
                .get_mut(usize::try_from(number.get()).ok()?)
        });
        let partition = partition.ok_or(MetaError::UnknownGroup { group })?;
        change(partition);
        Ok(Outcome::Done)
    }

    fn validate_assignment(
        &self,
        assignment: &[Vec<NodeId>],
        replication_factor: u32,
    ) -> Result<(), MetaError> {
        let active: BTreeMap<NodeId, &Node> = self.active_nodes().map(|n| (n.id, n)).collect();
        topic::validate_replication_factor(replication_factor, active.len())?;
        for (position, replicas) in assignment.iter().enumerate() {
            if count_u32(replicas.len()) != replication_factor || !topic::is_distinct(replicas) {
                return Err(MetaError::BadAssignment {
                    position,
                    replicas: replicas.clone(),
                });
            }
            for node in replicas {
                self.member(*node)?;
                if !active.contains_key(node) {
                    return Err(MetaError::NodeDecommissioned { node: *node });
                }
            }
        }
        let new: usize = assignment.iter().map(Vec::len).sum();
        check_limit(
            "replicas",
            self.replica_count() + new,
            CLUSTER_REPLICAS_MAX_COUNT,
        )
    }

    fn grow(&mut self, topic: &mut Topic, assignment: &[Vec<NodeId>]) {
        for replicas in assignment {
            let group = self.next.group;
            self.next.group = GroupId(group.get() + 1);
            let number = PartitionId(topic.partition_count());
            self.groups.insert(group, (topic.name.clone(), number));
            topic.partitions.push(Partition {
                group,
                replicas: replicas.clone(),
                target: None,
                leaving: Vec::new(),
                started: false,
                repair: None,
            });
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

fn check_limit(field: &str, found: usize, max: usize) -> Result<(), MetaError> {
    if found <= max {
        return Ok(());
    }
    let (found, max) = (found as u64, max as u64);
    Err(MetaError::LimitExceeded {
        field: field.to_owned(),
        found,
        max,
    })
}

fn count_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
