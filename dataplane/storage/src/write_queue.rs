//! The queue of one writer: the operations, in order, of all groups that share the writer.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lograft_core::GroupId;
use lograft_core::limits::LAZY_WRITE_MAX;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::op::Op;
use crate::write_budget::WriteBudget;

thread_local! {
    /// The queue of the writer that runs on this thread.
    static OWN_QUEUE: RefCell<Weak<WriteQueue>> = const { RefCell::new(Weak::new()) };
}

/// Notes progress of the writer on this thread, if there is one: it waits, but not for the disk.
/// Without this, the watchdog would take the wait for a disk that hangs, and end the node.
pub(crate) fn note_wait() {
    if let Some(queue) = OWN_QUEUE.with_borrow(Weak::upgrade) {
        queue.note_progress();
    }
}

/// A group whose operations the writer executes.
pub(crate) trait OpRunner: Send + Sync {
    fn group_id(&self) -> GroupId;

    /// Executes operations of this group in their order, on the writer thread.
    fn run_ops(self: Arc<Self>, ops: Vec<Op>);

    /// Queues another attempt at the operations that wait for room on the disk.
    fn retry(self: Arc<Self>);
}

/// An operation and the group that it belongs to.
struct QueuedOp {
    group: GroupId,
    runner: Arc<dyn OpRunner>,
    op: Op,
}

pub(crate) struct WriteQueue {
    budget: Arc<WriteBudget>,
    created_at: Instant,
    /// When the thread last completed the operations of a group, milliseconds since `created_at`.
    progress_ms: AtomicU64,
    pending: Mutex<PendingOps>,
    wake: Condvar,
    idle: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct PendingOps {
    /// Operations that a caller or a later operation waits for.
    urgent: Vec<QueuedOp>,
    /// When the first of `urgent` was queued.
    urgent_since: Option<Instant>,
    /// When the first of the operations that the thread executes was queued.
    executing_since: Option<Instant>,
    /// Operations that nobody waits for; executed at `lazy_due`.
    lazy: Vec<QueuedOp>,
    /// The deadline of the lazy operations. The thread does not sleep longer.
    lazy_due: Option<Instant>,
    stopping: bool,
    /// Nobody waits for the thread any more: it hangs in a call to the disk.
    abandoned: bool,
    thread: ThreadState,
}

/// How far a queue is behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueDelay {
    /// The age of the oldest operation that waits or is executed.
    pub(crate) lag: Duration,
    /// The time for which the thread has been executing operations of one group.
    pub(crate) stuck: Duration,
}

/// The state of the thread of a queue.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ThreadState {
    /// Takes operations soon, or there is no thread.
    #[default]
    Awake,
    /// Executes operations that it has taken.
    Busy,
    /// Sleeps without a timeout.
    Asleep,
    /// Has ended, by [`WriteQueue::stop`] or by a panic.
    Ended,
}

impl PendingOps {
    /// Takes the operations to execute now: the urgent ones, and the lazy ones if they are due or
    /// with `all`.
    fn take(&mut self, all: bool, into: &mut Vec<QueuedOp>) {
        into.append(&mut self.urgent);
        self.executing_since = self.urgent_since.take();
        if all || self.lazy_due.is_some_and(|due| due <= Instant::now()) {
            into.append(&mut self.lazy);
            self.lazy_due = None;
        }
    }

    /// Whether the thread has operations to execute.
    fn has_work(&self) -> bool {
        match self.thread {
            ThreadState::Busy => true,
            ThreadState::Awake | ThreadState::Asleep => !self.is_empty(),
            ThreadState::Ended => false,
        }
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.lazy.is_empty()
    }
}

impl WriteQueue {
    /// A queue without a thread: only [`Self::step`] executes its operations.
    pub(crate) fn manual(budget: Arc<WriteBudget>) -> Arc<Self> {
        let (wake, idle) = (Condvar::new(), Condvar::new());
        Arc::new(Self {
            budget,
            created_at: Instant::now(),
            progress_ms: AtomicU64::new(0),
            pending: Mutex::default(),
            wake,
            idle,
            thread: Mutex::default(),
        })
    }

