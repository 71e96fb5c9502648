//! Every transition of a batch's fate, alone and as the queue applies them.

use super::*;
use crate::producer::partition_queue::batch::{Fate, Predecessors, Reply};

const DELIVERING: Predecessors = Predecessors::Delivering;
const GIVEN_UP: Predecessors = Predecessors::GivenUp;

const ALL: [Fate; 5] = [
    Fate::NotAppended(DELIVERING),
    Fate::NotAppended(GIVEN_UP),
    Fate::InDoubt(DELIVERING),
    Fate::InDoubt(GIVEN_UP),
    Fate::NeverAppended,
];

#[test]
fn an_ambiguous_failure_puts_a_batch_in_doubt_unless_it_cannot_be_appended() {
    assert_eq!(
        ALL.map(|fate| fate.after_failure(true)),
        [
            Fate::InDoubt(DELIVERING),
            Fate::InDoubt(GIVEN_UP),
            Fate::InDoubt(DELIVERING),
            Fate::InDoubt(GIVEN_UP),
            Fate::NeverAppended,
        ]
    );
}

#[test]
fn an_unambiguous_failure_does_not_resolve_an_earlier_doubt() {
    assert_eq!(ALL.map(|fate| fate.after_failure(false)), ALL);
}

#[test]
fn a_gap_resolves_the_doubt() {
    assert_eq!(
        ALL.map(Fate::after_gap),
        [
            Fate::NotAppended(DELIVERING),
            Fate::NotAppended(GIVEN_UP),
            Fate::NotAppended(DELIVERING),
            Fate::NotAppended(GIVEN_UP),
            Fate::NeverAppended,
        ]
    );
}

#[test]
fn a_predecessor_given_up_in_doubt_leaves_the_fate_of_its_successors_open() {
    assert_eq!(
        ALL.map(|fate| fate.after_predecessor_given_up(false)),
        [
            Fate::NotAppended(GIVEN_UP),
            Fate::NotAppended(GIVEN_UP),
            Fate::InDoubt(GIVEN_UP),
            Fate::InDoubt(GIVEN_UP),
            Fate::NeverAppended,
        ]
    );
}

#[test]
fn behind_a_batch_that_is_not_in_the_log_none_is_appended() {
    let after = ALL.map(|fate| fate.after_predecessor_given_up(true));
    assert_eq!(after, [Fate::NeverAppended; 5]);
}

#[test]
fn fates_answer_whether_a_batch_is_in_doubt_and_may_follow_a_gap() {
    let in_doubt = ALL.map(Fate::is_in_doubt);
    assert_eq!(in_doubt, [false, false, true, true, false]);
    let may_follow_gap = ALL.map(Fate::may_follow_gap);
    assert_eq!(may_follow_gap, [false, true, false, true, true]);
}

/// A queue with `count` batches in flight, as the requests 1 to `count`.
fn sent(count: u64) -> (Queue, Instant) {
    let now = Instant::now();
    let mut queue = queue(true);
    (0..count).for_each(|_| drop(push_batch(&mut queue, now)));
    (1..=count).for_each(|id| drop(take(&mut queue, id, now).unwrap()));
    (queue, now)
}

fn fates(queue: &Queue) -> Vec<Fate> {
    queue.in_flight.iter().map(|b| b.sent.fate).collect()
}

/// Stamps of the waiting batches as (epoch, base sequence).
fn waiting_stamps(queue: &Queue) -> Vec<Option<(u32, u64)>> {
    let stamp = |s: Stamp| (s.epoch.get(), s.base_sequence.get());
    queue.waiting.iter().map(|b| b.stamp().map(stamp)).collect()
}

fn gap() -> Verdict {
    verdict(Reason::OutOfOrderSequence)
}

#[test]
fn a_send_awaits_its_reply_and_then_has_failed() {
    let (mut queue, _) = sent(2);
    let awaited = |request_id| Reply::Awaited { request_id };
    let replies = |queue: &Queue| queue.in_flight.iter().map(|b| b.reply).collect::<Vec<_>>();
    assert_eq!(replies(&queue), [awaited(1), awaited(2)]);
    assert!(queue.in_flight.iter().all(InFlightBatch::is_in_doubt));
    queue.on_reply(1, verdict(Reason::DiskFull));
    assert_eq!(replies(&queue), [Reply::Failed, awaited(2)]);
    assert!(!queue.in_flight[0].is_in_doubt());
    // A second reply to the same request has no effect.
    assert!(queue.on_reply(1, stored(0)).is_none());
    assert_eq!(replies(&queue), [Reply::Failed, awaited(2)]);
    queue.on_reply(2, stored(0));
    assert!(queue.in_flight.is_empty());
    assert_eq!(waiting_stamps(&queue), [Some((0, 0))]);
}

#[test]
fn a_refused_batch_decides_the_fate_of_its_successors() {
    for (first_reply, expected) in [
        (Reason::DiskFull, Fate::NeverAppended),
        (Reason::Timeout, Fate::NotAppended(GIVEN_UP)),
    ] {
        let (mut queue, now) = sent(2);
        // The first batch is sent again after a failure with or without doubt, and then refused.
        queue.on_reply(1, verdict(first_reply));
        queue.on_reply(2, gap());
        queue.attach(());
        take(&mut queue, 3, now).unwrap();
        take(&mut queue, 4, now).unwrap();
        assert!(
            queue
                .on_reply(3, verdict(Reason::PermissionDenied))
                .is_some()
        );
        assert_eq!(fates(&queue), [expected]);
        assert_eq!(queue.epoch, ProducerEpoch(1));
    }
}

