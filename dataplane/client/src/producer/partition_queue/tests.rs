use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures_util::FutureExt as _;
use lograft_core::record_batch::BatchView;
use lograft_core::{Offset, Term};
use lograft_proto::log::v1::{Durability, Error as WireError};
use proptest::prelude::*;

use super::super::outcome::Waiting;
use super::*;

const TIMEOUT: Duration = Duration::from_mins(1);

fn lane(idempotent: bool) -> Lane {
    let mut lane = Lane::new(LaneConfig {
        topic: "t".into(),
        partition: PartitionId(0),
        compression: Compression::None,
        batch_max_bytes: 64,
        linger: Duration::ZERO,
        delivery_timeout: TIMEOUT,
        idempotent,
    });
    lane.phase = Phase::Flowing;
    lane
}

fn push(lane: &mut Lane, value: u64, now: Instant) -> (Arc<Outcome>, u32) {
    let value = value.to_be_bytes();
    let parts = RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    };
    let pushed = lane.push(&parts, || now).unwrap();
    (Arc::clone(lane.youngest().unwrap()), pushed.index)
}

/// Fills one batch.
fn push_batch(lane: &mut Lane, now: Instant) -> Arc<Outcome> {
    loop {
        let (outcome, _) = push(lane, 0, now);
        if lane.open.is_none() {
            return outcome;
        }
    }
}

fn take(lane: &mut Lane, id: u64, now: Instant) -> Option<Send> {
    match lane.take(id, true, now) {
        Take::Send { send, .. } => Some(send),
        Take::Parked | Take::Nothing => None,
    }
}

fn error(reason: Reason, metadata: &[(&str, &str)]) -> ClientError {
    ClientError::from_wire(
        "n1:9400",
        WireError {
            code: reason.status() as i32,
            reason: reason.as_str().into(),
            text: String::new(),
            metadata: metadata
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
        },
    )
}

fn verdict(reason: Reason) -> Verdict {
    Verdict::of(error(reason, &[]))
}

fn stored(offset: u64) -> Verdict {
    Verdict::Stored(Ack {
        base_offset: Offset(offset),
        leader_epoch: Term(1),
        durability: Durability::MajorityFsync,
        append_time_ms: 0,
        duplicate: false,
    })
}

fn result(outcome: &Arc<Outcome>) -> Option<Result<Ack, ClientError>> {
    Waiting::new(Arc::clone(outcome)).now_or_never()
}

#[test]
fn a_batch_that_is_not_full_goes_only_when_few_are_in_flight() {
    let now = Instant::now();
    let mut lane = lane(true);
    push(&mut lane, 1, now);
    assert!(take(&mut lane, 1, now).unwrap().partial);
    push(&mut lane, 2, now);
    assert!(take(&mut lane, 2, now).unwrap().partial);
    push(&mut lane, 3, now);
    assert!(take(&mut lane, 3, now).is_none());
    push_batch(&mut lane, now);
    assert!(!take(&mut lane, 4, now).unwrap().partial);
    push(&mut lane, 4, now);
    lane.on_reply(1, stored(0));
    assert!(!lane.has_sendable(now));
    lane.on_reply(2, stored(1));
    assert!(lane.has_sendable(now));
}

#[test]
fn a_lingering_batch_waits_its_time_unless_flushed() {
    let now = Instant::now();
    let mut lane = lane(true);
    lane.config.linger = Duration::from_millis(5);
    push(&mut lane, 1, now);
    assert!(!lane.has_sendable(now));
    assert_eq!(lane.linger_until(), Some(now + Duration::from_millis(5)));
    assert!(lane.has_sendable(now + Duration::from_millis(5)));
    assert_eq!(lane.flush().len(), 1);
    assert!(lane.has_sendable(now));
}

#[test]
fn in_flight_batches_are_bounded_below_what_leaders_remember() {
    let now = Instant::now();
    for (idempotent, bound) in [(true, PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT), (false, 1)] {
        let mut lane = lane(idempotent);
        (0..50).for_each(|_| drop(push_batch(&mut lane, now)));
        let taken = (1..).map_while(|id| take(&mut lane, id, now)).count();
        assert_eq!(taken, bound);
    }
}

