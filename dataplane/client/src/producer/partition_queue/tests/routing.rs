//! Every transition of a queue's route.

use super::*;
use crate::producer::partition_queue::route::Route;

type NamedQueue = PartitionQueue<&'static str>;

fn idle() -> NamedQueue {
    NamedQueue::new(config(true))
}

fn push(queue: &mut NamedQueue, now: Instant) {
    queue.push(&RecordParts::default(), || now).unwrap();
}

fn is_queued(queue: &NamedQueue) -> bool {
    matches!(queue.route, Route::Flowing { queued: true, .. })
}

#[test]
fn a_leader_is_searched_once_while_there_is_something_to_send() {
    let mut queue = idle();
    assert!(!queue.claim_leader_search(), "there is nothing to send");
    push(&mut queue, Instant::now());
    assert!(queue.needs_leader());
    assert!(queue.claim_leader_search());
    assert!(matches!(queue.route, Route::Seeking));
    assert!(
        !queue.claim_leader_search(),
        "the supervisor has it already"
    );
    queue.end_leader_search();
    assert!(matches!(queue.route, Route::Idle));
    assert!(queue.claim_leader_search());
    queue.attach("a");
    assert!(!queue.needs_leader());
    assert!(!queue.claim_leader_search());
    queue.end_leader_search();
    assert_eq!(queue.stream(), Some(&"a"), "only a search is ended");
}

#[test]
fn a_queue_is_enqueued_once_until_it_has_nothing_to_send() {
    let now = Instant::now();
    let mut queue = idle();
    push(&mut queue, now);
    assert_eq!(queue.claim_enqueue(now), None, "there is no stream");
    queue.attach("a");
    assert_eq!(queue.claim_enqueue(now), Some("a"));
    assert_eq!(queue.claim_enqueue(now), None, "it is in the stream's list");
    assert!(matches!(queue.take(1, false, now), Take::Throttled));
    assert!(is_queued(&queue), "a throttled queue stays with the stream");
    assert!(matches!(
        queue.take(1, true, now),
        Take::Send { more: false, .. }
    ));
    assert!(!is_queued(&queue));
    assert_eq!(queue.claim_enqueue(now), None, "there is nothing to send");
    push(&mut queue, now);
    assert_eq!(queue.claim_enqueue(now), Some("a"));
    assert!(matches!(queue.take(2, true, now), Take::Send { .. }));
    push(&mut queue, now);
    assert!(matches!(queue.take(3, true, now), Take::Nothing));
    assert!(!is_queued(&queue));
}

#[test]
fn a_queue_with_more_to_send_stays_enqueued() {
    let now = Instant::now();
    let mut queue = idle();
    (0..20).for_each(|_| push(&mut queue, now));
    queue.attach("a");
    assert!(queue.claim_enqueue(now).is_some());
    assert!(matches!(
        queue.take(1, true, now),
        Take::Send { more: true, .. }
    ));
    assert!(is_queued(&queue));
}

#[test]
fn a_failure_drains_the_stream_and_then_drops_it() {
    let now = Instant::now();
    let mut queue = idle();
    (0..20).for_each(|_| push(&mut queue, now));
    queue.attach("a");
    queue.take(1, true, now);
    queue.take(2, true, now);
    queue.on_reply(1, verdict(Reason::NotLeader));
    assert!(queue.route.is_draining());
    assert_eq!(queue.stream(), Some(&"a"));
    assert_eq!(queue.claim_enqueue(now), None);
    assert!(!queue.claim_leader_search(), "replies are awaited first");
    queue.on_reply(2, verdict(Reason::NotLeader));
    assert!(matches!(queue.route, Route::Idle));
    assert!(queue.claim_leader_search());
}

#[test]
fn a_lost_stream_is_dropped_with_or_without_batches_in_flight() {
    let now = Instant::now();
    for in_flight in [false, true] {
        let mut queue = idle();
        push(&mut queue, now);
        queue.attach("a");
        if in_flight {
            queue.take(1, true, now);
        }
        queue.on_stream_lost(&ClientError::Closed);
        assert!(matches!(queue.route, Route::Idle));
        assert_eq!(queue.failures(), 1);
        assert!(queue.last_error().is_some());
    }
}

#[test]
fn a_search_without_result_counts_as_failure() {
    let mut queue = idle();
    push(&mut queue, Instant::now());
    queue.claim_leader_search();
    queue.on_no_leader(ClientError::Closed);
    assert!(matches!(queue.route, Route::Seeking));
    assert_eq!(queue.failures(), 1);
}

#[test]
fn a_failed_queue_leaves_its_stream() {
    let now = Instant::now();
    let mut queue = idle();
    push(&mut queue, now);
    queue.attach("a");
    queue.fail_all(&ClientError::Closed);
    assert!(matches!(queue.route, Route::Idle));
}

#[test]
fn a_linger_timer_is_set_once_and_follows_the_open_batch() {
    let now = Instant::now();
    let linger = Duration::from_millis(5);
    let mut queue = idle();
    queue.config.linger = linger;
    queue.attach("a");
    assert_eq!(queue.claim_linger_timer(), None, "no batch is open");
    push(&mut queue, now);
    assert_eq!(queue.claim_linger_timer(), Some(now + linger));
    assert_eq!(queue.claim_linger_timer(), None);
    // The batch was sent early, and another one is open when the timer fires.
    queue.flush();
    queue.take(1, true, now);
    let later = now + Duration::from_millis(3);
    push(&mut queue, later);
    assert_eq!(queue.on_linger_timer(now + linger), Some(later + linger));
    assert_eq!(queue.claim_linger_timer(), None, "the next one is set");
    assert_eq!(
        queue.on_linger_timer(later + linger),
        None,
        "the batch is due"
    );
    assert_eq!(queue.claim_enqueue(later + linger), Some("a"));
}
