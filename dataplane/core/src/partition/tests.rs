//! The partition's state machine and its leader's door.

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

/// The door and the log behind it: what is proposed is applied by `settle`.
struct Led {
    state: PartitionState,
    leader: LeaderState,
    proposed: Vec<(Option<ProducerStamp>, u32)>,
}

impl Led {
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

    fn settle(&mut self) {
        for (stamp, record_count) in self.proposed.drain(..) {
            let entry = records(self.state.next_offset.get(), record_count, stamp);
            self.state.apply(&entry);
        }
    }

    fn change_leader(&mut self) {
        self.settle();
        self.leader = LeaderState::new(&self.state, Term(self.leader.term().get() + 1));
    }
}

fn at(base_offset: u64) -> Admission {
    Admission::Propose {
        base_offset: Offset(base_offset),
    }
}

fn again_at(base_offset: u64) -> Admission {
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
fn a_duplicate_gets_the_place_of_the_original() {
    let mut led = Led::new();
    assert_eq!(led.offer_any(None, 2), at(0));
    assert_eq!(led.offer(stamp(1, 0, 0), 5), at(2));
    assert_eq!(led.offer(stamp(1, 0, 5), 5), at(7));
    assert_eq!(led.offer(stamp(1, 0, 0), 5), again_at(2));
    led.settle();
    assert_eq!(led.offer(stamp(1, 0, 5), 5), again_at(7));
    led.change_leader();
    assert_eq!(led.offer(stamp(1, 0, 5), 5), again_at(7));
    assert_eq!(led.offer(stamp(1, 0, 10), 1), at(12));
}

#[test]
fn producers_with_nothing_in_flight_are_let_go_of() {
    let mut led = Led::new();
    let many = PRODUCERS_PER_PARTITION_MAX_COUNT as u64 + 10;
    for id in 0..many {
        led.offer(stamp(id, 0, 0), 1);
        led.settle();
    }
    assert!(
        led.leader.in_flight_count() <= 11,
        "{}",
        led.leader.in_flight_count()
    );
    assert_eq!(led.offer(stamp(many - 1, 0, 1), 1), at(many));
}

#[test]
fn gaps_overlaps_and_unknown_producers_are_out_of_order() {
    let mut led = Led::new();
    let refused = |admission| match admission {
        Admission::Reject(rejection) => rejection,
        other => panic!("{other:?}"),
    };
    let rejection = refused(led.offer(stamp(1, 0, 5), 1));
    assert_eq!(
        rejection,
        Rejection::OutOfOrder {
            expected: Sequence(0),
            found: Sequence(5)
        }
    );
    assert_eq!(rejection.reason(), Reason::OutOfOrderSequence);
    led.offer(stamp(1, 0, 0), 5);
    for settled in [false, true] {
        let gap = refused(led.offer(stamp(1, 0, 6), 1));
        assert_eq!(
            gap,
            Rejection::OutOfOrder {
                expected: Sequence(5),
                found: Sequence(6)
            }
        );
        let overlap = refused(led.offer(stamp(1, 0, 4), 2));
        assert_eq!(
            overlap,
            Rejection::OutOfOrder {
                expected: Sequence(5),
                found: Sequence(4)
            }
        );
        if !settled {
            led.settle();
        }
    }
}

#[test]
fn a_newer_epoch_fences_the_older_and_starts_at_zero() {
    let mut led = Led::new();
    led.offer(stamp(1, 0, 0), 5);
    assert!(matches!(led.offer(stamp(1, 1, 5), 1), Admission::Reject(_)));
    assert_eq!(led.offer(stamp(1, 1, 0), 1), at(5));
    let fenced = Admission::Reject(Rejection::Fenced {
        current: ProducerEpoch(1),
        found: ProducerEpoch(0),
    });
    assert_eq!(led.offer(stamp(1, 0, 5), 1), fenced);
    assert_eq!(led.offer(stamp(1, 0, 0), 5), fenced);
    led.settle();
    assert_eq!(led.offer(stamp(1, 0, 5), 1), fenced);
    assert_eq!(led.offer(stamp(1, 1, 1), 1), at(6));
}

#[test]
fn what_is_too_old_to_remember_is_told_apart_from_a_gap() {
    let mut led = Led::new();
    for n in 0..100 {
        assert_eq!(led.offer(stamp(1, 0, n), 1), at(n));
    }
    led.settle();
    let admission = led.offer(stamp(1, 0, 3), 1);
    assert_eq!(
        admission,
        Admission::Reject(Rejection::Forgotten { found: Sequence(3) })
    );
    assert!(matches!(
        led.offer(stamp(1, 0, 99), 1),
        Admission::Duplicate { .. }
    ));
}

#[test]
fn sequences_do_not_overflow() {
    let mut led = Led::new();
    let admission = led.offer(stamp(1, 0, u64::MAX), 5);
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
    /// Batches offered in any order, with repeats and changes of leader: each stands in the log
    /// at most once, in order, and a checkpoint holds all of the state.
    #[test]
    fn each_batch_once_and_in_order(
        steps in proptest::collection::vec((0_u64..3, 0_u64..8, 0_u8..10), 1..200)
    ) {
        let mut led = Led::new();
        let mut log: std::collections::BTreeMap<u64, Vec<u64>> = std::collections::BTreeMap::new();
        for (id, batch, act) in steps {
            match act {
                0 => led.change_leader(),
                1..4 => led.settle(),
                _ => {
                    let seen = log.entry(id).or_default();
                    let admission = led.offer(stamp(id, 0, batch * 2), 2);
                    if let Admission::Propose { base_offset } = admission {
                        let ahead: u32 = led.proposed.iter().map(|p| p.1).sum();
                        let end = led.state.next_offset.plus(ahead);
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
        led.settle();
        let total: usize = log.values().map(Vec::len).sum();
        prop_assert_eq!(led.state.next_offset, Offset(total as u64 * 2));
        prop_assert_eq!(&PartitionState::decode(&led.state.encode()).unwrap(), &led.state);
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
