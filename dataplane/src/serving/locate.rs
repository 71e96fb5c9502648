//! Where a request is carried out: on this node, on the leader's node, or nowhere yet. The one
//! place that decides about waiting for a leader and about retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lograft_core::limits::{
    FORWARD_IDLE_CHECK_INTERVAL, FORWARD_IDLE_MIN, FORWARD_SILENCE_CHECK_INTERVAL,
    FORWARD_SILENCE_MAX, LEADER_POLL_INTERVAL, LEADER_WAIT_MAX, METADATA_LAG_MAX,
};
use lograft_core::{GroupId, NodeId, PartitionId, Reason, Term};
use tokio::time::Instant;

use super::forward::ForwardError;
use super::leadership::Leadership;
use super::meta_group::{LeaderHints, MetaHandle};
use super::replica::{Replica, ReplicaMap};
use super::request::Target;
use crate::error::{ApiError, Leader};
use crate::state_machine::MetaView;

/// Where a request is carried out.
pub(crate) enum Location {
    /// On this node, which leads.
    Here(Arc<Replica>),
    /// On another node.
    There(Elsewhere),
}

/// Another node that leads a partition, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
}

/// Why a request to a node that hangs was given up.
pub(super) const NO_ANSWER: &str = "no answer, and another node leads now";

/// Whether a request may be carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// It may: reads.
    Repeatable,
    /// It must not: appends. A second copy could be a duplicate in the log, so the request is
    /// retried only if it certainly was not carried out.
    Once,
}

/// Finds the leaders of partitions.
pub(crate) struct Locator {
    pub(crate) node: NodeId,
    pub(crate) replicas: ReplicaMap,
    pub(crate) meta: MetaView,
    /// Leaders of groups without a replica on this node.
    pub(crate) hints: Arc<dyn LeaderHints>,
    /// Tells whether `meta` is current.
    pub(crate) meta_handle: MetaHandle,
    /// How often the leader was unknown and a replica was picked instead.
    guesses: AtomicUsize,
}

impl Locator {
    pub(crate) fn new(
        node: NodeId,
        replicas: ReplicaMap,
        meta: MetaView,
        hints: Arc<dyn LeaderHints>,
        meta_handle: MetaHandle,
    ) -> Self {
        Self {
            node,
            replicas,
            meta,
            hints,
            meta_handle,
            guesses: AtomicUsize::new(0),
        }
    }

    /// Carries out a request at the partition's leader: by `here` if this node leads, else by
    /// `there`. While the cluster elects a leader, retries for about as long as an election takes.
    pub(crate) async fn at_leader<T, H, F>(
        &self,
        target: &Target,
        safety: Safety,
        here: impl Fn(Arc<Replica>) -> H,
        there: impl Fn(Elsewhere) -> F,
    ) -> Result<T, ApiError>
    where
        H: Future<Output = Result<T, ApiError>>,
        F: Future<Output = Result<T, ForwardError>>,
    {
        self.at_leader_of((target, None), safety, here, there).await
    }

    /// The same for a raft group that is known already, which need not be that of a partition.
    pub(crate) async fn at_leader_of<T, H, F>(
        &self,
        (target, group): (&Target, Option<GroupId>),
        safety: Safety,
        here: impl Fn(Arc<Replica>) -> H,
        there: impl Fn(Elsewhere) -> F,
    ) -> Result<T, ApiError>
    where
        H: Future<Output = Result<T, ApiError>>,
        F: Future<Output = Result<T, ForwardError>>,
    {
        let mut attempts = Attempts::new();
        loop {
            let location = match group {
                None => self.locate(target).await?,
                Some(group) => {
                    let deadline = Instant::now() + LEADER_WAIT_MAX;
                    self.locate_group(target, group, deadline).await?
                }
            };
            let failure = match location {
                Location::Here(replica) => {
                    let group = replica.group;
                    match here(replica).await {
                        Ok(done) => return Ok(done),
                        Err(error) => ForwardError::Refused(self.with_leader(error, group)),
                    }
                }
                Location::There(leader) => tokio::select! {
                    biased;
                    done = there(leader) => match done {
                        Ok(done) => return Ok(done),
                        Err(failure) => failure,
                    },
                    () = self.leader_moves(leader) => {
                        // The search starts again: the next leader is known.
                        attempts = Attempts::new();
                        ForwardError::Lost(NO_ANSWER.to_owned())
                    }
                },
            };
            if target.is_forwarded || !attempts.again(&failure, safety).await {
                return Err(final_error(failure, target, safety));
            }
        }
    }

