//! The task that looks after a producer's lanes: finds their leaders, waits between tries, fails
//! what is not delivered in time. While all is well it sleeps.

use std::pin::Pin;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::lane::Phase;
use super::link;
use super::shared::{Attended, Care, Shared};
use crate::error::ClientError;

/// A fetch of metadata under way.
type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Looks after a producer's lanes.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    /// The links' tasks; they end with this one.
    links: JoinSet<()>,
    /// Lanes to look after, each from its time on.
    waiting: Vec<(Instant, Attended)>,
    /// Lanes whose leader is not known; the refresh under way may tell.
    unrouted: Vec<Attended>,
    refresh: Option<Refresh>,
    /// When to look for batches that are out of time.
    next_check: Instant,
    next_refresh: Instant,
}

/// What came of looking for a lane's leader.
enum Found {
    /// It is attached, or needs no leader.
    Done,
    NoLeader,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            next_check: now + check_interval(&shared),
            next_refresh: now + shared.reach.config.metadata_max_age,
            shared,
            links: JoinSet::new(),
            waiting: Vec::new(),
            unrouted: Vec::new(),
            refresh: None,
        }
    }

    pub(crate) async fn run(mut self) {
        while !self.shared.is_closed() {
            self.waiting.extend(self.shared.take_attention());
            let now = Instant::now();
            self.look_for_leaders(now);
            if now >= self.next_check {
                self.check_times(now);
            }
            if now >= self.next_refresh {
                self.next_refresh = now + self.shared.reach.config.metadata_max_age;
                self.begin_refresh();
            }
            self.sleep().await;
            while self.links.try_join_next().is_some() {}
        }
    }

    /// Until something is due, somebody calls, or the refresh is there.
    async fn sleep(&mut self) {
        let due = self.waiting.iter().map(|(due, _)| *due).min();
        let until = due
            .into_iter()
            .chain([self.next_check, self.next_refresh])
            .min();
        let until = until.unwrap_or(self.next_check);
        let refreshed = async {
            match &mut self.refresh {
                Some(refresh) => refresh.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.called() => {}
            () = sleep_until(until) => {}
            () = refreshed => {
                self.refresh = None;
                self.on_refreshed();
            }
        }
    }

    fn begin_refresh(&mut self) {
        if self.refresh.is_none() {
            let reach = Arc::clone(&self.shared.reach);
            self.refresh = Some(Box::pin(async move { reach.refresh().await }));
        }
    }

    fn look_for_leaders(&mut self, now: Instant) {
        let due = self.waiting.extract_if(.., |(due, _)| *due <= now);
        let due: Vec<Attended> = due.map(|(_, attended)| attended).collect();
        for attended in due {
            match attended.care {
                Care::Linger => self.on_lingered(&attended, now),
                Care::Leader => match self.route(&attended, now) {
                    Found::Done => {}
                    Found::NoLeader => self.unrouted.push(attended),
                },
            }
        }
        if !self.unrouted.is_empty() {
            self.begin_refresh();
        }
    }

    /// The map is fresh: what has no leader in it waits, and what is not in it has failed.
    fn on_refreshed(&mut self) {
        self.shared.grow_all();
        let now = Instant::now();
        for attended in std::mem::take(&mut self.unrouted) {
            match self.route(&attended, now) {
                Found::Done => {}
                Found::NoLeader => self.wait_for_leader(attended, now),
            }
        }
    }

    fn wait_for_leader(&mut self, attended: Attended, now: Instant) {
        let partition = attended.slot.partition;
        let count = {
            let routes = self.shared.reach.routes();
            routes
                .topic(&attended.topic)
                .map(|topic| topic.partitions.len())
        };
        let is_gone = count.is_none_or(|count| partition.get() as usize >= count);
        let mut state = attended.slot.state();
        if is_gone {
            let error = state.lane.last_error().cloned().unwrap_or_else(|| {
                let topic = Arc::clone(&attended.topic);
                ClientError::UnknownPartition {
                    topic,
                    partition,
                    count: 0,
                }
            });
            state.attended = false;
            let settled = state.lane.fail_all(&error);
            drop(state);
            self.shared.settle(settled);
            return;
        }
        let topic = Arc::clone(&attended.topic);
        state
            .lane
            .on_no_leader(Some(ClientError::NoLeader { topic, partition }));
        let wait = self.shared.reach.backoff(state.lane.failures());
        drop(state);
        attended.slot.set_troubled(true);
        self.waiting.push((now + wait, attended));
    }

    fn on_lingered(&mut self, attended: &Attended, now: Instant) {
        let slot = &attended.slot;
        let mut state = slot.state();
        state.lingering = false;
        let to_list = state.claim_listing(now);
        // It may be another batch by now, which has not waited as long.
        let again = state.claim_linger().filter(|until| *until > now);
        state.lingering = again.is_some();
        drop(state);
        if let Some(link) = to_list {
            link.list(Arc::clone(slot));
        }
        if let Some(until) = again {
            self.waiting.push((until, attended.clone()));
        }
    }

    /// Attaches a lane to the link of its leader.
    fn route(&mut self, attended: &Attended, now: Instant) -> Found {
        let Attended {
            care: _,
            topic,
            slot,
        } = attended;
        let mut state = slot.state();
        if !matches!(state.lane.phase, Phase::Unrouted) || state.lane.is_empty() {
            state.attended = false;
            return Found::Done;
        }
        drop(state);
        let leader = self.shared.reach.routes().leader(topic, slot.partition);
        let Some((node, address)) = leader else {
            return Found::NoLeader;
        };
        let (link, is_new) = self.shared.link(node, &address);
        if is_new && let Err(error) = self.start(&link) {
            self.shared.on_link_lost(&link, &error);
            return Found::NoLeader;
        }
        let mut state = slot.state();
        state.attended = false;
        state.listed = false;
        state.link = Some(Arc::clone(&link));
        state.lane.phase = Phase::Flowing;
        let to_list = state.claim_listing(now);
        drop(state);
        slot.set_troubled(false);
        if let Some(link) = to_list {
            link.list(Arc::clone(slot));
        }
        // One that died meanwhile has not seen this lane among its own.
        if link.is_dead() {
            let error = ClientError::Broken {
                endpoint: address.as_ref().to_owned(),
                status: Arc::new(tonic::Status::unavailable("the stream has ended")),
            };
            self.shared.on_lane_lost(topic, slot, &link, &error);
        }
        Found::Done
    }

    fn start(&mut self, link: &Arc<link::Link>) -> Result<(), ClientError> {
        let node = self.shared.reach.produce_node(&link.address)?;
        self.links
            .spawn(link::run(Arc::clone(link), node, Arc::clone(&self.shared)));
        Ok(())
    }

    /// Fails batches that are out of time, and ends links that have been silent for too long.
    fn check_times(&mut self, now: Instant) {
        let mut next = now + check_interval(&self.shared);
        for lanes in self.shared.topics() {
            let slots: Vec<_> = lanes.slots().clone();
            for slot in slots {
                let mut state = slot.state();
                let settled = match state.lane.expires_at() {
                    Some(at) if at <= now => state.lane.expire(now),
                    _ => Vec::new(),
                };
                next = state.lane.expires_at().map_or(next, |at| at.min(next));
                let to_list = state.claim_listing(now);
                let to_attend = state.claim_attention();
                drop(state);
                self.shared.settle(settled);
                if let Some(link) = to_list {
                    link.list(Arc::clone(&slot));
                }
                if to_attend {
                    self.shared.attend(lanes.name(), &slot, now, Care::Leader);
                }
            }
        }
        // A leader answers TIMEOUT by itself; one that does not even do that is not well.
        let silence_max = self.shared.config.request_timeout * 2;
        for link in self.shared.links() {
            match link.oldest_sent_at().map(|sent| sent + silence_max) {
                Some(at) if at <= now => link.kill(),
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        self.next_check = next;
    }
}

/// The longest time after which something may be out of time that was not there at the last look.
fn check_interval(shared: &Shared) -> std::time::Duration {
    shared
        .config
        .delivery_timeout
        .min(shared.config.request_timeout * 2)
}