#[test]
fn behind_a_batch_in_doubt_stamps_are_kept_until_a_gap_is_certain() {
    let (mut queue, now) = sent(3);
    queue.on_stream_lost(&ClientError::Closed);
    queue.attach(());
    take(&mut queue, 4, now).unwrap();
    // The first batch is given up in doubt: the others may be in the log as well.
    assert!(
        queue
            .on_reply(4, verdict(Reason::PermissionDenied))
            .is_some()
    );
    let count = u64::from(queue.waiting[0].batch.encoded.record_count);
    let old = [Some((0, count)), Some((0, 2 * count))];
    assert_eq!(waiting_stamps(&queue), old);
    take(&mut queue, 5, now).unwrap();
    take(&mut queue, 6, now).unwrap();
    queue.on_reply(6, verdict(Reason::Timeout));
    queue.on_reply(5, gap());
    // A gap before the second batch: neither it nor the third, though in doubt, is in the log.
    assert_eq!(waiting_stamps(&queue), [None, None]);
    queue.attach(());
    let again = take(&mut queue, 7, now).unwrap();
    assert_eq!(again.stamp.unwrap().epoch, ProducerEpoch(1));
    assert_eq!(again.stamp.unwrap().base_sequence, Sequence(0));
}

#[test]
fn a_batch_that_was_never_sent_gets_the_first_sequence_of_a_new_epoch() {
    let (mut queue, now) = sent(2);
    push_batch(&mut queue, now);
    queue.on_stream_lost(&ClientError::Closed);
    queue.attach(());
    take(&mut queue, 3, now).unwrap();
    take(&mut queue, 4, now).unwrap();
    // The first batch is refused in doubt, the second is stored: the old epoch has no gap.
    assert!(
        queue
            .on_reply(3, verdict(Reason::PermissionDenied))
            .is_some()
    );
    assert!(queue.on_reply(4, stored(1)).is_some());
    let stamp = take(&mut queue, 5, now).unwrap().stamp.unwrap();
    assert_eq!(
        (stamp.epoch, stamp.base_sequence),
        (ProducerEpoch(1), Sequence(0))
    );
    // It keeps that stamp after a failure, because it is the first of its epoch.
    queue.on_reply(5, verdict(Reason::DiskFull));
    queue.attach(());
    assert_eq!(take(&mut queue, 6, now).unwrap().stamp, Some(stamp));
}

#[test]
fn a_duplicate_that_an_older_leader_has_forgotten_is_stored() {
    let (mut queue, _) = sent(2);
    let settled = queue
        .on_reply(1, verdict(Reason::DuplicateSequence))
        .unwrap();
    let ack = settled.result.unwrap();
    assert!(ack.duplicate && ack.base_offset.is_none());
    assert_eq!(queue.epoch, ProducerEpoch(0));
    assert_eq!(fates(&queue), [Fate::FIRST_SEND]);
    assert!(queue.on_reply(2, stored(1)).is_some());
}

#[test]
fn a_late_batch_takes_those_in_doubt_with_it_and_the_others_continue() {
    let (mut queue, now) = sent(1);
    let later = now + TIMEOUT / 2;
    push_batch(&mut queue, later);
    take(&mut queue, 2, later).unwrap();
    push_batch(&mut queue, later);
    take(&mut queue, 3, later).unwrap();
    // The second batch is answered without an append, the third is not answered.
    queue.on_reply(2, verdict(Reason::DiskFull));
    let settled = queue.expire(now + TIMEOUT);
    assert_eq!(settled.len(), 2, "the late batch and the one in doubt");
    assert_eq!(waiting_stamps(&queue), [None]);
    assert!(!queue.route.has_stream());
    assert_eq!(queue.epoch, ProducerEpoch(1));
}

#[test]
fn a_failed_producer_reports_doubt_only_for_batches_that_may_be_stored() {
    let (mut queue, now) = sent(1);
    push_batch(&mut queue, now);
    push(&mut queue, 7, now);
    let results = queue.fail_all(&ClientError::Closed);
    let errors: Vec<_> = results.into_iter().map(|s| s.result.unwrap_err()).collect();
    assert!(matches!(errors[0], ClientError::InDoubt { .. }));
    assert!(matches!(
        errors[1..],
        [ClientError::Closed, ClientError::Closed]
    ));
    assert!(queue.is_empty());
}

#[test]
fn without_stamps_a_late_batch_in_flight_fails_alone() {
    let now = Instant::now();
    let mut queue = queue(false);
    push_batch(&mut queue, now);
    push_batch(&mut queue, now + TIMEOUT / 2);
    let sent = take(&mut queue, 1, now).unwrap();
    assert_eq!(sent.stamp, None);
    assert_eq!(queue.expire(now + TIMEOUT).len(), 1);
    assert_eq!(queue.epoch, ProducerEpoch(0));
    assert!(take(&mut queue, 2, now + TIMEOUT).is_some());
}
