//! The replicated state of a partition and the admission by its leader.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::entry::{Entry, EntryKind, LogId, ProducerStamp, Proposal};
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::limits::PRODUCERS_PER_PARTITION_MAX_COUNT;
use crate::offset::{LogIndex, Offset, Term};
use crate::reason::Reason;

fn stamp(id: u64, epoch: u32, sequence: u64) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
    }
}

fn records(base_offset: u64, record_count: u32, producer: Option<ProducerStamp>) -> Entry {
    let mut proposal = Proposal::control(EntryKind::Records, 1000, Bytes::from_static(b"batch"));
    proposal.record_count = record_count;
    proposal.producer = producer;
    let id = LogId {
        term: Term(1),
        index: LogIndex(base_offset),
    };
    Entry {
        id,
        base_offset: Offset(base_offset),
        proposal,
    }
}

fn trim(to: u64) -> Entry {
    let payload = PartitionState::trim_payload(Offset(to));
    let mut entry = records(0, 0, None);
    entry.proposal = Proposal::control(EntryKind::Trim, 1000, payload);
    entry
}

/// A leader and its log. `apply_all` applies the proposed batches.
struct LeaderAndLog {
    state: PartitionState,
    leader: LeaderState,
    proposed: Vec<(Option<ProducerStamp>, u32)>,
}

impl LeaderAndLog {
    fn new() -> Self {
        let state = PartitionState::default();
        Self {
            leader: LeaderState::new(&state, Term(1)),
            state,
            proposed: Vec::new(),
        }
    }

    fn offer(&mut self, stamp: ProducerStamp, record_count: u32) -> Admission {
        self.offer_any(Some(stamp), record_count)
    }

    fn offer_any(&mut self, stamp: Option<ProducerStamp>, record_count: u32) -> Admission {
        let admission = self.leader.admit(&self.state, stamp, record_count);
        if matches!(admission, Admission::Propose { .. }) {
            self.proposed.push((stamp, record_count));
        }
        admission
    }

    fn apply_all(&mut self) {
        for (stamp, record_count) in self.proposed.drain(..) {
            let entry = records(self.state.next_offset.get(), record_count, stamp);
            self.state.apply(&entry);
        }
    }

    fn change_leader(&mut self) {
        self.apply_all();
        self.leader = LeaderState::new(&self.state, Term(self.leader.term().get() + 1));
    }
}

fn at(base_offset: u64) -> Admission {
    Admission::Propose {
        base_offset: Offset(base_offset),
    }
}

fn duplicate_at(base_offset: u64) -> Admission {
    Admission::Duplicate {
        base_offset: Offset(base_offset),
    }
}

#[test]
fn records_move_the_high_watermark_and_a_gap_stops_the_replica() {
    let mut state = PartitionState::default();
    let applied = state.apply(&records(0, 3, None));
    assert_eq!(
        applied,
        Applied::Records {
            base_offset: Offset(0),
            record_count: 3
        }
    );
    let before = state.clone();
    let applied = state.apply(&records(4, 1, None));
    assert_eq!(
        applied,
        Applied::Diverged {
            expected: Offset(3),
            found: Offset(4)
        }
    );
    assert_eq!(state, before);
}

#[test]
fn a_trim_moves_forward_only_and_stops_at_the_end() {
    let mut state = PartitionState::default();
    state.apply(&records(0, 10, None));
    assert_eq!(
        state.apply(&trim(4)),
        Applied::Trimmed {
            log_start_offset: Offset(4)
        }
    );
    assert_eq!(state.apply(&trim(3)), Applied::Nothing);
    assert_eq!(
        state.apply(&trim(99)),
        Applied::Trimmed {
            log_start_offset: Offset(10)
        }
    );
    assert_eq!(state.next_offset, Offset(10));
}

#[test]
fn a_duplicate_gets_the_offset_of_the_original() {
    let mut leader_log = LeaderAndLog::new();
    assert_eq!(leader_log.offer_any(None, 2), at(0));
    assert_eq!(leader_log.offer(stamp(1, 0, 0), 5), at(2));
    assert_eq!(leader_log.offer(stamp(1, 0, 5), 5), at(7));
    assert_eq!(leader_log.offer(stamp(1, 0, 0), 5), duplicate_at(2));
    leader_log.apply_all();
    assert_eq!(leader_log.offer(stamp(1, 0, 5), 5), duplicate_at(7));
    leader_log.change_leader();
    assert_eq!(leader_log.offer(stamp(1, 0, 5), 5), duplicate_at(7));
    assert_eq!(leader_log.offer(stamp(1, 0, 10), 1), at(12));
}

#[test]
fn producers_without_batches_in_flight_are_removed() {
    let mut leader_log = LeaderAndLog::new();
    let producer_count = PRODUCERS_PER_PARTITION_MAX_COUNT as u64 + 10;
    for id in 0..producer_count {
        leader_log.offer(stamp(id, 0, 0), 1);
        leader_log.apply_all();
    }
    assert!(
        leader_log.leader.in_flight_count() <= 11,
        "{}",
        leader_log.leader.in_flight_count()
    );
    assert_eq!(
        leader_log.offer(stamp(producer_count - 1, 0, 1), 1),
        at(producer_count)
    );
}