    /// Where to carry out a request. While the partition has no leader, waits for about as long as
    /// an election takes. A forwarded request is carried out here or refused.
    pub(crate) async fn locate(&self, target: &Target) -> Result<Location, ApiError> {
        let group = self.group(target).await?;
        self.locate_group(target, group, Instant::now() + LEADER_WAIT_MAX)
            .await
    }

    /// The same for the group of the partition. Waits for a leader until `deadline`.
    pub(super) async fn locate_group(
        &self,
        target: &Target,
        group: GroupId,
        deadline: Instant,
    ) -> Result<Location, ApiError> {
        let no_leader = || ApiError::no_leader(&target.topic, target.partition);
        loop {
            let Some(replica) = self.replicas.get(group) else {
                if let Some(node) = self.leader_elsewhere(group) {
                    return self.elsewhere(target, group, node);
                }
                if Instant::now() >= deadline {
                    return Err(no_leader());
                }
                tokio::time::sleep(LEADER_POLL_INTERVAL).await;
                continue;
            };
            let mut status = replica.raft.watch();
            status.mark_unchanged();
            let leadership = Leadership::of(&replica.raft);
            if matches!(leadership, Leadership::Ready(_)) {
                return Ok(Location::Here(replica));
            }
            if let Some((node, _)) = self.leader_by(leadership, group) {
                return self.elsewhere(target, group, node);
            }
            if target.is_forwarded && matches!(leadership, Leadership::Unknown(_)) {
                return Err(no_leader());
            }
            // The replica is notified of its own status, and not of what other nodes announce.
            let poll_at = deadline.min(Instant::now() + LEADER_POLL_INTERVAL);
            match tokio::time::timeout_at(poll_at, status.changed()).await {
                Ok(Err(_)) => return Err(no_leader()),
                Err(_) if Instant::now() >= deadline => return Err(no_leader()),
                Ok(Ok(())) | Err(_) => {}
            }
        }
    }

    /// The group of a partition. A topic that was just created may not have reached this node yet:
    /// waits a moment for it. Fails with NOT_READY if it is missing in metadata that are not
    /// current, those of a node that has just started for example.
    pub(crate) async fn group(&self, target: &Target) -> Result<GroupId, ApiError> {
        if let Ok(group) = self.known_group(target) {
            return Ok(group);
        }
        let deadline = Instant::now() + METADATA_LAG_MAX;
        let found = self.meta.find(deadline, |_| self.known_group(target));
        found.await.map_err(|error| self.absent(error))
    }

    /// The error for what is not in the metadata: it may exist if they are not current.
    pub(super) fn absent(&self, error: ApiError) -> ApiError {
        match error.reason() {
            Some(Reason::UnknownTopic | Reason::UnknownPartition) => {
                self.meta_handle.check_current().err().unwrap_or(error)
            }
            _ => error,
        }
    }

    fn known_group(&self, target: &Target) -> Result<GroupId, ApiError> {
        let Target {
            topic,
            topic_id,
            partition,
            is_forwarded: _,
            principal: _,
        } = target;
        let metadata = self.meta.load();
        let current = metadata.topic(topic).map(|found| found.id);
        if let Some((wanted, current)) = topic_id.zip(current).filter(|(a, b)| a != b) {
            // Ids only grow. A topic that is newer than the one known here has not reached this
            // node yet.
            return Err(if wanted < current {
                ApiError::topic_recreated(topic, current)
            } else {
                ApiError::unknown_topic(topic)
            });
        }
        if let Some(found) = metadata.partition(topic, PartitionId(*partition)) {
            return Ok(found.partition.group);
        }
        Err(match metadata.topic(topic) {
            None => ApiError::unknown_topic(topic),
            Some(found) => ApiError::unknown_partition(topic, *partition, found.partition_count()),
        })
    }

