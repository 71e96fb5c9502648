//! The supervisor task of a producer: finds the leaders of partitions, waits between retries, fails
//! batches that exceed the delivery timeout, and leaves nodes that hang.

use std::pin::Pin;
use std::sync::Arc;

use lograft_core::limits::{CLIENT_SILENCE_CHECK_INTERVAL, CLIENT_SILENCE_MAX};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until};
use tonic::Status;

use super::partition::{ProduceQueue, ProducerPartition};
use super::produce_stream;
use super::state::ProducerState;
use super::supervisor_queue::{SupervisorItem, SupervisorReason};
use crate::error::ClientError;

/// A metadata refresh in progress.
type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The supervisor task of a producer.
pub(super) struct Supervisor {
    state: Arc<ProducerState>,
    /// The tasks of the produce streams; they end with the supervisor.
    streams: JoinSet<()>,
    /// Items that are not due yet.
    waiting: Vec<(Instant, SupervisorItem)>,
    /// Partitions whose leader is unknown, until the refresh in progress is done.
    leaderless: Vec<Arc<ProducerPartition>>,
    refresh: Option<Refresh>,
    next_timeout_check: Instant,
    next_silence_check: Instant,
    next_refresh: Instant,
}

/// The result of the search for a partition's leader.
enum LeaderSearch {
    /// The partition is attached to its leader's stream, or needs no leader.
    Done,
    NoLeader,
}

