//! The threads that read from disk: a read that hangs blocks one of them, and nothing else.
//!
//! The number of threads and the number of waiting reads are bounded. On a disk that hangs, the
//! threads are soon all blocked; further reads are then refused instead of piling up, and threads
//! that serve writes, heartbeats and cached reads are not affected.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lograft_core::limits::READ_THREAD_IDLE_MAX;
use parking_lot::{Condvar, Mutex};

type Read = Box<dyn FnOnce() + Send>;

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// Reads at the same time.
    pub(crate) threads_max_count: usize,
    /// Reads that wait for a thread.
    pub(crate) waiting_max_count: usize,
}

/// A pool of threads that read. Dropping it lets its threads end.
pub(crate) struct ReadPool {
    name: &'static str,
    shared: Arc<PoolShared>,
}

struct PoolShared {
    limits: ReadLimits,
    state: Mutex<PoolState>,
    wake: Condvar,
}

#[derive(Default)]
struct PoolState {
    waiting: VecDeque<Read>,
    /// When each read that runs was started, by a number in that order.
    running: BTreeMap<u64, Instant>,
    next_number: u64,
    threads_count: usize,
    /// Threads that wait for a read.
    idle_count: usize,
    is_closed: bool,
}

/// The pool has no place for another read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PoolFull;

impl ReadPool {
    /// A pool without threads: they are started when they are needed.
    pub(crate) fn new(name: &'static str, limits: ReadLimits) -> Self {
        Self {
            name,
            shared: Arc::new(PoolShared {
                limits,
                state: Mutex::default(),
                wake: Condvar::new(),
            }),
        }
    }

    /// Runs a read on a thread of the pool, or refuses it.
    pub(crate) fn run(&self, read: impl FnOnce() + Send + 'static) -> Result<(), PoolFull> {
        let limits = self.shared.limits;
        let mut state = self.shared.state.lock();
        let needs_thread = state.idle_count <= state.waiting.len()
            && state.threads_count < limits.threads_max_count;
        if !needs_thread && state.waiting.len() >= limits.waiting_max_count + state.idle_count {
            return Err(PoolFull);
        }
        state.waiting.push_back(Box::new(read));
        if !needs_thread {
            drop(state);
            self.shared.wake.notify_one();
            return Ok(());
        }
        state.threads_count += 1;
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new()
            .name(format!("lograft-{}", self.name))
            .spawn(move || shared.serve());
        if spawned.is_err() {
            // The system has no more threads: the read waits for one of those that run.
            state.threads_count -= 1;
            if state.threads_count == 0 {
                state.waiting.pop_back();
                return Err(PoolFull);
            }
        }
        Ok(())
    }
}

impl ReadPool {
    /// The time for which the oldest read has been running; zero if none runs.
    pub(crate) fn oldest_running(&self) -> Duration {
        let state = self.shared.state.lock();
        let oldest = state.running.first_key_value();
        oldest.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

impl Drop for ReadPool {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.is_closed = true;
        // The reads keep their groups alive, and nobody waits for them any more.
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
        self.shared.wake.notify_all();
    }
}

impl PoolShared {
    /// Runs reads until the pool is dropped or there is nothing to read for a while.
    fn serve(&self) {
        loop {
            let (number, read) = {
                let mut state = self.state.lock();
                loop {
                    if let Some(read) = state.waiting.pop_front() {
                        let number = state.next_number;
                        state.next_number += 1;
                        state.running.insert(number, Instant::now());
                        break (number, read);
                    }
                    if state.is_closed {
                        state.threads_count -= 1;
                        return;
                    }
                    state.idle_count += 1;
                    let timeout = self.wake.wait_for(&mut state, READ_THREAD_IDLE_MAX);
                    state.idle_count -= 1;
                    if timeout.timed_out() && state.waiting.is_empty() {
                        state.threads_count -= 1;
                        return;
                    }
                }
            };
            read();
            self.state.lock().running.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn hung_reads_take_the_threads_and_then_reads_are_refused_until_one_ends() {
        let limits = ReadLimits {
            threads_max_count: 2,
            waiting_max_count: 3,
        };
        let pool = ReadPool::new("test", limits);
        let (started, is_started) = mpsc::channel();
        let (end, hung): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<()>()).unzip();
        for hung in hung {
            let started = started.clone();
            pool.run(move || {
                started.send(()).unwrap();
                let _ = hung.recv();
            })
            .unwrap();
        }
        for _ in 0..2 {
            is_started.recv_timeout(PATIENCE).unwrap();
        }
        let (done, results) = mpsc::channel();
        for n in 0..3 {
            let done = done.clone();
            pool.run(move || done.send(n).unwrap()).unwrap();
        }
        assert_eq!(pool.run(|| ()), Err(PoolFull));
        assert!(results.try_recv().is_err(), "all threads hang");
        let hung_for = pool.oldest_running();
        assert!(hung_for > Duration::ZERO);
        thread::sleep(Duration::from_millis(2));
        assert!(pool.oldest_running() > hung_for);
        drop(end);
        let mut found: Vec<i32> = (0..3)
            .map(|_| results.recv_timeout(PATIENCE).unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2]);
        assert_eq!(pool.run(|| ()), Ok(()));
    }

    #[test]
    fn an_idle_thread_takes_the_next_read() {
        let limits = ReadLimits {
            threads_max_count: 8,
            waiting_max_count: 0,
        };
        let pool = ReadPool::new("test", limits);
        let (done, results) = mpsc::channel();
        for n in 0..20 {
            let done = done.clone();
            pool.run(move || done.send(n).unwrap()).unwrap();
            assert_eq!(results.recv_timeout(PATIENCE), Ok(n));
            while pool.shared.state.lock().idle_count == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(pool.shared.state.lock().threads_count, 1);
        assert_eq!(pool.oldest_running(), Duration::ZERO);
    }
}
