//! Recovers groups that lost their majority, on the decision of an operator: which replica
//! survives, and what may be lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::limits::{
    RECOVER_FOLLOW_MAX, RECOVER_GROUPS_MAX_COUNT, RECOVER_INTERVAL, RECOVER_WAIT_MAX,
};
use lograft_core::metadata::{Command, Metadata, Partition};
use lograft_core::{GroupId, NodeId, Reason, RecoveryEpoch, majority_of};
use tokio::time::Instant;
use tracing::warn;

use super::cluster_report::ClusterReporter;
use super::cluster_report::reports::Reports;
use super::node_report::ReplicaReport;
use crate::clock::Clock;
use crate::error::ApiError;
use crate::serving::meta_group::{MetaHandle, MetaProposal};
use crate::state_machine::MetaView;

/// A request to recover groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoverRequest {
    /// The group; all that have lost their majority if there is none.
    pub(crate) group: Option<GroupId>,
    /// The node whose replica survives; the one with the longest log if there is none.
    pub(crate) survivor: Option<NodeId>,
    /// Whether nothing changes.
    pub(crate) is_dry_run: bool,
}

/// A group without its majority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostGroup {
    pub(crate) group: GroupId,
    /// The report of each of its replicas, if its node answers and has one.
    pub(crate) replicas: Vec<(NodeId, Option<ReplicaReport>)>,
    /// The decision about it.
    pub(crate) decision: Decision,
    /// Its recovery epoch.
    pub(crate) epoch: RecoveryEpoch,
    /// Whether the survivor leads.
    pub(crate) is_done: bool,
}

/// The decision about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This node's replica survives.
    Survivor(NodeId),
    /// The recovery from this node's replica is in progress.
    InProgress(NodeId),
    /// It cannot be recovered.
    Refused(Refusal),
}

/// Why a group is not recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It has a leader, or can elect one.
    #[error("a majority of its replicas answers: it needs no recovery")]
    MajorityIntact,
    /// No replica is left.
    #[error("none of its replicas answers with an intact log")]
    NoReplica,
    /// The named replica is none, or does not answer.
    #[error("node {0} does not answer with an intact replica of it")]
    NotIntact(NodeId),
    /// It has no log yet.
    #[error("it has not started: its replicas start it once a majority answers")]
    NotStarted,
}

impl Refusal {
    const fn reason(self) -> Reason {
        match self {
            Self::MajorityIntact => Reason::MajorityIntact,
            Self::NotIntact(_) => Reason::InvalidArgument,
            Self::NoReplica | Self::NotStarted => Reason::NotReady,
        }
    }
}

/// Recovers groups. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RecoveryAdmin {
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
    pub(crate) cluster: Arc<ClusterReporter>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The outcome of a request, and whether there are more groups to recover.
pub(crate) type Recovered = (Vec<LostGroup>, bool);

impl RecoveryAdmin {
    /// Recovers a group, or all that have lost their majority. One that was named is refused if it
    /// cannot be recovered. The metadata need a majority.
    pub(crate) async fn recover(
        &self,
        request: RecoverRequest,
        by: &Arc<Principal>,
    ) -> Result<Recovered, ApiError> {
        // A node that has just started may know no partitions yet, and none would seem lost.
        self.proposer.check_current()?;
        let reports = self.cluster.collect().await;
        let metadata = self.view.load();
        if request.survivor.is_none() {
            check_followers(&metadata, &reports, self.clock.now_ms())?;
        }
        let mut lost = match request.group {
            Some(group) => vec![named(&metadata, group, &reports, request.survivor)?],
            None => all_lost(&metadata, &reports),
        };
        let is_recoverable = |lost: &&LostGroup| matches!(lost.decision, Decision::Survivor(_));
        let recoverable_count = lost.iter().filter(is_recoverable).count();
        let has_more = recoverable_count > RECOVER_GROUPS_MAX_COUNT;
        // Those that cannot be recovered last: they must not keep the others from their turn.
        lost.sort_by_key(|lost| !matches!(lost.decision, Decision::Survivor(_)));
        lost.truncate(RECOVER_GROUPS_MAX_COUNT);
        if request.is_dry_run {
            return Ok((lost, has_more));
        }
        for lost in lost.iter().filter(is_recoverable) {
            self.propose(lost, by).await?;
        }
        self.wait(&mut lost).await;
        Ok((lost, has_more))
    }

