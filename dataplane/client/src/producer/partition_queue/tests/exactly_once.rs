//! A partition queue against a model of a leader, with random failures.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use lograft_core::record_batch::BatchView;
use proptest::prelude::*;

use super::*;
use crate::producer::partition_queue::batch::Settled;

/// A leader's state of one producer, and its log.
#[derive(Default)]
struct Model {
    log: Vec<u64>,
    epoch: u32,
    next_sequence: u64,
    /// Offsets of remembered batches, by epoch and base sequence.
    known: BTreeMap<(u32, u64), u64>,
}

impl Model {
    fn append(&mut self, sent: &OutgoingBatch) -> Result<(u64, bool), Verdict> {
        let stamp = sent.stamp.unwrap();
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
        self.next_sequence = sequence + u64::from(sent.encoded.record_count);
        let at = self.log.len() as u64;
        self.known.insert((epoch, sequence), at);
        // Remembers only as many batches as leaders are required to.
        if self.known.len() > PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT {
            self.known.pop_first();
        }
        let view = BatchView::parse(sent.encoded.bytes.clone()).unwrap();
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
    /// The leader handles the next request, and its reply arrives.
    Answer,
    NotAppended,
    AppendedButTimeout,
    Refuse,
    /// The leader handles some of what was sent; no reply arrives.
    StreamLost(u8),
    Attach,
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
        1 => (0_u8..6).prop_map(Step::StreamLost),
        4 => Just(Step::Attach),
        1 => (1_u8..70).prop_map(Step::Wait),
    ]
}

struct Run {
    queue: Queue,
    model: Model,
    wire: VecDeque<(u64, OutgoingBatch)>,
    now: Instant,
    next_value: u64,
    next_id: u64,
    pushed: Vec<(u64, Arc<Outcome>, u32)>,
}

impl Run {
    fn new() -> Self {
        Self {
            queue: queue(true),
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
        Self::settle(self.queue.on_reply(id, verdict));
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
                    let (outcome, index) = push(&mut self.queue, value, self.now);
                    self.pushed.push((value, outcome, index));
                    self.next_value += 1;
                }
            }
            Step::Take => {
                self.next_id += 1;
                if let Some(send) = take(&mut self.queue, self.next_id, self.now) {
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
            Step::StreamLost(handled) => {
                for (_, send) in self.wire.drain(..).take(usize::from(handled)) {
                    let _outcome = self.model.append(&send);
                }
                self.queue.on_stream_lost(&ClientError::Closed);
            }
            Step::Attach => {
                if !self.queue.route.has_stream() {
                    self.queue.attach(());
                }
            }
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds.into());
                Self::settle(self.queue.expire(self.now));
            }
        }
    }

    /// Delivers all batches without further failures.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.step(Step::Attach);
            self.step(Step::Take);
            self.step(Step::Answer);
            if self.queue.is_empty() {
                return;
            }
        }
        panic!("batches are never settled: {:?}", self.queue);
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
                Ok(Ack {
                    base_offset: Some(base),
                    ..
                }) => {
                    let at = usize::try_from(base.plus(*index).get()).unwrap();
                    prop_assert_eq!(places, &[at], "{} is not at its acknowledged offset", value);
                }
                Ok(_) => prop_assert_eq!(places.len(), 1, "{} is not stored", value),
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
    /// With any failures: acknowledged records are stored once and in order, and a record whose
    /// error says that it is not in the log is not in the log.
    #[test]
    fn records_are_stored_once_and_in_order(steps in proptest::collection::vec(step(), 1..200)) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.finish();
        run.check()?;
    }
}