impl Supervisor {
    pub(super) fn new(state: Arc<ProducerState>) -> Self {
        let now = Instant::now();
        Self {
            next_timeout_check: now + timeout_check_interval(&state),
            next_silence_check: now + CLIENT_SILENCE_MAX,
            next_refresh: now + state.pool.config.metadata_max_age,
            state,
            streams: JoinSet::new(),
            waiting: Vec::new(),
            leaderless: Vec::new(),
            refresh: None,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.state.is_closed() {
            self.waiting.extend(self.state.supervisor.take_all());
            let now = Instant::now();
            self.process_due_items(now);
            if now >= self.next_timeout_check {
                self.check_timeouts(now);
            }
            if now >= self.next_silence_check {
                self.check_silence(now);
            }
            if now >= self.next_refresh {
                self.next_refresh = now + self.state.pool.config.metadata_max_age;
                self.start_refresh();
            }
            self.sleep().await;
            while self.streams.try_join_next().is_some() {}
        }
    }

    /// Waits until an item or a check is due, an item is enqueued, or the refresh is done.
    async fn sleep(&mut self) {
        let due = self.waiting.iter().map(|(due, _)| *due).min();
        let until = due
            .into_iter()
            .chain([
                self.next_timeout_check,
                self.next_silence_check,
                self.next_refresh,
            ])
            .min();
        let until = until.unwrap_or(self.next_timeout_check);
        let refreshed = async {
            match &mut self.refresh {
                Some(refresh) => refresh.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.state.supervisor.woken() => {}
            () = sleep_until(until) => {}
            () = refreshed => {
                self.refresh = None;
                self.on_refreshed();
            }
        }
    }

    fn start_refresh(&mut self) {
        if self.refresh.is_none() {
            let pool = Arc::clone(&self.state.pool);
            self.refresh = Some(Box::pin(async move { pool.refresh().await }));
        }
    }

    fn process_due_items(&mut self, now: Instant) {
        let due = self.waiting.extract_if(.., |(due, _)| *due <= now);
        let due: Vec<SupervisorItem> = due.map(|(_, item)| item).collect();
        for item in due {
            match item.reason {
                SupervisorReason::Linger => self.on_linger_timer(item, now),
                SupervisorReason::FindLeader => match self.find_leader(&item.partition, now) {
                    LeaderSearch::Done => {}
                    LeaderSearch::NoLeader => self.leaderless.push(item.partition),
                },
            }
        }
        if !self.leaderless.is_empty() {
            self.start_refresh();
        }
    }

    /// Asks the other nodes about the partitions of a node that owes a reply.
    fn check_silence(&mut self, now: Instant) {
        let mut next = now + CLIENT_SILENCE_MAX;
        for stream in self.state.streams() {
            if is_silent(&stream, now) {
                next = now + CLIENT_SILENCE_CHECK_INTERVAL;
                self.state.pool.note_silent(&stream.address);
                self.start_refresh();
            }
        }
        self.next_silence_check = next;
    }

    /// The metadata is fresh: partitions without a leader in it wait, and the batches of partitions
    /// that are not in it fail.
    fn on_refreshed(&mut self) {
        self.state.apply_metadata();
        let now = Instant::now();
        for stream in self.state.streams() {
            // A node that hangs does not say that it leads no more. The batches in flight are sent
            // to the new leader under the same sequences: it has them already, or stores them.
            if is_silent(&stream, now) && self.has_moved(&stream) {
                stream.kill();
            }
        }
        for partition in std::mem::take(&mut self.leaderless) {
            match self.find_leader(&partition, now) {
                LeaderSearch::Done => {}
                LeaderSearch::NoLeader => self.on_no_leader(partition, now),
            }
        }
    }

    /// Whether another node leads one of the partitions of a stream.
    fn has_moved(&self, stream: &Arc<ProduceQueue>) -> bool {
        let is_elsewhere = |partition: &Arc<ProducerPartition>| {
            let is_attached = {
                let queue = partition.queue();
                queue.stream().is_some_and(|own| Arc::ptr_eq(own, stream))
            };
            let metadata = self.state.pool.metadata();
            let leader = metadata.leader(&partition.topic, partition.number);
            is_attached && leader.is_some_and(|(node, _)| node != stream.node)
        };
        let topics = self.state.topics();
        topics
            .iter()
            .any(|topic| topic.partitions().iter().any(is_elsewhere))
    }

    fn on_no_leader(&mut self, partition: Arc<ProducerPartition>, now: Instant) {
        let topic = Arc::clone(&partition.topic);
        let number = partition.number;
        let count = {
            let metadata = self.state.pool.metadata();
            metadata.topic(&topic).map(|topic| topic.partitions.len())
        };
        let is_deleted = count.is_none_or(|count| number.get() as usize >= count);
        let mut queue = partition.queue();
        if is_deleted {
            let error = queue
                .last_error()
                .cloned()
                .unwrap_or(ClientError::UnknownPartition {
                    topic,
                    partition: number,
                    count: 0,
                });
            let settled = queue.fail_all(&error);
            drop(queue);
            self.state.settle(settled);
            return;
        }
        queue.on_no_leader(ClientError::NoLeader {
            topic,
            partition: number,
        });
        let delay = self.state.pool.backoff(queue.failures(), None);
        drop(queue);
        partition.set_leader_unavailable(true);
        let item = SupervisorItem {
            reason: SupervisorReason::FindLeader,
            partition,
        };
        self.waiting.push((now + delay, item));
    }

    fn on_linger_timer(&mut self, item: SupervisorItem, now: Instant) {
        let mut queue = item.partition.queue();
        let stream = queue.claim_enqueue(now);
        let next = queue.on_linger_timer(now);
        drop(queue);
        if let Some(stream) = stream {
            stream.enqueue(Arc::clone(&item.partition));
        }
        if let Some(until) = next {
            self.waiting.push((until, item));
        }
    }

    /// Attaches a partition to the stream of its leader.
    fn find_leader(&mut self, partition: &Arc<ProducerPartition>, now: Instant) -> LeaderSearch {
        let mut queue = partition.queue();
        if !queue.needs_leader() {
            queue.end_leader_search();
            return LeaderSearch::Done;
        }
        drop(queue);
        let leader = self
            .state
            .pool
            .metadata()
            .leader(&partition.topic, partition.number);
        let Some((node, address)) = leader else {
            return LeaderSearch::NoLeader;
        };
        let (stream, is_new) = self.state.stream(node, &address);
        if is_new && let Err(error) = self.start_stream(&stream) {
            self.state.on_stream_lost(&stream, &error);
            return LeaderSearch::NoLeader;
        }
        let mut queue = partition.queue();
        queue.attach(Arc::clone(&stream));
        let ready_stream = queue.claim_enqueue(now);
        drop(queue);
        partition.set_leader_unavailable(false);
        if let Some(stream) = ready_stream {
            stream.enqueue(Arc::clone(partition));
        }
        // If the stream ended before the partition was attached, its end has not detached it.
        if stream.is_closed() {
            let error = ClientError::Broken {
                endpoint: address.as_ref().to_owned(),
                status: Arc::new(Status::unavailable("the stream has ended")),
            };
            self.state
                .on_partition_stream_lost(partition, &stream, &error);
        }
        LeaderSearch::Done
    }

    fn start_stream(&mut self, stream: &Arc<ProduceQueue>) -> Result<(), ClientError> {
        let node = self.state.pool.produce_node(&stream.address)?;
        let (stream, state) = (Arc::clone(stream), Arc::clone(&self.state));
        self.streams.spawn(produce_stream::run(stream, node, state));
        Ok(())
    }

    /// Fails batches that exceeded the delivery timeout, and ends streams without replies.
    fn check_timeouts(&mut self, now: Instant) {
        let mut next = now + timeout_check_interval(&self.state);
        for topic in self.state.topics() {
            let partitions: Vec<_> = topic.partitions().clone();
            for partition in &partitions {
                if let Some(expires_at) = self.expire(partition, now) {
                    next = next.min(expires_at);
                }
            }
        }
        // A leader replies TIMEOUT by itself after the request timeout. One that does not is hung:
        // its kernel may still acknowledge TCP, so only the missing reply reveals it.
        let silence_max = self.state.config.request_timeout * 2;
        for stream in self.state.streams() {
            match stream.oldest_sent_at().map(|sent| sent + silence_max) {
                Some(at) if at <= now => stream.kill(),
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        self.next_timeout_check = next;
    }

    /// Fails the late batches of a partition. Returns the time at which the next one is late.
    fn expire(&self, partition: &Arc<ProducerPartition>, now: Instant) -> Option<Instant> {
        let mut queue = partition.queue();
        let settled = match queue.expires_at() {
            Some(at) if at <= now => queue.expire(now),
            _ => Vec::new(),
        };
        let expires_at = queue.expires_at();
        let stream = queue.claim_enqueue(now);
        let needs_leader = queue.claim_leader_search();
        drop(queue);
        self.state.settle(settled);
        if let Some(stream) = stream {
            stream.enqueue(Arc::clone(partition));
        }
        if needs_leader {
            self.state
                .supervisor
                .enqueue(partition, now, SupervisorReason::FindLeader);
        }
        expires_at
    }
}

/// Whether a node owes a reply for so long that it may hang.
fn is_silent(stream: &ProduceQueue, now: Instant) -> bool {
    let since = stream.silent_since();
    since.is_some_and(|since| since + CLIENT_SILENCE_MAX <= now)
}

/// The time after which a batch that is accepted now may exceed a timeout.
fn timeout_check_interval(state: &ProducerState) -> Duration {
    state
        .config
        .delivery_timeout
        .min(state.config.request_timeout * 2)
}
