//! A writer's lane: what waits to be written, in order, for the groups that share the writer.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use lograft_core::limits::LAZY_WRITE_MAX;
use parking_lot::{Condvar, Mutex};

use crate::group::Group;
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
    tasks: Vec<Task>,
    /// Somebody waits for one of the tasks.
    urgent: bool,
    stopping: bool,
    /// The thread is at work on tasks that it has taken.
    busy: bool,
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

    /// Appends tasks of one group. Those that somebody waits for wake the writer at once.
    pub(crate) fn push(&self, group: &Arc<Group>, ops: impl IntoIterator<Item = Op>) {
        let mut waiting = self.waiting.lock();
        let mut urgent = false;
        for op in ops {
            urgent |= !matches!(op, Op::SaveCommitted);
            waiting.tasks.push(Task {
                group: Arc::clone(group),
                op,
            });
        }
        let first = waiting.tasks.len() == 1;
        let wake = first || (urgent && !waiting.urgent);
        waiting.urgent |= urgent;
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Does what waits, on the caller's thread. Returns whether there was anything.
    pub(crate) fn step(&self) -> bool {
        let mut tasks = {
            let mut waiting = self.waiting.lock();
            waiting.urgent = false;
            std::mem::take(&mut waiting.tasks)
        };
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
            None => drop(std::mem::take(&mut self.waiting.lock().tasks)),
            Some(id) if id == thread::current().id() => {}
            Some(_) => {
                let mut waiting = self.waiting.lock();
                while waiting.busy || !waiting.tasks.is_empty() {
                    waiting.urgent = true;
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
        loop {
            {
                let mut waiting = self.waiting.lock();
                waiting.busy = false;
                self.idle.notify_all();
                while waiting.tasks.is_empty() && !waiting.stopping {
                    self.wake.wait(&mut waiting);
                }
                if !waiting.urgent && !waiting.stopping {
                    self.wake.wait_for(&mut waiting, LAZY_WRITE_MAX);
                }
                if waiting.tasks.is_empty() {
                    return;
                }
                waiting.urgent = false;
                waiting.busy = true;
                std::mem::swap(&mut waiting.tasks, &mut tasks);
            }
            perform(&mut tasks);
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
