//! Waits as sentences for people: the one place where their text is made.

use std::fmt;

use lograft_crds::limits::EDITED_FIELDS_MAX_COUNT;
use lograft_crds::names::TAINT_OUT_OF_SERVICE;

use super::{Intervention, LostHost, LostHostWait, Obstacle, ObstacleKind, Progress, Wait};
use crate::cluster::disk_host::HostLoss;
use crate::cluster::view::FeatureLevel;
use crate::fleet::Held;
use crate::time::time_text;

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intervention(intervention) => intervention.fmt(f),
            Self::Retry(failure) => write!(f, "retrying: {failure}"),
            Self::UnderWay(progress) => progress.fmt(f),
            Self::Obstacle(obstacle) => obstacle.fmt(f),
            Self::HostBack(lost) => lost.fmt(f),
            Self::Majority { group } => write!(
                f,
                "{group} has no leader, so a majority of its voters is missing"
            ),
            _ => {
                write!(f, "waiting for ")?;
                self.fmt_awaited(f)
            }
        }
    }
}

impl Wait {
    /// What is waited for.
    fn fmt_awaited(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intervention(_)
            | Self::Retry(_)
            | Self::UnderWay(_)
            | Self::Obstacle(_)
            | Self::HostBack(_)
            | Self::Majority { .. } => Ok(()),
            Self::RootLoaded => write!(f, "every node to load the new CA root"),
            Self::GossipKeysLoaded => write!(f, "every node to load the changed gossip keys"),
            Self::ClaimGrown { claim } => write!(f, "PVC {claim} to grow"),
            Self::ClaimBound { claim } => write!(f, "PVC {claim} to be bound"),
            Self::FormerSetDeleted => {
                write!(f, "deletion of the StatefulSet of a former LogCluster")
            }
            Self::FormerPodsDeleted { pods, disks } => write!(
                f,
                "deletion of {pods} pod(s) and {disks} PVC(s) of a former LogCluster"
            ),
            Self::NodesStarted { count, first, why } => {
                write!(f, "{count} node(s) to start and answer, first {first}")?;
                why.iter().try_for_each(|why| write!(f, ": {why}"))
            }
            Self::ClaimDeleted { claim } => write!(
                f,
                "deletion of PVC {claim}, left over from a decommissioned node"
            ),
            Self::PodReady { pod } => {
                write!(
                    f,
                    "pod {pod} to become ready before the next one is replaced"
                )
            }
            Self::ViewForRollout => write!(f, "a node to describe the cluster for the rollout"),
            Self::MajorityWithout { pod, groups } => {
                write!(f, "{} to have a majority without pod {pod}", listed(groups))
            }
            Self::StopPrepared(stop) => {
                write!(
                    f,
                    "pod {} to be prepared for its stop: {}",
                    stop.pod, stop.why
                )
            }
            Self::Turn(held) => write!(f, "{held}"),
            Self::ViewForDecommission => {
                write!(f, "a node to describe the cluster before nodes are removed")
            }
            Self::NodeDecommissioned { node_id, pod } => {
                write!(
                    f,
                    "node {node_id} ({pod}) to hand over its replicas and leave"
                )
            }
            Self::Leader { group } => write!(f, "{group} to elect a leader"),
            Self::AnyAnswer { why } => write!(f, "a node to answer: {why}"),
            Self::NodesReady { missing, wanted } => {
                write!(f, "{missing} of {wanted} node(s) to become ready")
            }
            Self::HttpProgram { image } => write!(
                f,
                "a version of the nodes that serves HTTP, 0.3.0 or later, which \
                 spec.listeners.http needs; the image is {image}"
            ),
            Self::LevelFinalized { .. }
            | Self::AuthorizationEffective { .. }
            | Self::HttpLevel { .. } => self.fmt_level(f),
        }
    }

    /// The feature level that is waited for.
    fn fmt_level(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LevelFinalized {
                level,
                version,
                after_seconds,
            } => write!(
                f,
                "all nodes to run {version} in good health for {after_seconds} s, then {level} is \
                 finalized; until then the former version can be restored"
            ),
            Self::AuthorizationEffective { mode, finalized } => write!(
                f,
                "{} to be finalized, which authorization {} needs; {finalized} is, \
                 and until then every user may do everything",
                FeatureLevel::AUTHORIZATION,
                mode.name()
            ),
            Self::HttpLevel { finalized } => write!(
                f,
                "{} to be finalized, which spec.listeners.http needs; {finalized} is, and \
                 until then HTTP is not served",
                FeatureLevel::NEWER_FIELDS
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for LostHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pod,
            claim,
            host,
            loss,
            why,
        } = self;
        let state = match loss {
            HostLoss::Gone => "gone",
            HostLoss::OutOfService { .. } => "out of service",
            HostLoss::Unreachable { .. } => "unreachable",
        };
        write!(f, "host {host} of PVC {claim} is {state}: ")?;
        match why {
            LostHostWait::Releasing => {
                write!(
                    f,
                    "deleting the PVC, so that {pod} starts elsewhere as a new node"
                )
            }
            LostHostWait::Time { after_seconds } => write!(
                f,
                "after {after_seconds} s the PVC is deleted, and {pod} starts elsewhere as a new node"
            ),
            LostHostWait::Kept => {
                let value = match loss {
                    HostLoss::Gone | HostLoss::OutOfService { .. } => "Replace",
                    HostLoss::Unreachable { .. } => "ReplaceUnreachable",
                };
                write!(
                    f,
                    "{pod} can start only there; set spec.recovery.lostHost to {value}, or delete \
                     the PVC and the pod, to start it elsewhere without its data"
                )
            }
            LostHostWait::Registered => write!(
                f,
                "{pod} can start only there; if the host does not return, delete its Node, or \
                 taint it {TAINT_OUT_OF_SERVICE}, or set spec.recovery.lostHost to \
                 ReplaceUnreachable, to start the pod elsewhere without its data"
            ),
            LostHostWait::Movable => write!(
                f,
                "{pod} can start elsewhere with its disk once the host is known to be off; then \
                 delete its Node, or taint it {TAINT_OUT_OF_SERVICE}"
            ),
            LostHostWait::NotDescribed => {
                write!(f, "the PVC is kept until a node describes the cluster")
            }
            LostHostWait::Majority { groups } => write!(
                f,
                "the PVC is kept, because {} would have no majority without it",
                listed(groups)
            ),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            pod,
            claim,
            why,
        } = self;
        match kind {
            ObstacleKind::Created => write!(f, "pod {pod} cannot be created: {why}"),
            ObstacleKind::Bound => write!(f, "PVC {claim} cannot be bound: {why}"),
            ObstacleKind::Grown => write!(f, "PVC {claim} cannot grow: {why}"),
            ObstacleKind::Scheduled => write!(f, "pod {pod} cannot be scheduled: {why}"),
            ObstacleKind::Started => write!(f, "pod {pod} does not start: {why}"),
        }
    }
}

