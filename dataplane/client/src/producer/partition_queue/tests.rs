use futures_util::FutureExt as _;
use lograft_core::compression::Compression;
use lograft_core::{Offset, PartitionId, Reason, Term};
use lograft_proto::log::v1::{Durability, Error as WireError};
use tokio::time::Duration;

use super::batch::Stamp;
use super::outgoing::{OutgoingBatch, Take};
use super::*;
use crate::producer::outcome::{Ack, OutcomeFuture};
use crate::producer::verdict::Verdict;

mod exactly_once;
mod fate;
mod routing;

const TIMEOUT: Duration = Duration::from_mins(1);

type Queue = PartitionQueue<()>;

fn config(idempotent: bool) -> QueueConfig {
    QueueConfig {
        topic: "t".into(),
        partition: PartitionId(0),
        compression: Compression::None,
        batch_max_bytes: 64,
        topic_limits: TopicLimits::default(),
        linger: Duration::ZERO,
        delivery_timeout: TIMEOUT,
        idempotent,
    }
}

/// A queue with a stream.
fn queue(idempotent: bool) -> Queue {
    let mut queue = Queue::new(config(idempotent));
    queue.attach(());
    queue
}

fn push(queue: &mut Queue, value: u64, now: Instant) -> (Arc<Outcome>, u32) {
    let value = value.to_be_bytes();
    let parts = RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    };
    let pushed = queue.push(&parts, || now).unwrap();
    (Arc::clone(queue.youngest().unwrap()), pushed.index)
}

/// Fills one batch.
fn push_batch(queue: &mut Queue, now: Instant) -> Arc<Outcome> {
    loop {
        let (outcome, _) = push(queue, 0, now);
        if queue.open.is_none() {
            return outcome;
        }
    }
}

fn take(queue: &mut Queue, id: u64, now: Instant) -> Option<OutgoingBatch> {
    match queue.take(id, true, now) {
        Take::Send { batch, .. } => Some(batch),
        Take::Throttled | Take::Nothing => None,
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
            ..WireError::default()
        },
    )
}

fn verdict(reason: Reason) -> Verdict {
    Verdict::from_error(error(reason, &[]))
}

fn stored(offset: u64) -> Verdict {
    Verdict::Stored(Ack {
        base_offset: Some(Offset(offset)),
        leader_epoch: Term(1),
        durability: Durability::MajorityFsync,
        append_time_ms: 0,
        duplicate: false,
    })
}

fn result(outcome: &Arc<Outcome>) -> Option<Result<Ack, ClientError>> {
    OutcomeFuture::new(Arc::clone(outcome)).now_or_never()
}

#[test]
fn a_partial_batch_is_sent_only_if_few_are_in_flight() {
    let now = Instant::now();
    let mut queue = queue(true);
    push(&mut queue, 1, now);
    assert!(take(&mut queue, 1, now).unwrap().partial);
    push(&mut queue, 2, now);
    assert!(take(&mut queue, 2, now).unwrap().partial);
    push(&mut queue, 3, now);
    assert!(take(&mut queue, 3, now).is_none());
    push_batch(&mut queue, now);
    assert!(!take(&mut queue, 4, now).unwrap().partial);
    push(&mut queue, 4, now);
    queue.on_reply(1, stored(0));
    assert!(!queue.has_sendable(now));
    queue.on_reply(2, stored(1));
    assert!(queue.has_sendable(now));
}

#[test]
fn a_lingering_batch_is_sent_after_its_time_or_a_flush() {
    let now = Instant::now();
    let mut queue = queue(true);
    queue.config.linger = Duration::from_millis(5);
    push(&mut queue, 1, now);
    assert!(!queue.has_sendable(now));
    assert_eq!(queue.linger_until(), Some(now + Duration::from_millis(5)));
    assert!(queue.has_sendable(now + Duration::from_millis(5)));
    assert_eq!(queue.flush().len(), 1);
    assert!(queue.has_sendable(now));
}