    async fn propose(&self, lost: &LostGroup, by: &Arc<Principal>) -> Result<(), ApiError> {
        let Decision::Survivor(node) = lost.decision else {
            return Ok(());
        };
        let (group, from) = (lost.group, lost.epoch);
        let command = Command::RecoverPartition {
            group,
            node,
            from,
            at_ms: self.clock.now_ms(),
        };
        self.proposer.propose(MetaProposal::of(by, command)).await?;
        warn!(%group, node_id = %node, by = %by, "group is recovered from one replica");
        Ok(())
    }

    /// Waits until the survivors lead, or for a while.
    async fn wait(&self, lost: &mut [LostGroup]) {
        let deadline = Instant::now() + RECOVER_WAIT_MAX;
        loop {
            let metadata = self.view.load();
            for lost in lost.iter_mut() {
                if let Some(place) = metadata.group(lost.group) {
                    lost.epoch = place.partition.epoch();
                    lost.is_done = place.partition.pending_recovery().is_none();
                }
            }
            let is_settled =
                |lost: &LostGroup| lost.is_done || matches!(lost.decision, Decision::Refused(_));
            if lost.iter().all(is_settled) || Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(RECOVER_INTERVAL).await;
        }
    }
}

/// Fails while a node that lives follows recovered metadata: it restarts, and its replica may have
/// the longest log. Not if it has not answered for long.
fn check_followers(metadata: &Metadata, reports: &Reports, now_ms: i64) -> Result<(), ApiError> {
    let Some(recovery) = &metadata.recoveries().metadata else {
        return Ok(());
    };
    let age_ms = u128::try_from(now_ms.saturating_sub(recovery.at_ms)).unwrap_or_default();
    let is_recent = age_ms <= RECOVER_FOLLOW_MAX.as_millis();
    let has_followed = |node: NodeId| {
        let Some(report) = reports.node(node) else {
            return !is_recent;
        };
        let meta = reports.replica(node, GroupId::META);
        meta.is_some_and(|meta| meta.recovery_epoch >= recovery.epoch)
            && report.waits_for.is_empty()
    };
    let members = metadata.members().map(|node| node.id);
    let mut live = members.filter(|node| !recovery.lost.contains(node));
    match live.find(|node| !has_followed(*node)) {
        None => Ok(()),
        Some(node) => {
            let text = format!(
                "node {node} does not have the recovered metadata yet: wait, or name the survivor"
            );
            Err(ApiError::new(Reason::NotReady, text).with("node", node))
        }
    }
}

fn named(
    metadata: &Metadata,
    group: GroupId,
    reports: &Reports,
    survivor: Option<NodeId>,
) -> Result<LostGroup, ApiError> {
    let unknown = lograft_core::metadata::MetaError::UnknownGroup { group };
    let place = metadata.group(group).ok_or(unknown)?;
    let lost = assess(place.partition, reports, survivor);
    match lost.decision {
        Decision::Refused(refusal) => {
            let text = format!("cannot recover group {group}: {refusal}");
            Err(ApiError::new(refusal.reason(), text))
        }
        Decision::Survivor(_) | Decision::InProgress(_) => Ok(lost),
    }
}

/// All groups that have lost their majority, also those that cannot be recovered.
fn all_lost(metadata: &Metadata, reports: &Reports) -> Vec<LostGroup> {
    let all = metadata.partitions().map(|place| place.partition);
    all.map(|partition| assess(partition, reports, None))
        .filter(|lost| {
            let is_fine = [Refusal::MajorityIntact, Refusal::NotStarted].map(Decision::Refused);
            !is_fine.contains(&lost.decision)
        })
        .collect()
}

fn assess(partition: &Partition, reports: &Reports, asked: Option<NodeId>) -> LostGroup {
    let group = partition.group;
    let pending = partition.pending_recovery();
    let former = pending.map_or(&[][..], |recovery| &recovery.former);
    let nodes: BTreeSet<NodeId> = partition.hosts().chain(former.iter().copied()).collect();
    let replicas: Vec<_> = nodes
        .into_iter()
        .map(|node| (node, reports.replica(node, group).cloned()))
        .collect();
    let decision = decide(partition, reports, (&replicas, asked));
    LostGroup {
        group,
        replicas,
        decision,
        epoch: partition.epoch(),
        is_done: false,
    }
}