/// The goal that a changed template waits for.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FleetPaused => write!(
                f,
                "the platform team to resume changes that come with the operator"
            ),
            Self::Window(opens) => write!(
                f,
                "its next maintenance window, which opens at {}, to replace outdated pods",
                time_text(*opens)
            ),
            Self::NotHealthy => write!(
                f,
                "the cluster to be ready before a change that comes with the operator is applied"
            ),
            Self::Survey => write!(f, "the operator to have looked at all LogClusters"),
            Self::Stuck(other) => write!(
                f,
                "the rollout of LogCluster {other}, which is stuck with the same change"
            ),
            Self::Canary(other) => write!(
                f,
                "the rollout of LogCluster {other}, which gets the change first"
            ),
            Self::Soak(other, until) => write!(
                f,
                "LogCluster {other}, which got the change first, to stay healthy until {}",
                time_text(*until)
            ),
            Self::Sick(other) => write!(
                f,
                "LogCluster {other} to be ready, which it is not since it got the same change"
            ),
            Self::Wave(other) => write!(
                f,
                "the rollout of LogCluster {other}, which has a lower lograft.io/rollout-wave"
            ),
            Self::Slots(count) => write!(f, "one of {count} rollouts of other LogClusters to end"),
            Self::Turn(other) => write!(f, "the rollout of LogCluster {other}, which is next"),
        }
    }
}

/// The first group and the number of the others.
fn listed(groups: &[String]) -> String {
    match groups {
        [] => "every group".to_owned(),
        [group] => group.clone(),
        [first, others @ ..] => format!("{first} and {} more group(s)", others.len()),
    }
}