#[test]
fn fewer_batches_are_in_flight_than_leaders_remember() {
    let now = Instant::now();
    for (idempotent, bound) in [(true, PRODUCER_IN_FLIGHT_BATCHES_MAX_COUNT), (false, 1)] {
        let mut queue = queue(idempotent);
        (0..50).for_each(|_| drop(push_batch(&mut queue, now)));
        let taken = (1..).map_while(|id| take(&mut queue, id, now)).count();
        assert_eq!(taken, bound);
    }
}

#[test]
fn after_a_failure_all_replies_are_awaited_and_the_order_is_kept() {
    let now = Instant::now();
    let mut queue = queue(true);
    (0..4).for_each(|_| drop(push_batch(&mut queue, now)));
    let first: Vec<_> = (1..=3)
        .map(|id| take(&mut queue, id, now).unwrap())
        .collect();
    assert!(queue.on_reply(1, verdict(Reason::NotLeader)).is_none());
    assert!(
        !queue.has_sendable(now),
        "nothing may overtake the failed batch"
    );
    queue.on_reply(2, verdict(Reason::OutOfOrderSequence));
    assert!(queue.route.is_draining());
    queue.on_reply(3, verdict(Reason::NotLeader));
    assert!(!queue.route.has_stream());
    assert_eq!(queue.failures(), 1);
    queue.attach(());
    for (id, sent) in (4..).zip(&first) {
        let again = take(&mut queue, id, now).unwrap();
        assert_eq!(again.stamp, sent.stamp);
        assert!(again.resent);
    }
    (4..=6).for_each(|id| drop(queue.on_reply(id, stored(id))));
    assert!(!take(&mut queue, 7, now).unwrap().resent);
}

#[test]
fn behind_a_refused_batch_sequences_restart_in_a_new_epoch() {
    let now = Instant::now();
    let mut queue = queue(true);
    let refused = push_batch(&mut queue, now);
    let behind = push_batch(&mut queue, now);
    take(&mut queue, 1, now).unwrap();
    take(&mut queue, 2, now).unwrap();
    let settled = queue.on_reply(1, verdict(Reason::BatchMalformed)).unwrap();
    settled.outcome.settle(settled.result);
    let failed = result(&refused).unwrap().unwrap_err();
    assert_eq!(failed.reason(), Some(Reason::BatchMalformed));
    assert!(
        queue
            .on_reply(2, verdict(Reason::OutOfOrderSequence))
            .is_none()
    );
    queue.attach(());
    let again = take(&mut queue, 3, now).unwrap();
    let stamp = Stamp {
        epoch: ProducerEpoch(1),
        base_sequence: Sequence(0),
    };
    assert_eq!(again.stamp, Some(stamp));
    assert!(result(&behind).is_none());
}

#[test]
fn a_new_epoch_waits_for_batches_in_doubt_of_the_old_one() {
    let now = Instant::now();
    let mut queue = queue(true);
    (0..3).for_each(|_| drop(push_batch(&mut queue, now)));
    (1..=3).for_each(|id| drop(take(&mut queue, id, now).unwrap()));
    queue.on_reply(1, verdict(Reason::Timeout));
    assert!(queue.on_reply(2, verdict(Reason::BatchMalformed)).is_some());
    queue.on_reply(3, verdict(Reason::OutOfOrderSequence));
    queue.attach(());
    assert_eq!(
        take(&mut queue, 4, now).unwrap().stamp.unwrap().epoch,
        ProducerEpoch(0)
    );
    assert!(
        take(&mut queue, 5, now).is_none(),
        "it would fence the batch in doubt"
    );
    queue.on_reply(4, stored(0));
    assert_eq!(
        take(&mut queue, 6, now).unwrap().stamp.unwrap().epoch,
        ProducerEpoch(1)
    );
}