    /// A queue with its own writer thread.
    pub(crate) fn with_thread(nth: usize, budget: Arc<WriteBudget>) -> io::Result<Arc<Self>> {
        let queue = Self::manual(budget);
        let run = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name(format!("lograft-writer-{nth}"))
            .spawn(move || {
                OWN_QUEUE.set(Arc::downgrade(&run));
                run.run();
            })?;
        *queue.thread.lock() = Some(thread);
        Ok(queue)
    }

    /// Queues operations of one group, and wakes the writer if one of them is urgent.
    pub(crate) fn push(
        &self,
        runner: &Arc<impl OpRunner + 'static>,
        ops: impl IntoIterator<Item = Op>,
    ) {
        let mut pending = self.pending.lock();
        let had_urgent = !pending.urgent.is_empty();
        for op in ops {
            self.budget.add(op.entries_bytes());
            let is_lazy = matches!(op, Op::SaveCommitted);
            let queued = QueuedOp {
                group: runner.group_id(),
                runner: Arc::clone(runner) as Arc<dyn OpRunner>,
                op,
            };
            if is_lazy {
                pending.lazy.push(queued);
            } else {
                pending.urgent.push(queued);
            }
        }
        // A thread that sleeps without a timeout must be woken once to set one for the lazy
        // operations. All other lazy operations cost no wakeup.
        let sets_deadline = pending.lazy_due.is_none() && !pending.lazy.is_empty();
        if sets_deadline {
            pending.lazy_due = Some(Instant::now() + LAZY_WRITE_MAX);
        }
        let has_first_urgent = !had_urgent && !pending.urgent.is_empty();
        if has_first_urgent {
            pending.urgent_since = Some(Instant::now());
        }
        let wake = has_first_urgent || (sets_deadline && pending.thread == ThreadState::Asleep);
        drop(pending);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Executes all pending operations on the thread of the caller. Returns whether there were any.
    pub(crate) fn step(&self) -> bool {
        let mut ops = Vec::new();
        self.pending.lock().take(true, &mut ops);
        let any = !ops.is_empty();
        self.execute(&mut ops);
        self.pending.lock().executing_since = None;
        any
    }

    /// How far the queue is behind.
    pub(crate) fn delay(&self) -> QueueDelay {
        let pending = self.pending.lock();
        let now = Instant::now();
        let oldest = [pending.executing_since, pending.urgent_since];
        let oldest = oldest.into_iter().flatten().min();
        let stuck = if pending.thread == ThreadState::Busy {
            let progress = Duration::from_millis(self.progress_ms.load(Ordering::Relaxed));
            now.saturating_duration_since(self.created_at + progress)
        } else {
            Duration::ZERO
        };
        QueueDelay {
            lag: oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            stuck,
        }
    }

    /// Gives up the thread, which hangs: nobody waits for it any more.
    pub(crate) fn abandon(&self) {
        self.pending.lock().abandoned = true;
        self.idle.notify_all();
    }

    fn note_progress(&self) {
        let millis = self.created_at.elapsed().as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.progress_ms.store(millis, Ordering::Relaxed);
    }

    /// Empties the queue: waits until the thread has executed the pending operations, or drops
    /// them if the queue has no thread. Pending operations keep their groups, and so the storage
    /// environment, alive. If the thread has ended, nothing is executed any more and nothing is
    /// waited for.
    pub(crate) fn drain(&self) {
        let thread = self
            .thread
            .lock()
            .as_ref()
            .map(|thread| thread.thread().id());
        match thread {
            None => {
                let mut dropped = Vec::new();
                self.pending.lock().take(true, &mut dropped);
                for queued in &dropped {
                    self.budget.sub(queued.op.entries_bytes());
                }
            }
            Some(id) if id == thread::current().id() => {}
            Some(_) => {
                let mut pending = self.pending.lock();
                while pending.has_work() && !pending.abandoned {
                    pending.lazy_due = pending.lazy_due.map(|_| Instant::now());
                    self.wake.notify_one();
                    self.idle.wait(&mut pending);
                }
            }
        }
    }

    pub(crate) fn stop(&self) {
        let is_abandoned = {
            let mut pending = self.pending.lock();
            pending.stopping = true;
            pending.abandoned
        };
        self.wake.notify_one();
        let thread = self.thread.lock().take().filter(|_| !is_abandoned);
        // The last owner of the environment may be an operation that this very thread executes. A
        // thread cannot join itself: it then ends by itself, without a join.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
        {
            let _ = thread.join(); // a panic was reported by the thread itself
        }
    }

    fn run(&self) {
        let _ended = MarkEnded(self);
        let mut ops = Vec::new();
        // A commit mark usually follows a write. A timeout set before it is queued saves the
        // wakeup that would set one.
        let mut expects_lazy = false;
        loop {
            {
                let mut pending = self.pending.lock();
                pending.thread = ThreadState::Awake;
                pending.executing_since = None;
                self.idle.notify_all();
                if pending.stopping && pending.is_empty() {
                    return;
                }
                if pending.urgent.is_empty() && !pending.stopping {
                    self.sleep(&mut pending, expects_lazy);
                }
                let stopping = pending.stopping;
                pending.take(stopping, &mut ops);
                if !ops.is_empty() {
                    self.note_progress();
                    pending.thread = ThreadState::Busy;
                }
            }
            expects_lazy = !ops.is_empty();
            self.execute(&mut ops);
        }
    }

    /// Executes the operations group by group; the operations of each group keep their order.
    fn execute(&self, ops: &mut Vec<QueuedOp>) {
        // The sort must be stable: the order within a group is the order in which the log, the hard
        // state and the segments were changed, and recovery relies on it. No order is kept between
        // groups, since their files are independent.
        ops.sort_by_key(|queued| queued.group);
        let mut queue = ops.drain(..).peekable();
        while let Some(QueuedOp { group, runner, op }) = queue.next() {
            let mut bytes = op.entries_bytes();
            let mut batch = vec![op];
            while let Some(next) = queue.next_if(|next| next.group == group) {
                bytes += next.op.entries_bytes();
                batch.push(next.op);
            }
            runner.run_ops(batch);
            self.note_progress();
            self.budget.sub(bytes);
        }
    }

    /// Sleeps until the thread is woken or the lazy operations are due.
    fn sleep(&self, pending: &mut MutexGuard<'_, PendingOps>, expects_lazy: bool) {
        let timeout = pending
            .lazy_due
            .or_else(|| expects_lazy.then(|| Instant::now() + LAZY_WRITE_MAX));
        if let Some(due) = timeout {
            self.wake.wait_until(pending, due);
        } else {
            pending.thread = ThreadState::Asleep;
            self.wake.wait(pending);
            pending.thread = ThreadState::Awake;
        }
    }
}

/// Marks the end of the thread when dropped. A panic would otherwise leave the thread busy for
/// ever, and whoever drains the queue waiting: the process would hang instead of ending.
struct MarkEnded<'a>(&'a WriteQueue);

impl Drop for MarkEnded<'_> {
    fn drop(&mut self) {
        self.0.pending.lock().thread = ThreadState::Ended;
        self.0.idle.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl OpRunner for Panics {
        fn group_id(&self) -> GroupId {
            GroupId(1)
        }

        fn run_ops(self: Arc<Self>, _: Vec<Op>) {
            panic!("a defect of an operation");
        }

        fn retry(self: Arc<Self>) {}
    }

    #[test]
    fn a_panic_of_the_writer_ends_the_wait_for_it() {
        let budget = Arc::new(WriteBudget::new(1));
        let queue = WriteQueue::with_thread(0, budget).unwrap();
        queue.push(&Arc::new(Panics), [Op::SaveCommitted]);
        queue.drain();
        assert!(queue.pending.lock().thread == ThreadState::Ended);
        queue.stop();
    }
}