/// The first fields and the number of the others.
pub(crate) fn shortened(fields: &[String]) -> String {
    let named = fields.iter().take(EDITED_FIELDS_MAX_COUNT).cloned();
    let text = named.collect::<Vec<_>>().join(", ");
    match fields.len().saturating_sub(EDITED_FIELDS_MAX_COUNT) {
        0 => text,
        others => format!("{text} and {others} more field(s)"),
    }
}

fn downgrade_advice(running: &str, requested: &str, finalized: Option<FeatureLevel>) -> String {
    match finalized {
        Some(level) => format!(
            "{level} is finalized, so {requested} would not start: set spec.version or spec.image \
             to {running} or later"
        ),
        None => {
            format!("set spec.update.allowDowngrade to true, or spec.version to {running} or later")
        }
    }
}

fn changer(managers: &[String]) -> String {
    if managers.is_empty() {
        "an admission webhook or policy".to_owned()
    } else {
        managers.join(", ")
    }
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSpec { why } => write!(f, "invalid spec: {why}"),
            Self::Paused => write!(f, "spec.paused is true; set it to false to resume"),
            Self::UpdatePaused => write!(
                f,
                "spec.update.paused is true; set it to false to replace outdated pods"
            ),
            Self::ForeignSecret { secret, owner } => write!(
                f,
                "Secret {secret} belongs to {owner}; delete it, so that the operator can create it"
            ),
            Self::ForeignObject { key, owner } => write!(
                f,
                "{key} belongs to {owner}; delete it, so that the operator can create it"
            ),
            Self::Contested {
                key,
                fields,
                managers,
            } => write!(
                f,
                "{key}: {} is changed after each write of the operator, by {}; exempt the object \
                 there, until then the operator writes it less often",
                shortened(fields),
                changer(managers),
            ),
            Self::DowngradeRefused {
                running,
                requested,
                finalized,
            } => write!(
                f,
                "version {requested} is below {running}, which the nodes run; {}",
                downgrade_advice(running, requested, *finalized)
            ),
            Self::ForeignDisk { found, own } => write!(
                f,
                "a disk belongs to cluster {found}, not to {own}; delete its PVC or this LogCluster"
            ),
            Self::DifferentClusters { ids: [one, other] } => write!(
                f,
                "the disks belong to different clusters, {one} and {other}; delete the PVCs of one"
            ),
            Self::DiskFull { claim } => write!(
                f,
                "PVC {claim} is nearly full; raise spec.storage.size or \
                 spec.storage.autoGrow.maxSize, or lower the retention"
            ),
            Self::GrowthRefused(refused) => {
                write!(f, "PVC {} cannot grow: {}", refused.claim, refused.why)
            }
            Self::BrokenPod { pod, why } => {
                write!(
                    f,
                    "new pod {pod} does not start: {why}; fix or revert the spec"
                )
            }
            Self::LevelNotFinalized { level, finalized } => write!(
                f,
                "the upgrade is not finalized: all nodes support {level}, the cluster uses \
                 {finalized}; run `lograft cluster finalize`, after which no node can go back"
            ),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExpiredCertificate { name } => write!(f, "the certificate of {name} has expired"),
            Self::IssuingCertificates => write!(f, "issuing certificates"),
            Self::CreatingObject { key } => write!(f, "creating {key}"),
            Self::Bootstrapping => write!(f, "bootstrapping the cluster on the first node"),
            Self::ReplacingPods { count } => write!(f, "{count} pod(s) left to replace"),
            Self::NodeUnreachable { node_id, pod } => {
                write!(f, "node {node_id} ({pod}) is unreachable")
            }
            Self::CheckRaised { check, others } => {
                write!(f, "{}; next step: {}", check.text, check.next_step)?;
                match others {
                    0 => Ok(()),
                    more => write!(f, " (and {more} more checks)"),
                }
            }
            Self::SingleReplica { text } => write!(f, "{text}"),
            Self::SingleNode => write!(f, "the cluster has one node: every record exists once"),
            Self::Starting => write!(f, "the cluster has not been ready yet"),
            Self::NotAllWritable => write!(f, "not every partition is known to accept writes"),
            Self::StartingPods { ready, pods } => write!(f, "{ready} of {pods} nodes are ready"),
        }
    }
}