#[test]
fn gaps_overlaps_and_unknown_producers_are_out_of_order() {
    let mut leader_log = LeaderAndLog::new();
    let rejected = |admission| match admission {
        Admission::Reject(rejection) => rejection,
        other => panic!("{other:?}"),
    };
    let rejection = rejected(leader_log.offer(stamp(1, 0, 5), 1));
    assert_eq!(
        rejection,
        Rejection::OutOfOrder {
            expected: Sequence(0),
            found: Sequence(5)
        }
    );
    assert_eq!(rejection.reason(), Reason::OutOfOrderSequence);
    leader_log.offer(stamp(1, 0, 0), 5);
    for is_applied in [false, true] {
        let gap = rejected(leader_log.offer(stamp(1, 0, 6), 1));
        assert_eq!(
            gap,
            Rejection::OutOfOrder {
                expected: Sequence(5),
                found: Sequence(6)
            }
        );
        let overlap = rejected(leader_log.offer(stamp(1, 0, 4), 2));
        assert_eq!(
            overlap,
            Rejection::OutOfOrder {
                expected: Sequence(5),
                found: Sequence(4)
            }
        );
        if !is_applied {
            leader_log.apply_all();
        }
    }
}

#[test]
fn a_newer_epoch_fences_the_older_and_starts_at_zero() {
    let mut leader_log = LeaderAndLog::new();
    leader_log.offer(stamp(1, 0, 0), 5);
    assert!(matches!(
        leader_log.offer(stamp(1, 1, 5), 1),
        Admission::Reject(_)
    ));
    assert_eq!(leader_log.offer(stamp(1, 1, 0), 1), at(5));
    let fenced = Admission::Reject(Rejection::Fenced {
        current: ProducerEpoch(1),
        found: ProducerEpoch(0),
    });
    assert_eq!(leader_log.offer(stamp(1, 0, 5), 1), fenced);
    assert_eq!(leader_log.offer(stamp(1, 0, 0), 5), fenced);
    leader_log.apply_all();
    assert_eq!(leader_log.offer(stamp(1, 0, 5), 1), fenced);
    assert_eq!(leader_log.offer(stamp(1, 1, 1), 1), at(6));
}

#[test]
fn a_forgotten_duplicate_and_a_gap_are_different() {
    let mut leader_log = LeaderAndLog::new();
    for n in 0..100 {
        assert_eq!(leader_log.offer(stamp(1, 0, n), 1), at(n));
    }
    leader_log.apply_all();
    let admission = leader_log.offer(stamp(1, 0, 3), 1);
    assert_eq!(admission, Admission::Forgotten);
    assert!(matches!(
        leader_log.offer(stamp(1, 0, 99), 1),
        Admission::Duplicate { .. }
    ));
}

#[test]
fn sequences_do_not_overflow() {
    let mut leader_log = LeaderAndLog::new();
    let admission = leader_log.offer(stamp(1, 0, u64::MAX), 5);
    assert!(matches!(
        admission,
        Admission::Reject(Rejection::OutOfOrder { .. })
    ));
}

#[test]
fn encoded_form_is_stable() {
    let mut state = PartitionState::default();
    state.apply(&records(0, 2, Some(stamp(7, 1, 0))));
    state.apply(&trim(1));
    let encoded = state.encode();
    assert_eq!(encoded.len(), 21 + 21 + 20);
    assert_eq!(encoded[..5], [1, 2, 0, 0, 0]);
    assert_eq!(encoded[9], 1);
    assert_eq!(PartitionState::decode(&encoded).unwrap(), state);
    assert_eq!(
        PartitionState::decode(&encoded[..20]),
        Err(PartitionStateError::Truncated)
    );
    assert_eq!(
        PartitionState::decode(&[2]),
        Err(PartitionStateError::Version { found: 2 })
    );
}

proptest! {
    /// Batches in any order, with retries and leader changes: each one is in the log at most once
    /// and in order, and a checkpoint contains the whole state.
    #[test]
    fn each_batch_once_and_in_order(
        steps in proptest::collection::vec((0_u64..3, 0_u64..8, 0_u8..10), 1..200)
    ) {
        let mut leader_log = LeaderAndLog::new();
        let mut log: std::collections::BTreeMap<u64, Vec<u64>> = std::collections::BTreeMap::new();
        for (id, batch, act) in steps {
            match act {
                0 => leader_log.change_leader(),
                1..4 => leader_log.apply_all(),
                _ => {
                    let seen = log.entry(id).or_default();
                    let admission = leader_log.offer(stamp(id, 0, batch * 2), 2);
                    if let Admission::Propose { base_offset } = admission {
                        let ahead: u32 = leader_log.proposed.iter().map(|p| p.1).sum();
                        let end = leader_log.state.next_offset.plus(ahead);
                        prop_assert_eq!(base_offset.plus(2), end);
                        prop_assert_eq!(batch, seen.len() as u64);
                        seen.push(batch);
                    } else if batch < seen.len() as u64 {
                        prop_assert!(!matches!(admission, Admission::Reject(_)), "{:?}", admission);
                    } else {
                        prop_assert!(matches!(admission, Admission::Reject(_)), "{:?}", admission);
                    }
                }
            }
        }
        leader_log.apply_all();
        let total: usize = log.values().map(Vec::len).sum();
        prop_assert_eq!(leader_log.state.next_offset, Offset(total as u64 * 2));
        prop_assert_eq!(&PartitionState::decode(&leader_log.state.encode()).unwrap(), &leader_log.state);
    }

    #[test]
    fn arbitrary_checkpoints_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = PartitionState::decode(&bytes);
        if bytes.len() > 21 {
            bytes[0] = 1;
            bytes[9..17].fill(0);
            bytes[17..21].copy_from_slice(&1_u32.to_le_bytes());
        }
        if let Ok(state) = PartitionState::decode(&bytes) {
            let encoded = state.encode();
            prop_assert_eq!(encoded.as_ref(), bytes.as_slice());
        }
    }
}