#[test]
fn after_a_failure_all_replies_are_awaited_and_the_order_stays() {
    let now = Instant::now();
    let mut lane = lane(true);
    (0..4).for_each(|_| drop(push_batch(&mut lane, now)));
    let first: Vec<_> = (1..=3)
        .map(|id| take(&mut lane, id, now).unwrap())
        .collect();
    assert!(lane.on_reply(1, verdict(Reason::NotLeader)).is_none());
    assert!(
        !lane.has_sendable(now),
        "nothing may overtake the failed batch"
    );
    lane.on_reply(2, verdict(Reason::OutOfOrderSequence));
    assert!(matches!(lane.phase, Phase::Draining));
    lane.on_reply(3, verdict(Reason::NotLeader));
    assert!(matches!(lane.phase, Phase::Unrouted));
    assert_eq!(lane.failures(), 1);
    lane.phase = Phase::Flowing;
    for (id, sent) in (4..).zip(&first) {
        let again = take(&mut lane, id, now).unwrap();
        assert_eq!(again.stamp, sent.stamp);
        assert!(again.resent);
    }
    (4..=6).for_each(|id| drop(lane.on_reply(id, stored(id))));
    assert!(!take(&mut lane, 7, now).unwrap().resent);
}

#[test]
fn behind_a_refused_batch_sequences_begin_anew() {
    let now = Instant::now();
    let mut lane = lane(true);
    let refused = push_batch(&mut lane, now);
    let behind = push_batch(&mut lane, now);
    take(&mut lane, 1, now).unwrap();
    take(&mut lane, 2, now).unwrap();
    let settled = lane.on_reply(1, verdict(Reason::BatchMalformed)).unwrap();
    settled.outcome.settle(settled.result);
    let failed = result(&refused).unwrap().unwrap_err();
    assert_eq!(failed.reason(), Some(Reason::BatchMalformed));
    assert!(
        lane.on_reply(2, verdict(Reason::OutOfOrderSequence))
            .is_none()
    );
    lane.phase = Phase::Flowing;
    let again = take(&mut lane, 3, now).unwrap();
    let stamp = Stamp {
        epoch: ProducerEpoch(1),
        base_sequence: Sequence(0),
    };
    assert_eq!(again.stamp, Some(stamp));
    assert!(result(&behind).is_none());
}

#[test]
fn a_new_epoch_waits_for_what_is_in_doubt_in_the_old_one() {
    let now = Instant::now();
    let mut lane = lane(true);
    (0..3).for_each(|_| drop(push_batch(&mut lane, now)));
    (1..=3).for_each(|id| drop(take(&mut lane, id, now).unwrap()));
    lane.on_reply(1, verdict(Reason::Timeout));
    assert!(lane.on_reply(2, verdict(Reason::BatchMalformed)).is_some());
    lane.on_reply(3, verdict(Reason::OutOfOrderSequence));
    lane.phase = Phase::Flowing;
    assert_eq!(
        take(&mut lane, 4, now).unwrap().stamp.unwrap().epoch,
        ProducerEpoch(0)
    );
    assert!(
        take(&mut lane, 5, now).is_none(),
        "it would fence the batch before it"
    );
    lane.on_reply(4, stored(0));
    assert_eq!(
        take(&mut lane, 6, now).unwrap().stamp.unwrap().epoch,
        ProducerEpoch(1)
    );
}

#[test]
fn nothing_new_goes_while_a_batch_is_in_doubt() {
    let now = Instant::now();
    let mut lane = lane(true);
    (0..3).for_each(|_| drop(push_batch(&mut lane, now)));
    (1..=2).for_each(|id| drop(take(&mut lane, id, now).unwrap()));
    lane.on_link_lost(&ClientError::Closed);
    lane.phase = Phase::Flowing;
    assert!(take(&mut lane, 3, now).unwrap().resent);
    assert!(take(&mut lane, 4, now).unwrap().resent);
    assert!(
        take(&mut lane, 5, now).is_none(),
        "leaders could forget those in doubt"
    );
    lane.on_reply(3, stored(0));
    assert!(take(&mut lane, 5, now).is_none());
    lane.on_reply(4, stored(1));
    assert!(!take(&mut lane, 5, now).unwrap().resent);
}

#[test]
fn a_batch_that_is_not_full_waits_for_what_is_in_doubt_too() {
    let now = Instant::now();
    let mut lane = lane(true);
    push(&mut lane, 1, now);
    take(&mut lane, 1, now).unwrap();
    lane.on_link_lost(&ClientError::Closed);
    lane.phase = Phase::Flowing;
    assert!(take(&mut lane, 2, now).unwrap().resent);
    push(&mut lane, 2, now);
    assert!(take(&mut lane, 3, now).is_none());
    lane.on_reply(2, stored(0));
    assert!(take(&mut lane, 3, now).unwrap().partial);
}