#[test]
fn no_new_batch_is_sent_while_one_is_in_doubt() {
    let now = Instant::now();
    let mut queue = queue(true);
    (0..3).for_each(|_| drop(push_batch(&mut queue, now)));
    (1..=2).for_each(|id| drop(take(&mut queue, id, now).unwrap()));
    queue.on_stream_lost(&ClientError::Closed);
    queue.attach(());
    assert!(take(&mut queue, 3, now).unwrap().resent);
    assert!(take(&mut queue, 4, now).unwrap().resent);
    assert!(
        take(&mut queue, 5, now).is_none(),
        "leaders could forget the batches in doubt"
    );
    queue.on_reply(3, stored(0));
    assert!(take(&mut queue, 5, now).is_none());
    queue.on_reply(4, stored(1));
    assert!(!take(&mut queue, 5, now).unwrap().resent);
}

#[test]
fn no_partial_batch_is_sent_while_one_is_in_doubt() {
    let now = Instant::now();
    let mut queue = queue(true);
    push(&mut queue, 1, now);
    take(&mut queue, 1, now).unwrap();
    queue.on_stream_lost(&ClientError::Closed);
    queue.attach(());
    assert!(take(&mut queue, 2, now).unwrap().resent);
    push(&mut queue, 2, now);
    assert!(take(&mut queue, 3, now).is_none());
    queue.on_reply(2, stored(0));
    assert!(take(&mut queue, 3, now).unwrap().partial);
}

#[test]
fn a_forgotten_producer_starts_a_new_epoch_and_a_lost_predecessor_fails_the_batch() {
    let now = Instant::now();
    for (expected, is_forgotten) in [("0", true), ("3", false)] {
        let mut queue = queue(true);
        let outcome = push_batch(&mut queue, now);
        take(&mut queue, 1, now).unwrap();
        let gap = error(
            Reason::OutOfOrderSequence,
            &[("expected_sequence", expected)],
        );
        let settled = queue.on_reply(1, Verdict::from_error(gap));
        assert_eq!(settled.is_none(), is_forgotten);
        drop(outcome);
        assert_eq!(queue.epoch, ProducerEpoch(1));
    }
}

#[test]
fn a_late_batch_fails_and_reports_whether_it_may_be_stored() {
    let now = Instant::now();
    let deadline = now + TIMEOUT;
    let mut queue = queue(true);
    let in_doubt = push_batch(&mut queue, now);
    let young = push_batch(&mut queue, now + Duration::from_secs(30));
    take(&mut queue, 1, now).unwrap();
    assert_eq!(queue.expires_at(), Some(deadline));
    assert!(queue.expire(deadline - Duration::from_millis(1)).is_empty());
    for settled in queue.expire(deadline) {
        settled.outcome.settle(settled.result);
    }
    let maybe = |error| match error {
        ClientError::Undelivered { maybe_appended, .. } => maybe_appended,
        other => panic!("{other}"),
    };
    assert!(maybe(result(&in_doubt).unwrap().unwrap_err()));
    assert!(result(&young).is_none());
    let again = take(&mut queue, 2, deadline).unwrap();
    let stamp = Stamp {
        epoch: ProducerEpoch(1),
        base_sequence: Sequence(0),
    };
    assert_eq!(again.stamp, Some(stamp));
    // A late reply to a batch that was given up changes nothing.
    assert!(queue.on_reply(1, stored(0)).is_none());
    queue.on_reply(2, verdict(Reason::DiskFull));
    let end = deadline + TIMEOUT;
    for settled in queue.expire(end) {
        settled.outcome.settle(settled.result);
    }
    assert!(!maybe(result(&young).unwrap().unwrap_err()));
    assert!(queue.is_empty());
}

