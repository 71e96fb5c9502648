//! Who leads a partition, and waiting for somebody to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lograft_core::limits::{LEADER_POLL_INTERVAL, LEADER_WAIT_MAX, METADATA_LAG_MAX};
use lograft_core::{GroupId, NodeId, PartitionId, Reason, Term};
use lograft_raft::Role;
use tokio::time::Instant;

use crate::api::grpc::log::LogContext;
use crate::api::grpc::status::{ApiError, Leader};
use crate::serving::replica::Replica;

/// Who leads a partition, as a replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leading {
    /// This node, and it is ready.
    Here(Term),
    /// This node, and it has not applied all that was committed before.
    HereSoon,
    /// Another node.
    There(NodeId, Term),
    /// Nobody, as far as the replica knows.
    Nobody,
}

impl Leading {
    /// As the replica sees it now.
    pub(crate) fn of(replica: &Replica) -> Self {
        let status = replica.raft.watch();
        let status = status.borrow();
        match (status.role, status.leader) {
            (Role::Leader, _) if status.ready => Self::Here(status.term),
            (Role::Leader, _) => Self::HereSoon,
            (Role::Follower | Role::Learner, Some(node)) if node != status.node => {
                Self::There(node, status.term)
            }
            _ => Self::Nobody,
        }
    }
}

/// Where a request is to be handled.
pub(crate) enum Place {
    /// On this node, which leads.
    Here(Arc<Replica>),
    /// On another node.
    There(NodeId),
}

/// A partition that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    /// Whether another node has passed the request on.
    pub(crate) forwarded: bool,
}

impl LogContext {
    /// The group of a partition. Right after the creation of a topic the node may not know it yet:
    /// then this waits a little.
    pub(crate) async fn group(&self, asked: Asked<'_>) -> Result<GroupId, ApiError> {
        if let Ok(group) = self.group_now(asked) {
            return Ok(group);
        }
        let mut version = self.meta.watch();
        let deadline = Instant::now() + METADATA_LAG_MAX;
        loop {
            version.mark_unchanged();
            let error = match self.group_now(asked) {
                Ok(group) => return Ok(group),
                Err(error) => error,
            };
            if !matches!(
                tokio::time::timeout_at(deadline, version.changed()).await,
                Ok(Ok(()))
            ) {
                return Err(error);
            }
        }
    }

    fn group_now(&self, asked: Asked<'_>) -> Result<GroupId, ApiError> {
        let Asked {
            topic, partition, ..
        } = asked;
        let metadata = self.meta.load();
        if let Some(found) = metadata.partition(topic, PartitionId(partition)) {
            return Ok(found.partition.group);
        }
        Err(match metadata.topic(topic) {
            None => ApiError::unknown_topic(topic),
            Some(found) => ApiError::unknown_partition(topic, partition, found.partition_count()),
        })
    }

    /// Where to handle a request for a partition. While nobody leads it, waits for about as long
    /// as an election takes. A request that was passed on is handled here or refused.
    pub(crate) async fn locate(&self, asked: Asked<'_>) -> Result<Place, ApiError> {
        let group = self.group(asked).await?;
        let deadline = Instant::now() + LEADER_WAIT_MAX;
        loop {
            let Some(replica) = self.replicas.get(group) else {
                if let Some(node) = self.leader_elsewhere(group) {
                    return self.elsewhere(asked, group, node);
                }
                if Instant::now() >= deadline {
                    return Err(ApiError::no_leader(asked.topic, asked.partition));
                }
                tokio::time::sleep(LEADER_POLL_INTERVAL).await;
                continue;
            };
            let mut status = replica.raft.watch();
            status.mark_unchanged();
            match Leading::of(&replica) {
                Leading::Here(_) => return Ok(Place::Here(replica)),
                Leading::There(node, _) => return self.elsewhere(asked, group, node),
                Leading::Nobody if asked.forwarded => {
                    return Err(ApiError::no_leader(asked.topic, asked.partition));
                }
                Leading::Nobody | Leading::HereSoon => {}
            }
            let changed = tokio::time::timeout_at(deadline, status.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(ApiError::no_leader(asked.topic, asked.partition));
            }
        }
    }

    fn elsewhere(&self, asked: Asked<'_>, group: GroupId, node: NodeId) -> Result<Place, ApiError> {
        if asked.forwarded {
            return Err(ApiError::not_leader(self.leader_of(group)));
        }
        Ok(Place::There(node))
    }

    /// Whom to ask about a group without a replica here: who is said to lead it, else one of its
    /// replicas after the other.
    fn leader_elsewhere(&self, group: GroupId) -> Option<NodeId> {
        if let Some((node, _)) = self.hints.leader(group)
            && node != self.node
        {
            return Some(node);
        }
        let metadata = self.meta.load();
        let replicas = &metadata.group(group)?.partition.replicas;
        let others: Vec<NodeId> = replicas
            .iter()
            .copied()
            .filter(|n| *n != self.node)
            .collect();
        let turn = self.guesses.fetch_add(1, Ordering::Relaxed);
        others.get(turn.checked_rem(others.len())?).copied()
    }

    /// The node that leads a group and the term, as far as this node knows.
    pub(crate) fn known_leader(&self, group: GroupId) -> Option<(NodeId, Term)> {
        if let Some(replica) = self.replicas.get(group) {
            match Leading::of(&replica) {
                Leading::Here(term) => return Some((self.node, term)),
                Leading::There(node, term) => return Some((node, term)),
                Leading::HereSoon | Leading::Nobody => return None,
            }
        }
        self.hints.leader(group)
    }

    /// The same with the address at which clients reach it.
    pub(crate) fn leader_of(&self, group: GroupId) -> Option<Leader> {
        let (node, term) = self.known_leader(group)?;
        let metadata = self.meta.load();
        let address = metadata
            .node(node)
            .map(|n| n.registration.client_address.clone());
        Some(Leader {
            node,
            address: address.unwrap_or_default(),
            term,
        })
    }

    /// Adds to NOT_LEADER who does lead, if that is known.
    pub(crate) fn explained(&self, error: ApiError, group: GroupId) -> ApiError {
        match error.reason() {
            Reason::NotLeader if error.is_bare() => ApiError::not_leader(self.leader_of(group)),
            _ => error,
        }
    }
}