    fn elsewhere(
        &self,
        target: &Target,
        group: GroupId,
        node: NodeId,
    ) -> Result<Location, ApiError> {
        if target.is_forwarded {
            return Err(ApiError::not_leader(self.leader_of(group)));
        }
        Ok(Location::There(Elsewhere { node, group }))
    }

    /// The node to ask about a group without a replica here: its leader by the last hint, else its
    /// replicas in turn.
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

    /// Waits until another node leads the group than the one that was asked.
    pub(crate) async fn leader_moves(&self, asked: Elsewhere) {
        self.any_leader_moves(&[asked]).await;
    }

    /// Waits until another node leads one of these groups than the one that was asked. A node that
    /// hangs does not answer that it leads no more, and its kernel keeps the connection open; what
    /// the other nodes announce tells. The first moments are not looked at: a node that has handed
    /// over its leadership answers by itself, and its answer says more.
    pub(crate) async fn any_leader_moves(&self, asked: &[Elsewhere]) {
        let since = Instant::now();
        let mut wait = FORWARD_SILENCE_MAX;
        loop {
            tokio::time::sleep(wait).await;
            let moved = asked.iter().any(|Elsewhere { node, group }| {
                let leader = self.known_leader(*group);
                leader.is_some_and(|(leader, _)| leader != *node)
            });
            if moved {
                return;
            }
            wait = if since.elapsed() < FORWARD_IDLE_MIN {
                FORWARD_SILENCE_CHECK_INTERVAL
            } else {
                FORWARD_IDLE_CHECK_INTERVAL
            };
        }
    }

    /// The leader of a group and its term, as far as this node knows.
    pub(crate) fn known_leader(&self, group: GroupId) -> Option<(NodeId, Term)> {
        match self.replicas.get(group) {
            Some(replica) => self.leader_by(Leadership::of(&replica.raft), group),
            None => self.hints.leader(group),
        }
    }

    /// The leader of a group with a replica here, by what the replica sees and what other nodes
    /// have announced.
    // A replica whose disk hangs cannot learn of a new leader: raft changes its vote only once the
    // new one is on disk. Its node is still reachable, and a client that believed it would not find
    // the leader until the node ends. So the leader of a newer term counts, whoever announces it.
    fn leader_by(&self, seen: Leadership, group: GroupId) -> Option<(NodeId, Term)> {
        let (own, term) = match seen {
            Leadership::Ready(term) => return Some((self.node, term)),
            Leadership::Other(node, term) => (Some((node, term)), term),
            Leadership::NotReady(term) | Leadership::Unknown(term) => (None, term),
        };
        let announced = self.hints.leader(group);
        let newer = announced.filter(|(node, announced_term)| {
            *node != self.node
                && (*announced_term > term || own.is_none() && *announced_term == term)
        });
        newer.or(own)
    }

    /// The leader of a group with its client address.
    fn leader_of(&self, group: GroupId) -> Option<Leader> {
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

    /// Adds the current leader to a NOT_LEADER or REPLICA_NOT_CURRENT error that does not name one.
    pub(crate) fn with_leader(&self, error: ApiError, group: GroupId) -> ApiError {
        if error.details().next().is_some() {
            return error;
        }
        match error.reason() {
            Some(Reason::NotLeader) => ApiError::not_leader(self.leader_of(group)),
            Some(Reason::ReplicaNotCurrent) => ApiError::replica_not_current(self.leader_of(group)),
            _ => error,
        }
    }
}

/// The error of a request after its last attempt.
pub(super) fn final_error(failure: ForwardError, target: &Target, safety: Safety) -> ApiError {
    match (failure, safety) {
        (ForwardError::Refused(error), _) => error,
        (ForwardError::Unsent(_), _) => ApiError::no_leader(&target.topic, target.partition),
        (ForwardError::Lost(_) | ForwardError::Failed(_), Safety::Once) => {
            ApiError::outcome_unknown("the connection to the leader was lost")
        }
        (failure @ (ForwardError::Lost(_) | ForwardError::Failed(_)), Safety::Repeatable) => {
            ApiError::new(Reason::NotReady, failure.to_string())
        }
    }
}

/// The attempts of one request: how long they may go on, and the growing pause between two.
pub(crate) struct Attempts {
    deadline: Instant,
    pause: Duration,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self {
            deadline: Instant::now() + LEADER_WAIT_MAX,
            pause: LEADER_POLL_INTERVAL,
        }
    }

