//! Fences the groups of this node while its disk is older than its promises, and lifts the fence
//! of each group once the others have caught it up. The rules of the fence itself are in
//! `lograft_raft`'s `vote_fence`. Replicas that join their group take the same way.
//!
//! Found by the incarnation: another node has seen a newer one of this node, or the same number of
//! another process. Then, in this order, so that a crash in between repeats it:
//!
//! 1. The replicas are fenced in memory. The transport refuses votes since it heard.
//! 2. All groups on the disk are marked as fenced, durably.
//! 3. The number is raised above the one that was heard, durably. From now on this disk counts as
//!    the current one. Before step 2, a restart would look current with groups that are not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lograft_core::limits::{
    CATCH_UP_TARGET_MAX, CATCH_UP_TARGETS_MAX_COUNT, DISK_FENCE_INTERVAL, DISK_FENCE_MIN,
    FENCED_PROGRESS_MAX, INCARNATION_ANSWERS_INTERVAL, INCARNATION_ANSWERS_MAX,
    INCARNATION_INTERVAL, JOINING_INTERVAL,
};
use lograft_core::metadata::Metadata;
use lograft_core::{
    FeatureLevel, GroupId, Incarnation, LogId, NodeId, SeenIncarnations, majority_of,
};
use lograft_raft::{FenceStage, RaftGroup};
use lograft_storage::Storage;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::local_member::LocalMember;
use super::peer_calls::PeerCalls;
use crate::blocking::run_blocking;
use crate::error_text::error_chain;
use crate::incarnation::group_marks::GroupMarks;
use crate::incarnation::{IncarnationError, IncarnationFiles, Incarnations};
use crate::serving::replica::ReplicaMap;
use crate::state_machine::MetaView;

/// Once it is finalized, every node reports its incarnation, and every leader can lift a fence.
const FENCE_LEVEL: FeatureLevel = FeatureLevel(2);

/// Why this disk is fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskState {
    /// Number of groups that neither vote nor lead on this node.
    pub(crate) fenced_count: u64,
    /// Whether another process runs on a copy of this disk.
    pub(crate) runs_twice: bool,
}

/// The loop. [`DiskFenceParts`] are what it works with.
pub(crate) struct DiskFence {
    parts: DiskFenceParts,
    /// Whether this process has raised its number above one that it heard. Above that of a process
    /// that runs, only if it had not before: of two that did so in turn, neither would come to
    /// rest. The one that was there first remains.
    has_taken_over: bool,
    /// The newest incarnation of a second process of this disk.
    second: Option<Incarnation>,
    /// The promises at the last raise.
    promised: BTreeMap<GroupId, Promise>,
    recorded: Option<Instant>,
    stored: SeenIncarnations,
    progress: BTreeMap<GroupId, (Option<LogId>, Instant)>,
    /// Since when a group is seen fenced.
    fenced_since: BTreeMap<GroupId, Instant>,
    /// Whether a replica waits for the entry that adds it.
    is_joining: bool,
}

/// The term and the end of the log of a replica: they change with each vote and each entry.
type Promise = (lograft_core::Term, Option<LogId>);

/// The parts of a [`DiskFence`].
pub(crate) struct DiskFenceParts {
    pub(crate) member: LocalMember,
    pub(crate) view: MetaView,
    pub(crate) replicas: ReplicaMap,
    pub(crate) storage: Storage,
    pub(crate) peers: Arc<dyn PeerCalls>,
    pub(crate) known: Incarnations,
    pub(crate) files: IncarnationFiles,
    pub(crate) marks: GroupMarks,
    /// Whether the groups may campaign: the others were asked at the start.
    pub(crate) released: watch::Sender<bool>,
    /// The state of the disk, as it changes.
    pub(crate) state: watch::Sender<DiskState>,
}

