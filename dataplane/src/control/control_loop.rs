//! The looks: every so often, and whenever something changes that matters, a node looks at all
//! that it leads and begins what is to be done.

use std::collections::BTreeMap;
use std::sync::Arc;

use lograft_core::limits::{CONTROL_INTERVAL, CONTROL_INTERVAL_MIN};
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{GroupId, Term};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Control;
use super::meta_voters::Lingering;
use super::preferred_leaders::Preference;
use super::reassignment::Opened;
use super::task_registry::Work;
use crate::serving::meta_group::ProposeMeta;

impl Control {
    /// Looks for ever.
    pub(super) async fn run_looks(self: Arc<Self>) {
        let mut preference = Preference::default();
        let mut opened = Opened::default();
        let mut lingering = Lingering::default();
        let mut version = self.view().watch();
        loop {
            let metadata = self.view().load();
            self.note_led();
            if self.is_view_current() {
                self.look_at_partitions(&metadata, &mut opened);
                self.look_at_damage(&metadata);
                self.look_at_preferred(&metadata, &mut preference, Instant::now());
                self.look_at_meta(&metadata, &mut lingering, Instant::now());
                self.look_at_phase().await;
            }
            self.look_at_own_registration(&metadata);
            self.look_at_readiness(&metadata);
            tokio::time::sleep(CONTROL_INTERVAL_MIN).await;
            tokio::select! {
                () = tokio::time::sleep(CONTROL_INTERVAL) => {}
                () = self.wake.notified() => {}
                changed = version.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Publishes which groups are led here and ready to serve.
    fn note_led(&self) {
        let mut led: BTreeMap<GroupId, Term> = BTreeMap::new();
        let mut note = |raft: &lograft_raft::RaftGroup| {
            let status = raft.watch();
            let status = status.borrow();
            if status.ready {
                led.insert(status.group, status.term);
            }
        };
        if let Some(meta) = self.replicas().meta() {
            note(&meta.raft);
        }
        self.replicas()
            .all()
            .values()
            .for_each(|replica| note(&replica.raft));
        self.led.send_if_modified(|known| {
            let is_new = **known != led;
            if is_new {
                *known = Arc::new(led);
            }
            is_new
        });
    }

    fn look_at_partitions(self: &Arc<Self>, metadata: &Arc<Metadata>, opened: &mut Opened) {
        let now = Instant::now();
        let replicas = self.replicas().all();
        opened.keep(&replicas);
        for (group, replica) in replicas.iter() {
            let Some(place) = metadata.group(*group) else {
                continue;
            };
            let since = opened.since(*group, now);
            if place.partition.started {
                self.look_at_move(place.partition, replica);
                self.look_at_retention(place.topic.retention, replica);
            } else {
                self.look_at_start(place.partition, replica, now.duration_since(since));
            }
        }
    }

    /// Notes for the metadata that a group works, once it does.
    pub(super) fn note_started(self: &Arc<Self>, group: GroupId) {
        self.begin(Work::Start(group), |control| async move {
            let noted = control.propose(Command::StartPartition { group }).await;
            if let Err(error) = &noted {
                debug!(%group, "cannot note that the partition has started: {error}");
            }
            noted.is_ok()
        });
    }

    /// Begins work that nobody else here has begun. When it says that it got something done, the
    /// next look comes at once, else in its time.
    pub(super) fn begin<F>(self: &Arc<Self>, work: Work, task: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let Some(place) = self.busy.begin(work) else {
            return;
        };
        let task = task(Arc::clone(self));
        let wake = Arc::clone(&self.wake);
        tokio::spawn(async move {
            let is_progress = task.await;
            drop(place);
            if is_progress {
                wake.notify_one();
            }
        });
    }

    /// Once the metadata knows this node, its meta log is never again allowed to be empty.
    async fn look_at_phase(&self) {
        let is_known = self
            .member()
            .is_some_and(|me| self.view().load().node(me.node).is_some());
        if is_known && !self.is_settled() {
            match self.settle().await {
                Ok(()) => {}
                Err(error) => warn!("cannot note that this node is a member: {error}"),
            }
        }
    }
}
