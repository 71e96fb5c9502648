//! A topic's lanes, and which of them a record takes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use lograft_core::PartitionId;
use lograft_core::partitioner::partition_for_key;
use tokio::time::Instant;

use super::lane::{Lane, LaneConfig, Phase};
use super::link::Link;
use crate::error::ClientError;

/// A lane and where it stands among links and lists.
#[derive(Debug)]
pub(crate) struct LaneSlot {
    pub(crate) partition: PartitionId,
    state: Mutex<SlotState>,
    /// Records without a key go elsewhere while its leader does not answer.
    troubled: AtomicBool,
    sticky: Arc<AtomicU32>,
    /// Sent in batches that were not full, bytes.
    partial_bytes: AtomicUsize,
}

/// What the slot's lock guards.
#[derive(Debug)]
pub(crate) struct SlotState {
    pub(crate) lane: Lane,
    /// The link to its leader, while it flows.
    pub(crate) link: Option<Arc<Link>>,
    /// Whether it stands in that link's list of those that have something to send.
    pub(crate) listed: bool,
    /// Whether the supervisor has it, to find its leader.
    pub(crate) attended: bool,
    /// Whether the supervisor has it, to send its batch when that has waited long enough.
    pub(crate) lingering: bool,
}

impl SlotState {
    /// The link to put it into the list of, if it has something to send and is not there yet.
    pub(crate) fn claim_listing(&mut self, now: Instant) -> Option<Arc<Link>> {
        if self.listed || !self.lane.has_sendable(now) {
            return None;
        }
        let link = self.link.clone()?;
        self.listed = true;
        Some(link)
    }

    /// When the supervisor has to look whether a batch has waited long enough, if it does not yet.
    pub(crate) fn claim_linger(&mut self) -> Option<Instant> {
        if self.lingering {
            return None;
        }
        let until = self.lane.linger_until()?;
        self.lingering = true;
        Some(until)
    }

    /// Whether the supervisor has to find its leader, and does not have it yet.
    pub(crate) fn claim_attention(&mut self) -> bool {
        let needs =
            !self.attended && matches!(self.lane.phase, Phase::Unrouted) && !self.lane.is_empty();
        self.attended |= needs;
        needs
    }
}

impl LaneSlot {
    pub(crate) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_troubled(&self, troubled: bool) {
        self.troubled.store(troubled, Ordering::Relaxed);
    }

    /// A batch that was not full is sent. Records without a key stay here until such batches add
    /// up to a full one: spread over all partitions they would come in smaller batches still.
    pub(crate) fn sent_partial(&self, bytes: usize, batch_max_bytes: usize) {
        if self.partial_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= batch_max_bytes {
            self.partial_bytes.store(0, Ordering::Relaxed);
            self.rotate();
        }
    }