#[test]
fn batches_stay_within_the_limit_of_the_topic() {
    let now = Instant::now();
    let mut queue = queue(true);
    queue.config.batch_max_bytes = 64 * 1024;
    queue.set_topic_limits(TopicLimits {
        batch_max_bytes: Some(1024),
        ..TopicLimits::default()
    });
    let value = vec![0; 300];
    let parts = RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    };
    for _ in 0..10 {
        queue.push(&parts, || now).unwrap();
    }
    queue.flush();
    let mut sizes = Vec::new();
    while let Some(batch) = take(&mut queue, sizes.len() as u64, now) {
        sizes.push(batch.encoded.bytes.len());
    }
    assert!(
        sizes.len() >= 3 && sizes.iter().all(|size| *size <= 1024),
        "{sizes:?}"
    );
}

#[test]
fn the_limit_of_the_topic_is_learned_from_a_refusal() {
    let now = Instant::now();
    let mut queue = queue(true);
    queue.config.batch_max_bytes = 64 * 1024;
    let value = vec![0; 600];
    let parts = RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    };
    let send = |queue: &mut Queue, id| {
        for _ in 0..2 {
            queue.push(&parts, || now).unwrap();
        }
        queue.flush();
        take(queue, id, now).unwrap().encoded.bytes.len()
    };
    assert!(send(&mut queue, 1) > 1200);
    let metadata = [("field", "batch.max.bytes"), ("bound", "1024")];
    let refused = Verdict::from_error(error(Reason::BatchTooLarge, &metadata));
    queue.on_reply(1, refused).unwrap();
    assert!(send(&mut queue, 2) < 1024);
}

#[test]
fn a_record_above_the_known_limit_is_sent_alone() {
    let now = Instant::now();
    let mut queue = queue(true);
    queue.config.batch_max_bytes = 64 * 1024;
    queue.set_topic_limits(TopicLimits {
        record_max_bytes: Some(1024),
        ..TopicLimits::default()
    });
    let value = vec![0; 1025];
    let parts = |len: usize| RecordParts {
        value: Some(&value[..len]),
        ..RecordParts::default()
    };
    let mut counts = Vec::new();
    for len in [1024, 1024, 1025, 1024, 1024] {
        queue.push(&parts(len), || now).unwrap();
    }
    queue.flush();
    for id in 0..3 {
        let batch = take(&mut queue, id, now).unwrap();
        counts.push(batch.encoded.record_count);
        let metadata = [("field", "record.max.bytes"), ("bound", "1000")];
        let verdict = match batch.encoded.record_count {
            1 => Verdict::from_error(error(Reason::BatchTooLarge, &metadata)),
            _ => stored(0),
        };
        queue.on_reply(id, verdict).unwrap();
    }
    assert_eq!(counts, [2, 1, 2]);
    assert_eq!(queue.config.record_max_bytes(), 1000);
}

/// The limit of all topics before a topic could set one.
#[test]
fn a_record_above_the_default_is_sent_for_the_leader_to_decide() {
    let now = Instant::now();
    let mut queue = queue(true);
    queue.config.batch_max_bytes = 64 * 1024;
    let value = vec![0; lograft_core::limits::RECORD_MAX_BYTES];
    let parts = RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    };
    assert!(queue.push(&parts, || now).unwrap().closed);
    let taken = take(&mut queue, 1, now).unwrap();
    assert_eq!(taken.encoded.record_count, 1);
}

#[test]
fn a_record_that_does_not_fit_opens_the_next_batch() {
    let now = Instant::now();
    let mut queue = queue(true);
    queue.config.batch_max_bytes = usize::MAX;
    let value = vec![0; 900 * 1024];
    let parts = RecordParts {
        value: Some(&value),
        ..RecordParts::default()
    };
    let closed: Vec<bool> = (0..5)
        .map(|_| queue.push(&parts, || now).unwrap().closed)
        .collect();
    assert_eq!(closed, [false, false, true, false, true]);
    let huge = vec![0; lograft_core::limits::RECORD_MAX_BYTES + 1];
    let parts = RecordParts {
        value: Some(&huge),
        ..RecordParts::default()
    };
    assert!(matches!(
        queue.push(&parts, || now),
        Err(BatchError::TooLarge { .. })
    ));
}