    /// Whether to retry: the failure may pass, the request may be repeated, and there is time left.
    /// Returns after the pause.
    async fn again(&mut self, failure: &ForwardError, safety: Safety) -> bool {
        let may_retry = match failure {
            ForwardError::Unsent(_) => true,
            ForwardError::Refused(error) => is_about_leaders(error),
            ForwardError::Lost(_) => safety == Safety::Repeatable,
            ForwardError::Failed(_) => false,
        };
        may_retry && self.in_time().await
    }

    /// Whether there is time left. Returns after the pause.
    pub(crate) async fn in_time(&mut self) -> bool {
        if Instant::now() + self.pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LEADER_POLL_INTERVAL * 8);
        true
    }
}

/// Whether a request was refused because the leader is not known yet. It was not carried out then.
pub(crate) fn is_about_leaders(error: &ApiError) -> bool {
    matches!(error.reason(), Some(Reason::NotLeader | Reason::NoLeader))
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use lograft_core::acl::Principal;
    use lograft_core::metadata::{Command, Metadata, Outcome, Registration, RegistrationToken};
    use lograft_core::{ClusterId, FeatureLevel, LogIndex, RetentionPolicy, TopicSettings};

    use super::*;
    use crate::serving::meta_group::{MetaProposal, ProposeMeta, ProposeMetaError};

    #[tokio::test(start_paused = true)]
    async fn retries_for_about_the_time_of_an_election() {
        let started = Instant::now();
        let mut attempts = Attempts::new();
        let moved = ForwardError::Refused(ApiError::not_leader(None));
        let mut retries = 0;
        while attempts.again(&moved, Safety::Once).await {
            retries += 1;
        }
        assert!(started.elapsed() <= LEADER_WAIT_MAX && started.elapsed() * 2 > LEADER_WAIT_MAX);
        assert!((5..50).contains(&retries), "{retries}");
    }

    /// Metadata that are always current, and never change.
    struct Current;

    impl ProposeMeta for Current {
        fn propose(&self, _: MetaProposal) -> BoxFuture<'_, Result<Outcome, ProposeMetaError>> {
            unreachable!("nothing is proposed")
        }

        fn check_current(&self) -> Result<(), ApiError> {
            Ok(())
        }
    }

    fn current() -> MetaHandle {
        Arc::new(Current)
    }

    struct Announced(NodeId, Term);

    impl LeaderHints for Announced {
        fn leader(&self, _: GroupId) -> Option<(NodeId, Term)> {
            Some((self.0, self.1))
        }
    }

    #[test]
    fn an_announced_leader_of_a_newer_term_replaces_what_a_stuck_replica_sees() {
        let leader = |seen, announced: (u64, u64)| {
            let hints = Announced(NodeId(announced.0), Term(announced.1));
            let meta = MetaView::new(lograft_core::metadata::Metadata::default());
            let replicas = ReplicaMap::default();
            let locator = Locator::new(NodeId(1), replicas, meta, Arc::new(hints), current());
            let found = locator.leader_by(seen, GroupId(7));
            found.map(|(node, term)| (node.get(), term.get()))
        };
        // A leader whose disk hangs cannot step down: it has not saved the vote of the new term.
        assert_eq!(leader(Leadership::NotReady(Term(5)), (2, 6)), Some((2, 6)));
        assert_eq!(leader(Leadership::NotReady(Term(5)), (2, 4)), None);
        assert_eq!(
            leader(Leadership::NotReady(Term(5)), (1, 6)),
            None,
            "itself"
        );
        assert_eq!(leader(Leadership::Unknown(Term(5)), (2, 5)), Some((2, 5)));
        let follower = Leadership::Other(NodeId(3), Term(5));
        assert_eq!(leader(follower, (2, 6)), Some((2, 6)));
        assert_eq!(leader(follower, (2, 5)), Some((3, 5)));
        assert_eq!(leader(Leadership::Ready(Term(5)), (2, 4)), Some((1, 5)));
    }

    /// Partition 0 of the topic `t`.
    fn target() -> Target {
        Target {
            topic: "t".to_owned(),
            topic_id: None,
            partition: 0,
            is_forwarded: false,
            principal: Arc::new(Principal::Operator),
        }
    }

    /// A cluster of one node with the topic `t`.
    fn metadata() -> Metadata {
        let first_node = Registration {
            token: RegistrationToken::from_random([1; 16]),
            name: "n".to_owned(),
            client_address: "n:9400".to_owned(),
            peer_address: "n:9401".to_owned(),
            zone: String::new(),
        };
        let init = Command::InitCluster {
            cluster_id: ClusterId::from_bytes([1; 16]),
            first_node,
            level: FeatureLevel::ZERO,
        };
        let create = Command::CreateTopic {
            follows_default: false,
            name: "t".to_owned(),
            retention: RetentionPolicy::default(),
            settings: TopicSettings::default(),
            assignment: vec![vec![NodeId(1)]],
        };
        let mut metadata = Metadata::default();
        for (index, command) in (1..).zip([init, create]) {
            metadata.apply(&command, LogIndex(index)).unwrap();
        }
        metadata
    }

    /// Announces node 2 as the leader for a second, then node 3.
    struct Hangs(Instant);

    impl LeaderHints for Hangs {
        fn leader(&self, _: GroupId) -> Option<(NodeId, Term)> {
            let has_moved = self.0.elapsed() > Duration::from_secs(1);
            let leader = if has_moved { (3, 6) } else { (2, 5) };
            Some((NodeId(leader.0), Term(leader.1)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_hangs_is_asked_only_until_another_one_leads() {
        for safety in [Safety::Repeatable, Safety::Once] {
            let started = Instant::now();
            let replicas = ReplicaMap::default();
            let hints = Arc::new(Hangs(started));
            let view = MetaView::new(metadata());
            let locator = Locator::new(NodeId(9), replicas, view, hints, current());
            let here = |_| async { unreachable!("this node has no replica") };
            let there = |leader: Elsewhere| async move {
                match leader.node {
                    NodeId(2) => std::future::pending().await,
                    node => Ok::<_, ForwardError>(node),
                }
            };
            let outcome = locator.at_leader(&target(), safety, here, there).await;
            match safety {
                Safety::Repeatable => assert_eq!(outcome.unwrap(), NodeId(3)),
                Safety::Once => {
                    assert_eq!(outcome.unwrap_err().reason(), Some(Reason::Timeout));
                }
            }
            let taken = started.elapsed();
            let noticed = Duration::from_secs(1) + 3 * FORWARD_SILENCE_CHECK_INTERVAL;
            assert!(
                taken > Duration::from_secs(1) && taken < noticed,
                "{taken:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_reads_are_retried_when_the_outcome_is_unknown() {
        let mut attempts = Attempts::new();
        let lost = ForwardError::Lost("broken pipe".to_owned());
        assert!(!attempts.again(&lost, Safety::Once).await);
        assert!(attempts.again(&lost, Safety::Repeatable).await);
        let unknown = ForwardError::Refused(ApiError::unknown_topic("t"));
        assert!(!attempts.again(&unknown, Safety::Repeatable).await);
        let target = target();
        let error = final_error(lost, &target, Safety::Once);
        assert_eq!(error.reason(), Some(Reason::Timeout));
    }
}