#[test]
fn a_forgotten_producer_begins_anew_and_a_lost_batch_is_told() {
    let now = Instant::now();
    for (expected, is_forgotten) in [("0", true), ("3", false)] {
        let mut lane = lane(true);
        let outcome = push_batch(&mut lane, now);
        take(&mut lane, 1, now).unwrap();
        let gap = error(
            Reason::OutOfOrderSequence,
            &[("expected_sequence", expected)],
        );
        let settled = lane.on_reply(1, Verdict::of(gap));
        assert_eq!(settled.is_none(), is_forgotten);
        drop(outcome);
        assert_eq!(lane.epoch, ProducerEpoch(1));
    }
}

#[test]
fn what_is_late_fails_and_says_whether_it_may_be_stored() {
    let now = Instant::now();
    let deadline = now + TIMEOUT;
    let mut lane = lane(true);
    let in_doubt = push_batch(&mut lane, now);
    let young = push_batch(&mut lane, now + Duration::from_secs(30));
    take(&mut lane, 1, now).unwrap();
    assert_eq!(lane.expires_at(), Some(deadline));
    assert!(lane.expire(deadline - Duration::from_millis(1)).is_empty());
    for settled in lane.expire(deadline) {
        settled.outcome.settle(settled.result);
    }
    let maybe = |error| match error {
        ClientError::Undelivered { maybe_appended, .. } => maybe_appended,
        other => panic!("{other}"),
    };
    assert!(maybe(result(&in_doubt).unwrap().unwrap_err()));
    assert!(result(&young).is_none());
    let again = take(&mut lane, 2, deadline).unwrap();
    let stamp = Stamp {
        epoch: ProducerEpoch(1),
        base_sequence: Sequence(0),
    };
    assert_eq!(again.stamp, Some(stamp));
    // A deadline reply to what has been given up changes nothing.
    assert!(lane.on_reply(1, stored(0)).is_none());
    lane.on_reply(2, verdict(Reason::DiskFull));
    let end = deadline + TIMEOUT;
    for settled in lane.expire(end) {
        settled.outcome.settle(settled.result);
    }
    assert!(!maybe(result(&young).unwrap().unwrap_err()));
    assert!(lane.is_empty());
}

#[test]
fn a_record_that_does_not_fit_begins_the_next_batch() {
    let now = Instant::now();
    let mut lane = lane(true);
    lane.config.batch_max_bytes = usize::MAX;
    let value = vec![0; 900 * 1024];
    let parts = RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    };
    let closed: Vec<bool> = (0..5)
        .map(|_| lane.push(&parts, || now).unwrap().closed)
        .collect();
    assert_eq!(closed, [false, false, true, false, true]);
    let huge = vec![0; lograft_core::limits::RECORD_MAX_BYTES + 1];
    let parts = RecordParts {
        value: Some(&huge),
        ..RecordParts::default()
    };
    assert!(matches!(
        lane.push(&parts, || now),
        Err(BatchError::TooLarge { .. })
    ));
}

/// A leader's view of one producer, and its log.
#[derive(Default)]
struct Model {
    log: Vec<u64>,
    epoch: u32,
    next_sequence: u64,
    /// Batches by epoch and base sequence: where they are.
    known: BTreeMap<(u32, u64), u64>,
}

impl Model {
    fn append(&mut self, send: &Send) -> Result<(u64, bool), Verdict> {
        let stamp = send.stamp.unwrap();
        let (epoch, sequence) = (stamp.epoch.get(), stamp.base_sequence.get());
        if let Some(&at) = self.known.get(&(epoch, sequence)) {
            return Ok((at, true));
        }
        if epoch < self.epoch {
            return Err(verdict(Reason::ProducerFenced));
        }
        if epoch == self.epoch && sequence < self.next_sequence {
            return Err(verdict(Reason::DuplicateSequence));
        }
        let expected = if epoch > self.epoch {
            0
        } else {
            self.next_sequence
        };
        if sequence != expected {
            return Err(verdict(Reason::OutOfOrderSequence));
        }
        self.epoch = epoch;
        self.next_sequence = sequence + u64::from(send.encoded.record_count);
        let at = self.log.len() as u64;
        self.known.insert((epoch, sequence), at);
        // A leader that remembers no more than it must.
        if self.known.len() > PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT {
            self.known.pop_first();
        }
        let view = BatchView::parse(send.encoded.bytes.clone()).unwrap();
        for record in view.records().unwrap() {
            let value: Bytes = record.unwrap().value.unwrap();
            self.log
                .push(u64::from_be_bytes(value.as_ref().try_into().unwrap()));
        }
        Ok((at, false))
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u8),
    Take,
    /// The leader handles the next request and its reply arrives.
    Answer,
    NotAppended,
    AppendedButTimeout,
    Refuse,
    /// The leader handles some of what was sent; no reply arrives.
    LinkLost(u8),
    Route,
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u8..20).prop_map(Step::Push),
        8 => Just(Step::Take),
        8 => Just(Step::Answer),
        2 => Just(Step::NotAppended),
        2 => Just(Step::AppendedButTimeout),
        1 => Just(Step::Refuse),
        1 => (0_u8..6).prop_map(Step::LinkLost),
        4 => Just(Step::Route),
        1 => (1_u8..70).prop_map(Step::Wait),
    ]
}