impl DiskFence {
    pub(crate) fn new(parts: DiskFenceParts) -> Self {
        Self {
            stored: parts.known.all_seen(),
            parts,
            has_taken_over: false,
            second: None,
            promised: BTreeMap::new(),
            recorded: None,
            progress: BTreeMap::new(),
            fenced_since: BTreeMap::new(),
            is_joining: false,
        }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        let released = self.parts.released.clone();
        let answered = self.parts.wait_for_answers();
        // A single replica of a group elects itself: it waits until the others have said what they
        // have seen, or had the time to.
        tokio::select! {
            () = answered => {}
            () = wait_for_news(&self.parts.known) => {}
        }
        self.check_heard().await;
        released.send_replace(true);
        let mut heard = self.parts.known.watch_heard();
        loop {
            self.check_heard().await;
            self.record().await;
            self.check_groups().await;
            let interval = if self.is_joining {
                JOINING_INTERVAL
            } else {
                DISK_FENCE_INTERVAL
            };
            tokio::select! {
                changed = heard.changed() => if changed.is_err() { return },
                () = self.parts.marks.wait_joining() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// Fences all groups if this process is behind what others have seen of the node.
    async fn check_heard(&mut self) {
        let parts = &self.parts;
        let Some(heard) = parts.known.heard() else {
            return;
        };
        let Some(is_enforced) = is_enforced(&parts.view.load()) else {
            return;
        };
        if is_enforced {
            // Also those that are being caught up: a second process may have promised more since.
            for raft in parts.replicas.rafts() {
                raft.fence();
            }
            if let Err(error) = parts.fence_durably().await {
                let error = error_chain(&error);
                return warn!(error, "cannot record that the disk is older, will retry");
            }
        }
        let (heard, is_live) = (heard.incarnation, heard.is_live);
        if is_live && self.has_taken_over {
            if self.second.replace(heard) != Some(heard) {
                error!(
                    number = heard.number,
                    "another process runs on a copy of this disk: stop one of them"
                );
            }
            return;
        }
        match parts.files.raise(&parts.known, heard.number).await {
            Ok(()) => self.has_taken_over = is_enforced,
            Err(error) => {
                let error = error_chain(&error);
                return warn!(error, "cannot raise the incarnation, will retry");
            }
        }
        if is_enforced {
            error!(
                number = heard.number,
                groups = self.parts.marks.fenced().len(),
                "disk is older than the other nodes have seen it: its replicas do not vote until \
                 the others have caught them up"
            );
        }
    }

    /// Raises the number if anything was promised since the last time, and stores what was seen of
    /// others.
    async fn record(&mut self) {
        let is_recent = |recorded: Instant| recorded.elapsed() < INCARNATION_INTERVAL;
        if self.recorded.is_some_and(is_recent) || self.parts.known.heard().is_some() {
            return;
        }
        self.recorded = Some(Instant::now());
        if let Err(error) = self.try_record().await {
            let error = error_chain(&error);
            warn!(error, "cannot record the incarnations, will retry");
        }
    }

    async fn try_record(&mut self) -> Result<(), IncarnationError> {
        let parts = &self.parts;
        let promise = |raft: &RaftGroup| {
            let status = raft.watch();
            let status = status.borrow();
            (status.term, status.last)
        };
        let rafts = parts.replicas.rafts().into_iter();
        let promised: BTreeMap<_, _> = rafts.map(|raft| (raft.group(), promise(&raft))).collect();
        if promised != self.promised {
            parts.files.raise(&parts.known, 0).await?;
            self.promised = promised;
        }
        let metadata = parts.view.load();
        if metadata.members().next().is_some() {
            parts.known.retain(|node| metadata.node(node).is_some());
        }
        let seen = parts.known.all_seen();
        if seen != self.stored {
            parts.files.store_seen(seen.clone()).await?;
            self.stored = seen;
        }
        Ok(())
    }

    /// Fences and lifts, group by group, and publishes the outcome.
    async fn check_groups(&mut self) {
        let rafts = self.parts.replicas.rafts();
        self.fence_marked(&rafts);
        self.lift_unenforced(&rafts);
        self.lift(&rafts).await;
        self.publish(&rafts);
    }

    /// Lifts the fence of replicas that started fenced while it was not known whether the fence is
    /// enforced. It is not: leaders of the former level could not lift it.
    fn lift_unenforced(&self, rafts: &[RaftGroup]) {
        if is_enforced(&self.parts.view.load()) != Some(false) {
            return;
        }
        let marked = self.parts.marks.fenced();
        let unmarked = rafts.iter().filter(|raft| !marked.contains(&raft.group()));
        for raft in unmarked.filter(|raft| !raft.fence_stage().is_lifted()) {
            raft.lift_fence();
        }
    }

    /// Fences replicas that started while the marks changed.
    fn fence_marked(&self, rafts: &[RaftGroup]) {
        let fenced = self.parts.marks.fenced();
        for raft in rafts {
            if fenced.contains(&raft.group()) && raft.fence_stage().is_lifted() {
                raft.fence();
            }
        }
    }

    /// Lifts the fence of groups that were caught up, and asks for the targets of the others.
    async fn lift(&mut self, rafts: &[RaftGroup]) {
        if self.parts.known.heard().is_some() {
            return;
        }
        let mut asking = Vec::new();
        for raft in rafts {
            let (group, now) = (raft.group(), Instant::now());
            match raft.fence_stage() {
                FenceStage::Lifted => {
                    self.progress.remove(&group);
                    self.fenced_since.remove(&group);
                    // It was asked to vote or to lead, and did so.
                    if self.parts.marks.is_joining(group) {
                        self.parts.lift_caught_up(raft).await;
                    }
                }
                FenceStage::Joining(None) => asking.push(raft),
                FenceStage::Joining(Some(_)) if raft.is_caught_up_to_target() => {
                    self.parts.lift_caught_up(raft).await;
                }
                FenceStage::Joining(Some(_)) => {}
                FenceStage::Asking => {
                    self.fenced_since.entry(group).or_insert(now);
                    asking.push(raft);
                }
                FenceStage::CatchingUp(_) if raft.is_caught_up_to_target() => {
                    // Elections from before have ended by then, and all other nodes have heard of
                    // this process: should a second one run, one of both has learned of it.
                    let since = *self.fenced_since.entry(group).or_insert(now);
                    if now.duration_since(since) >= DISK_FENCE_MIN {
                        self.parts.lift_caught_up(raft).await;
                    }
                }
                FenceStage::CatchingUp(_) => self.check_progress(raft),
            }
        }
        let parts = &self.parts;
        futures_util::stream::iter(&asking)
            .for_each_concurrent(CATCH_UP_TARGETS_MAX_COUNT, |raft| parts.ask(raft))
            .await;
        let is_joining = |raft: &&RaftGroup| matches!(raft.fence_stage(), FenceStage::Joining(_));
        self.is_joining = asking.iter().any(is_joining);
    }

    /// Asks again if the replica has got nothing for a while: the leader that named the target may
    /// have lost its leadership, and the target with it.
    fn check_progress(&mut self, raft: &RaftGroup) {
        let (group, now, flushed) = (raft.group(), Instant::now(), raft.flushed());
        let last = self.progress.entry(group).or_insert((flushed, now));
        if last.0 != flushed {
            *last = (flushed, now);
        } else if now.duration_since(last.1) >= FENCED_PROGRESS_MAX {
            self.progress.remove(&group);
            raft.fence();
        }
    }

    /// A replica that is not marked and fenced only until it is known whether fences are enforced
    /// does not count.
    fn publish(&self, rafts: &[RaftGroup]) {
        let marked = self.parts.marks.fenced();
        let is_enforced = is_enforced(&self.parts.view.load()) == Some(true);
        let counts = |raft: &&RaftGroup| is_enforced || marked.contains(&raft.group());
        let fenced = rafts
            .iter()
            .filter(|raft| raft.fence_stage().is_disk_older());
        let fenced = fenced.filter(counts);
        let state = DiskState {
            fenced_count: fenced.count() as u64,
            runs_twice: self.second.is_some(),
        };
        self.parts.state.send_if_modified(|published| {
            let is_changed = *published != state;
            *published = state;
            is_changed
        });
    }
}

/// Whether the cluster has finalized the level of the fence; `None` if that is not known yet.
pub(crate) fn is_enforced(metadata: &Metadata) -> Option<bool> {
    metadata.cluster_id()?;
    Some(metadata.finalized_level() >= FENCE_LEVEL)
}

async fn wait_for_news(known: &Incarnations) {
    let mut heard = known.watch_heard();
    let news = heard.wait_for(Option::is_some).await;
    drop(news);
}

impl DiskFenceParts {
    /// Returns once each other node has said what it has seen of this one, or had the time to.
    async fn wait_for_answers(&self) {
        let mut member = self.member.watch();
        let Ok(me) = member.wait_for(Option::is_some).await.map(|me| *me) else {
            return;
        };
        let deadline = Instant::now() + INCARNATION_ANSWERS_MAX;
        while Instant::now() < deadline {
            let metadata = self.view.load();
            let members: Vec<NodeId> = metadata.members().map(|node| node.id).collect();
            let others: Vec<NodeId> = members
                .iter()
                .copied()
                .filter(|node| me.is_none_or(|me| me.node != *node))
                .collect();
            if !members.is_empty() && self.known.have_answered(&others) {
                return;
            }
            tokio::time::sleep(INCARNATION_ANSWERS_INTERVAL).await;
        }
    }

    async fn fence_durably(&self) -> Result<(), IncarnationError> {
        let storage = self.storage.clone();
        let on_disk = run_blocking(move || storage.groups()).await;
        let on_disk = on_disk.ok_or(IncarnationError::Stopping)?;
        let on_disk = on_disk.map_err(IncarnationError::List)?;
        let running = self.replicas.rafts().into_iter().map(|raft| raft.group());
        self.marks.fence_all(running.chain(on_disk)).await
    }

    /// Names the replica its target, if a leader does.
    async fn ask(&self, raft: &RaftGroup) {
        let group = raft.group();
        let candidates = self.candidates(raft);
        let joins = raft.fence_stage() == FenceStage::Joining(None);
        // A majority of the whole group; this replica does not count towards it. One that joins has
        // promised nothing, so it needs only the leader's answer.
        let answers_min = if joins {
            1
        } else {
            majority_of(candidates.len() + 1)
        };
        let asks = candidates.into_iter().filter_map(|node| {
            let route = self.member.route_to(node)?;
            Some(
                self.peers
                    .catch_up_target(route, group, CATCH_UP_TARGET_MAX),
            )
        });
        let mut targets = Vec::new();
        for answer in join_all(asks).await {
            match answer {
                Ok(target) => targets.push(target),
                Err(error) => debug!(%group, %error, "no target for the fenced replica"),
            }
        }
        // They have seen this process, and count no promise of another one on a copy of its disk.
        if targets.len() < answers_min {
            return;
        }
        // The newest leader, should two think that they lead.
        let Some(target) = targets.into_iter().flatten().max() else {
            return;
        };
        if joins {
            return self.let_join(raft, target).await;
        }
        info!(%group, %target, "fenced replica is catching up");
        raft.set_catch_up_target(target);
    }

    /// Lets a replica that joins take entries. First its target is recorded: once it is a voter,
    /// there may be no other one to ask.
    async fn let_join(&self, raft: &RaftGroup, target: LogId) {
        let group = raft.group();
        match self.marks.set_target(group, target).await {
            Ok(true) => raft.set_catch_up_target(target),
            Ok(false) => {}
            Err(error) => {
                let error = error_chain(&error);
                warn!(%group, error, "cannot record the entry that adds a replica, will retry");
            }
        }
    }

    /// The other nodes that may lead the group. A replica whose folder was lost knows no voters.
    fn candidates(&self, raft: &RaftGroup) -> BTreeSet<NodeId> {
        let status = raft.status();
        let metadata = self.view.load();
        let place = metadata.group(raft.group());
        let assigned = place.iter().flat_map(|place| &place.partition.replicas);
        let joint = status.joint.iter().flatten();
        let all = status.voters.iter().chain(joint).chain(assigned);
        all.copied().filter(|node| *node != status.node).collect()
    }

    async fn lift_caught_up(&self, raft: &RaftGroup) {
        let group = raft.group();
        match self.marks.lift(group).await {
            Ok(()) if raft.fence_stage().is_disk_older() => {
                raft.lift_fence();
                info!(%group, "fenced replica has caught up and votes again");
            }
            Ok(()) => raft.lift_fence(),
            Err(error) => {
                let error = error_chain(&error);
                warn!(%group, error, "cannot lift the fence of a replica, will retry");
            }
        }
    }
}