    /// Its batch is full: records without a key go on in the next partition.
    pub(crate) fn rotate(&self) {
        let partition = self.partition.get();
        // Whoever was faster has rotated already.
        let _moved = self.sticky.compare_exchange(
            partition,
            partition.wrapping_add(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}

/// A topic's lanes, one for each partition.
#[derive(Debug)]
pub(crate) struct TopicLanes {
    name: Arc<str>,
    slots: RwLock<Vec<Arc<LaneSlot>>>,
    /// Where records without a key go; taken modulo the number of partitions.
    sticky: Arc<AtomicU32>,
}

impl TopicLanes {
    pub(crate) fn new(name: Arc<str>, start: u32) -> Self {
        Self {
            name,
            slots: RwLock::default(),
            sticky: Arc::new(AtomicU32::new(start)),
        }
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn slots(&self) -> RwLockReadGuard<'_, Vec<Arc<LaneSlot>>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.slots().len()).unwrap_or(u32::MAX)
    }

    /// Adds lanes up to `count` partitions.
    pub(crate) fn grow(&self, count: usize, config: impl Fn(PartitionId) -> LaneConfig) {
        if self.slots().len() >= count {
            return;
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        while slots.len() < count {
            let partition = PartitionId(u32::try_from(slots.len()).unwrap_or(u32::MAX));
            slots.push(Arc::new(LaneSlot {
                partition,
                state: Mutex::new(SlotState {
                    lane: Lane::new(config(partition)),
                    link: None,
                    listed: false,
                    attended: false,
                    lingering: false,
                }),
                troubled: AtomicBool::new(false),
                partial_bytes: AtomicUsize::new(0),
                sticky: Arc::clone(&self.sticky),
            }));
        }
    }

    /// The number of the lane that a record takes.
    pub(crate) fn choose(
        &self,
        slots: &[Arc<LaneSlot>],
        key: Option<&[u8]>,
        partition: Option<PartitionId>,
    ) -> Result<usize, ClientError> {
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        match (partition, key) {
            (Some(partition), _) if partition.get() < count => Ok(partition.get() as usize),
            (Some(partition), _) => Err(ClientError::UnknownPartition {
                topic: Arc::clone(&self.name),
                partition,
                count,
            }),
            (None, Some(key)) => Ok(partition_for_key(key, count).get() as usize),
            (None, None) => Ok(self.choose_sticky(slots, count) as usize),
        }
    }

    fn choose_sticky(&self, slots: &[Arc<LaneSlot>], count: u32) -> u32 {
        let current = self.sticky.load(Ordering::Relaxed);
        let flows = |at: u32| {
            slots
                .get(at as usize)
                .is_some_and(|s| !s.troubled.load(Ordering::Relaxed))
        };
        let start = current % count.max(1);
        if current == start && flows(start) {
            return start;
        }
        let chosen = (0..count)
            .map(|n| (start + n) % count)
            .find(|at| flows(*at));
        let chosen = chosen.unwrap_or(start);
        self.sticky.store(chosen, Ordering::Relaxed);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::compression::Compression;
    use tokio::time::Duration;

    use super::*;

    fn lanes(count: usize) -> TopicLanes {
        let lanes = TopicLanes::new("t".into(), 0);
        grow(&lanes, count);
        lanes
    }

    fn grow(lanes: &TopicLanes, count: usize) {
        lanes.grow(count, |partition| LaneConfig {
            topic: "t".into(),
            partition,
            compression: Compression::None,
            batch_max_bytes: 1024,
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_secs(1),
            idempotent: true,
        });
    }

    fn choose(lanes: &TopicLanes, key: Option<&[u8]>) -> usize {
        lanes.choose(&lanes.slots(), key, None).unwrap()
    }

    #[test]
    fn records_without_a_key_stay_until_a_batch_is_closed() {
        let lanes = lanes(3);
        let mut taken = Vec::new();
        for _ in 0..4 {
            let at = choose(&lanes, None);
            assert_eq!(choose(&lanes, None), at);
            taken.push(at);
            lanes.slots()[at].rotate();
            // A second one who saw the same batch closed does not skip a partition.
            lanes.slots()[at].rotate();
        }
        assert_eq!(taken, [0, 1, 2, 0]);
    }

    #[test]
    fn batches_that_are_not_full_stay_in_a_partition_until_they_add_up_to_one() {
        let lanes = lanes(3);
        let slot = Arc::clone(&lanes.slots()[choose(&lanes, None)]);
        for _ in 0..2 {
            slot.sent_partial(500, 1024);
            assert_eq!(choose(&lanes, None), 0);
        }
        slot.sent_partial(24, 1024);
        assert_eq!(choose(&lanes, None), 1);
    }

    #[test]
    fn records_without_a_key_avoid_a_leader_in_trouble() {
        let lanes = lanes(3);
        lanes.slots()[0].set_troubled(true);
        lanes.slots()[1].set_troubled(true);
        assert_eq!(choose(&lanes, None), 2);
        lanes.slots()[2].set_troubled(true);
        assert!(choose(&lanes, None) < 3);
    }

    #[test]
    fn keys_go_where_every_client_sends_them() {
        let lanes = lanes(12);
        for key in [b"a".as_slice(), b"user-7", b""] {
            assert_eq!(
                choose(&lanes, Some(key)),
                partition_for_key(key, 12).get() as usize
            );
        }
    }

    #[test]
    fn an_explicit_partition_must_be_there() {
        let lanes = lanes(2);
        let choose = |p| lanes.choose(&lanes.slots(), Some(b"k"), Some(PartitionId(p)));
        assert_eq!(choose(1).unwrap(), 1);
        let error = choose(2).unwrap_err();
        assert_eq!(error.reason(), Some(lograft_core::Reason::UnknownPartition));
        grow(&lanes, 3);
        assert_eq!(
            lanes
                .choose(&lanes.slots(), None, Some(PartitionId(2)))
                .unwrap(),
            2
        );
    }
}