fn decide(
    partition: &Partition,
    reports: &Reports,
    (replicas, asked): (&[(NodeId, Option<ReplicaReport>)], Option<NodeId>),
) -> Decision {
    let refused = Decision::Refused;
    if !partition.started {
        return refused(Refusal::NotStarted);
    }
    let is_intact =
        |report: &ReplicaReport| !report.corrupt && report.recovery_epoch <= partition.epoch();
    let intact = replicas.iter().filter_map(|(node, report)| {
        let report = report.as_ref().filter(|report| is_intact(report))?;
        Some((*node, report))
    });
    let intact: Vec<(NodeId, &ReplicaReport)> = intact.collect();
    let length = |report: &ReplicaReport| {
        let ReplicaReport {
            last_term,
            last_index,
            high_watermark,
            ..
        } = report;
        (*last_term, *last_index, *high_watermark)
    };
    let Some((longest, report)) = intact.iter().rev().max_by_key(|(_, report)| length(report))
    else {
        return refused(Refusal::NoReplica);
    };
    if reports.leader(partition.group).is_some() || has_majority(partition, report, &intact) {
        return refused(Refusal::MajorityIntact);
    }
    let has_replica = |node| intact.iter().any(|(known, _)| *known == node);
    if let Some(recovery) = partition.pending_recovery() {
        let node = recovery.epoch.node();
        if asked.is_none_or(|asked| asked == node) && has_replica(node) {
            return Decision::InProgress(node);
        }
    }
    match asked {
        None => Decision::Survivor(*longest),
        Some(asked) if has_replica(asked) => Decision::Survivor(asked),
        Some(asked) => refused(Refusal::NotIntact(asked)),
    }
}

/// Whether the group can elect a leader, by the membership in the longest log. Not while a recovery
/// is in progress: then the survivor alone decides.
fn has_majority(
    partition: &Partition,
    longest: &ReplicaReport,
    intact: &[(NodeId, &ReplicaReport)],
) -> bool {
    if partition.pending_recovery().is_some() {
        return false;
    }
    let can_elect = |voters: &BTreeSet<NodeId>| {
        let can_vote =
            |(node, report): &&(NodeId, &ReplicaReport)| voters.contains(node) && !report.fenced;
        intact.iter().filter(can_vote).count() >= majority_of(voters.len())
    };
    let assigned: BTreeSet<NodeId> = partition.replicas.iter().copied().collect();
    let voters = if longest.voters.is_empty() {
        &assigned
    } else {
        &longest.voters
    };
    can_elect(voters) && (longest.joint_voters.is_empty() || can_elect(&longest.joint_voters))
}

#[cfg(test)]
mod tests {
    use lograft_core::metadata::Recovery;
    use lograft_core::{LogIndex, Term};

    use super::*;
    use crate::control::test_metadata::ids;
    use crate::control::test_status::reports;

    const GROUP: GroupId = GroupId(1);

    fn partition() -> Partition {
        Partition {
            group: GROUP,
            replicas: ids(&[1, 2, 3]),
            target: None,
            leaving: Vec::new(),
            started: true,
            repair: None,
            recovery: None,
        }
    }

    fn replica(last_term: u64, last_index: u64) -> ReplicaReport {
        ReplicaReport {
            group: GROUP,
            last_term: Term(last_term),
            last_index: LogIndex(last_index),
            voters: ids(&[1, 2, 3]),
            ..ReplicaReport::default()
        }
    }

    fn decided(partition: &Partition, replicas: &[(u64, ReplicaReport)], asked: u64) -> Decision {
        let asked = (asked > 0).then_some(NodeId(asked));
        assess(partition, &reports(replicas), asked).decision
    }

    #[test]
    fn the_longest_log_survives_and_a_majority_is_never_overruled() {
        let one = partition();
        let refused = Decision::Refused;
        assert_eq!(decided(&one, &[], 0), refused(Refusal::NoReplica));
        let survivor = Decision::Survivor;
        let alone = [(3, replica(2, 9))];
        assert_eq!(decided(&one, &alone, 0), survivor(NodeId(3)));
        assert_eq!(decided(&one, &alone, 3), survivor(NodeId(3)));
        let absent = refused(Refusal::NotIntact(NodeId(1)));
        assert_eq!(decided(&one, &alone, 1), absent);
        let two = [(1, replica(2, 9)), (3, replica(2, 9))];
        assert_eq!(decided(&one, &two, 1), refused(Refusal::MajorityIntact));
        // Two of five.
        let of_five = |last_term, last_index| ReplicaReport {
            voters: ids(&[1, 2, 3, 4, 5]),
            ..replica(last_term, last_index)
        };
        let five = Partition {
            replicas: ids(&[1, 2, 3, 4, 5]),
            ..partition()
        };
        let two = [(1, of_five(3, 7)), (2, of_five(2, 90))];
        assert_eq!(decided(&five, &two, 0), survivor(NodeId(1)), "a later term");
        assert_eq!(decided(&five, &two, 2), survivor(NodeId(2)), "as asked");
    }

