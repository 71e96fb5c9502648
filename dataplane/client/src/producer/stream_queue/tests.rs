use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::*;

#[derive(Default)]
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl WakeFlag {
    fn was_set(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

struct Stream {
    queue: Arc<StreamQueue<u32>>,
    flag: Arc<WakeFlag>,
}

impl Stream {
    fn new() -> Self {
        Self {
            queue: StreamQueue::new(NodeId(1), "n1:9400".into()),
            flag: Arc::default(),
        }
    }

    fn poll(&self) -> Poll<Option<(u32, bool)>> {
        let waker = Waker::from(Arc::clone(&self.flag));
        self.queue.poll_ready(&Context::from_waker(&waker), 100)
    }

    fn send(&self, request_id: u64, bytes: usize, partial: bool) {
        let request = InFlightRequest {
            request_id,
            partition: 0,
            record_count: 1,
            bytes,
            partial,
            sent_at: Instant::now(),
        };
        self.queue.push_in_flight(request, None);
    }
}

#[test]
fn an_enqueued_partition_wakes_the_stream() {
    let stream = Stream::new();
    assert!(stream.poll().is_pending());
    stream.queue.enqueue(7);
    assert!(stream.flag.was_set());
    assert_eq!(stream.poll(), Poll::Ready(Some((7, true))));
    assert!(stream.poll().is_pending());
    stream.queue.wake();
    assert!(!stream.flag.was_set(), "there is nothing to send");
}

#[test]
fn the_bytes_in_flight_are_bounded() {
    let stream = Stream::new();
    stream.queue.enqueue(7);
    stream.send(1, 100, false);
    assert!(stream.poll().is_pending());
    assert_eq!(stream.queue.remove_in_flight(1).unwrap().partition, 0);
    stream.queue.wake();
    assert!(stream.flag.was_set());
    assert!(stream.poll().is_ready());
    assert!(stream.queue.remove_in_flight(1).is_none());
}

#[test]
fn a_throttled_partition_is_ready_after_a_partial_batch_is_answered() {
    let stream = Stream::new();
    let max = PRODUCER_PARTIAL_BATCHES_MAX_COUNT as u64;
    (1..=max).for_each(|id| stream.send(id, 1, true));
    stream.queue.enqueue(7);
    assert_eq!(stream.poll(), Poll::Ready(Some((7, false))));
    stream.queue.throttle(7);
    assert!(stream.poll().is_pending());
    stream.queue.remove_in_flight(1);
    assert_eq!(stream.poll(), Poll::Ready(Some((7, true))));
    stream.queue.throttle(7);
    assert!(stream.poll().is_ready(), "a partial batch may be sent");
}

#[test]
fn a_closed_stream_ends_and_takes_nothing() {
    let stream = Stream::new();
    stream.send(1, 1, false);
    assert!(stream.poll().is_pending());
    assert!(stream.queue.close());
    assert!(stream.flag.was_set());
    assert!(!stream.queue.close(), "it is closed once");
    stream.queue.enqueue(7);
    stream.send(2, 1, false);
    assert_eq!(stream.poll(), Poll::Ready(None));
    assert!(stream.queue.remove_in_flight(1).is_none());
    assert_eq!(stream.queue.oldest_sent_at(), None);
}