struct Run {
    lane: Lane,
    model: Model,
    wire: VecDeque<(u64, Send)>,
    now: Instant,
    next_value: u64,
    next_id: u64,
    pushed: Vec<(u64, Arc<Outcome>, u32)>,
}

impl Run {
    fn new() -> Self {
        Self {
            lane: lane(true),
            model: Model::default(),
            wire: VecDeque::new(),
            now: Instant::now(),
            next_value: 0,
            next_id: 0,
            pushed: Vec::new(),
        }
    }

    fn settle(settled: impl IntoIterator<Item = Settled>) {
        settled.into_iter().for_each(|s| s.outcome.settle(s.result));
    }

    fn reply(&mut self, id: u64, verdict: Verdict) {
        Self::settle(self.lane.on_reply(id, verdict));
    }

    fn answer(&mut self) {
        let Some((id, send)) = self.wire.pop_front() else {
            return;
        };
        let verdict = match self.model.append(&send) {
            Ok((at, _)) => stored(at),
            Err(verdict) => verdict,
        };
        self.reply(id, verdict);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push(count) => {
                for _ in 0..count {
                    let value = self.next_value;
                    let (outcome, index) = push(&mut self.lane, value, self.now);
                    self.pushed.push((value, outcome, index));
                    self.next_value += 1;
                }
            }
            Step::Take => {
                self.next_id += 1;
                if let Some(send) = take(&mut self.lane, self.next_id, self.now) {
                    self.wire.push_back((self.next_id, send));
                }
            }
            Step::Answer => self.answer(),
            Step::NotAppended => {
                if let Some((id, _)) = self.wire.pop_front() {
                    self.reply(id, verdict(Reason::DiskFull));
                }
            }
            Step::AppendedButTimeout => {
                if let Some((id, send)) = self.wire.pop_front() {
                    let timeout = verdict(Reason::Timeout);
                    let verdict = self.model.append(&send).err().unwrap_or(timeout);
                    self.reply(id, verdict);
                }
            }
            Step::Refuse => {
                if let Some((id, _)) = self.wire.pop_front() {
                    self.reply(id, verdict(Reason::PermissionDenied));
                }
            }
            Step::LinkLost(handled) => {
                for (_, send) in self.wire.drain(..).take(usize::from(handled)) {
                    let _outcome = self.model.append(&send);
                }
                self.lane.on_link_lost(&ClientError::Closed);
            }
            Step::Route => {
                if matches!(self.lane.phase, Phase::Unrouted) {
                    self.lane.phase = Phase::Flowing;
                }
            }
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds.into());
                Self::settle(self.lane.expire(self.now));
            }
        }
    }

    /// Lets everything come to its end without further failures.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.step(Step::Route);
            self.step(Step::Take);
            self.step(Step::Answer);
            if self.lane.is_empty() {
                return;
            }
        }
        panic!("the lane does not come to an end: {:?}", self.lane);
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut places: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, value) in self.model.log.iter().enumerate() {
            places.entry(*value).or_default().push(at);
        }
        prop_assert!(
            self.model.log.is_sorted(),
            "out of order: {:?}",
            self.model.log
        );
        for (value, outcome, index) in &self.pushed {
            let places = places.get(value).map_or(&[][..], Vec::as_slice);
            prop_assert!(places.len() <= 1, "{value} is stored twice");
            match result(outcome).expect("settled") {
                Ok(ack) => {
                    let at = usize::try_from(ack.base_offset.plus(*index).get()).unwrap();
                    prop_assert_eq!(places, &[at], "{} is not where it was said", value);
                }
                Err(
                    ClientError::Undelivered {
                        maybe_appended: true,
                        ..
                    }
                    | ClientError::InDoubt { .. },
                ) => {}
                Err(error) => prop_assert!(places.is_empty(), "{value} stored, yet {error}"),
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever fails: stored once where acknowledged, in order, and truly not there where an error
    /// says so.
    #[test]
    fn acknowledged_once_in_order(steps in proptest::collection::vec(step(), 1..200)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.finish();
        run.check()?;
    }
}
