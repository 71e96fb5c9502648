//! A writer's lane: what waits to be written, in order, for the groups that share the writer.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use lograft_core::limits::LAZY_WRITE_MAX;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::group_log::Group;
use crate::op::Op;

/// One task for one group.
pub(crate) struct Task {
    pub(crate) group: Arc<Group>,
    pub(crate) op: Op,
}

pub(crate) struct Lane {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    idle: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Waiting {
    /// What somebody waits for, or builds on.
    tasks: Vec<Task>,
    /// What nobody waits for; done when it has waited long enough.
    lazy: Vec<Task>,
    /// When that is; the thread sleeps no longer.
    lazy_due: Option<Instant>,
    stopping: bool,
    /// The thread is at work on tasks that it has taken.
    busy: bool,
    /// The thread sleeps until it is woken.
    asleep: bool,
}

impl Waiting {
    /// Takes what is to be done now: of the lazy ones only those that are due, unless `all`.
    fn take(&mut self, all: bool, into: &mut Vec<Task>) {
        into.append(&mut self.tasks);
        if all || self.lazy_due.is_some_and(|due| due <= Instant::now()) {
            into.append(&mut self.lazy);
            self.lazy_due = None;
        }
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.lazy.is_empty()
    }
}

impl Lane {
    /// A lane that only [`Self::step`] moves.
    pub(crate) fn manual() -> Arc<Self> {
        let (wake, idle) = (Condvar::new(), Condvar::new());
        Arc::new(Self {
            waiting: Mutex::default(),
            wake,
            idle,
            thread: Mutex::default(),
        })
    }

    /// A lane with a thread of its own.
    pub(crate) fn with_thread(nth: usize) -> io::Result<Arc<Self>> {
        let lane = Self::manual();
        let run = Arc::clone(&lane);
        let thread = thread::Builder::new()
            .name(format!("lograft-writer-{nth}"))
            .spawn(move || run.run())?;
        *lane.thread.lock() = Some(thread);
        Ok(lane)
    }

    /// Appends tasks of one group, and wakes the writer if somebody waits for them.
    pub(crate) fn push(&self, group: &Arc<Group>, ops: impl IntoIterator<Item = Op>) {
        let mut waiting = self.waiting.lock();
        let had_tasks = !waiting.tasks.is_empty();
        for op in ops {
            let is_lazy = matches!(op, Op::SaveCommitted);
            let task = Task {
                group: Arc::clone(group),
                op,
            };
            if is_lazy {
                waiting.lazy.push(task);
            } else {
                waiting.tasks.push(task);
            }
        }
        // A thread that sleeps without an alarm must set one for what is lazy.
        let alarm = waiting.lazy_due.is_none() && !waiting.lazy.is_empty();
        if alarm {
            waiting.lazy_due = Some(Instant::now() + LAZY_WRITE_MAX);
        }
        let wake = (!had_tasks && !waiting.tasks.is_empty()) || (alarm && waiting.asleep);
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Does what waits, on the caller's thread. Returns whether there was anything.
    pub(crate) fn step(&self) -> bool {
        let mut tasks = Vec::new();
        self.waiting.lock().take(true, &mut tasks);
        let any = !tasks.is_empty();
        perform(&mut tasks);
        any
    }

    /// Ends what waits: a thread does it now, and the caller waits for that; without one it is
    /// dropped. Until then, tasks keep their groups and the node alive.
    pub(crate) fn drain(&self) {
        let thread = self
            .thread
            .lock()
            .as_ref()
            .map(|thread| thread.thread().id());
        match thread {
            None => {
                let mut dropped = Vec::new();
                self.waiting.lock().take(true, &mut dropped);
            }
            Some(id) if id == thread::current().id() => {}
            Some(_) => {
                let mut waiting = self.waiting.lock();
                while waiting.busy || !waiting.is_empty() {
                    waiting.lazy_due = waiting.lazy_due.map(|_| Instant::now());
                    self.wake.notify_one();
                    self.idle.wait(&mut waiting);
                }
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.waiting.lock().stopping = true;
        self.wake.notify_one();
        let thread = self.thread.lock().take();
        // The last owner of a node may be a task of this very thread; then nobody joins it.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
        {
            let _ = thread.join(); // a panic on it was reported by the thread itself
        }
    }

    fn run(&self) {
        let mut tasks = Vec::new();
        // Where something was written, its commit mark follows: an alarm that is set beforehand
        // spares a wake for it.
        let mut expects_lazy = false;
        loop {
            {
                let mut waiting = self.waiting.lock();
                waiting.busy = false;
                self.idle.notify_all();
                if waiting.stopping && waiting.is_empty() {
                    return;
                }
                if waiting.tasks.is_empty() && !waiting.stopping {
                    self.sleep(&mut waiting, expects_lazy);
                }
                let stopping = waiting.stopping;
                waiting.take(stopping, &mut tasks);
                waiting.busy = !tasks.is_empty();
            }
            expects_lazy = !tasks.is_empty();
            perform(&mut tasks);
        }
    }

    /// Sleeps until there is something to do, or for as long as the lazy tasks may wait.
    fn sleep(&self, waiting: &mut MutexGuard<'_, Waiting>, expects_lazy: bool) {
        let alarm = waiting
            .lazy_due
            .or_else(|| expects_lazy.then(|| Instant::now() + LAZY_WRITE_MAX));
        if let Some(due) = alarm {
            self.wake.wait_until(waiting, due);
        } else {
            waiting.asleep = true;
            self.wake.wait(waiting);
            waiting.asleep = false;
        }
    }
}

/// Does the tasks: group by group, each group's in their order.
fn perform(tasks: &mut Vec<Task>) {
    tasks.sort_by_key(|task| task.group.id); // stable
    let mut tasks = tasks.drain(..).peekable();
    while let Some(Task { group, op }) = tasks.next() {
        let mut ops = vec![op];
        while let Some(next) = tasks.next_if(|next| next.group.id == group.id) {
            ops.push(next.op);
        }
        group.write(ops);
    }
}