    #[test]
    fn damaged_and_fenced_replicas_are_no_majority() {
        let one = partition();
        let damaged = ReplicaReport {
            corrupt: true,
            ..replica(0, 0)
        };
        let fenced = ReplicaReport {
            fenced: true,
            ..replica(2, 3)
        };
        let replicas = [(1, damaged.clone()), (2, replica(2, 9)), (3, fenced)];
        assert_eq!(decided(&one, &replicas, 0), Decision::Survivor(NodeId(2)));
        let only_damaged = Partition {
            replicas: ids(&[1]),
            ..partition()
        };
        let none = Decision::Refused(Refusal::NoReplica);
        assert_eq!(decided(&only_damaged, &[(1, damaged)], 0), none);
    }

    /// By the metadata a majority is there, by the group's membership it is not.
    #[test]
    fn the_membership_of_the_log_decides_about_the_majority() {
        let moved = |voters: &[u64]| ReplicaReport {
            voters: ids(voters),
            ..replica(2, 9)
        };
        let moving = Partition {
            target: Some(ids(&[1, 4, 5])),
            ..partition()
        };
        let behind = replica(2, 3);
        let replicas = [(1, moved(&[1, 4, 5])), (2, behind.clone()), (3, behind)];
        assert_eq!(
            decided(&moving, &replicas, 0),
            Decision::Survivor(NodeId(1))
        );
        let joint = ReplicaReport {
            joint_voters: ids(&[1, 4, 5]),
            ..moved(&[1, 2, 3])
        };
        let replicas = [(1, joint.clone()), (2, joint)];
        assert_eq!(
            decided(&moving, &replicas, 0),
            Decision::Survivor(NodeId(1))
        );
    }

    #[test]
    fn another_survivor_is_named_only_if_the_first_one_is_gone_or_the_operator_says_so() {
        let epoch = RecoveryEpoch::new(1, NodeId(3)).unwrap();
        let recovery = Recovery {
            epoch,
            at_ms: 1,
            former: ids(&[1, 2]),
            is_done: false,
        };
        let pending = Partition {
            replicas: ids(&[3]),
            recovery: Some(recovery),
            ..partition()
        };
        let both = [(1, replica(2, 9)), (3, replica(2, 9))];
        let in_progress = Decision::InProgress(NodeId(3));
        assert_eq!(decided(&pending, &both, 0), in_progress);
        assert_eq!(decided(&pending, &both, 1), Decision::Survivor(NodeId(1)));
        let first = &both[..1];
        assert_eq!(decided(&pending, first, 0), Decision::Survivor(NodeId(1)));
    }

    #[test]
    fn a_live_node_must_have_followed_recovered_metadata_before_its_replica_is_given_up() {
        use crate::control::test_metadata::{apply, cluster};
        let mut metadata = cluster(3);
        let level = lograft_core::FeatureLevel::CURRENT;
        apply(&mut metadata, &Command::FinalizeLevel { level });
        let now_ms = 1_000_000_000;
        let check = |metadata: &Metadata, replicas: &[(u64, ReplicaReport)], now_ms| {
            check_followers(metadata, &reports(replicas), now_ms).is_ok()
        };
        assert!(check(&metadata, &[], now_ms), "never recovered");
        let epoch = RecoveryEpoch::new(1, NodeId(1)).unwrap();
        let (at_ms, lost) = (now_ms, ids(&[3]));
        apply(
            &mut metadata,
            &Command::RecoverMetadata { epoch, at_ms, lost },
        );
        let of = |recovery_epoch| ReplicaReport {
            group: GroupId::META,
            recovery_epoch,
            ..ReplicaReport::default()
        };
        let survivor = (1, of(epoch));
        let restarting = [survivor.clone()];
        assert!(!check(&metadata, &restarting, now_ms + 1000));
        let later_ms = now_ms + i64::try_from(RECOVER_FOLLOW_MAX.as_millis()).unwrap() + 1;
        assert!(check(&metadata, &restarting, later_ms), "it is gone");
        let former = [survivor.clone(), (2, of(RecoveryEpoch::ZERO))];
        assert!(!check(&metadata, &former, later_ms), "not restarted yet");
        assert!(check(&metadata, &[survivor, (2, of(epoch))], now_ms));
    }
}
