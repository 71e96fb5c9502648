//! Slow and hung calls of a simulated disk.

use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The kinds of calls that can be slow or hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskCall {
    /// Reads of files.
    Read,
    /// Syncs of files and directories.
    Sync,
}

/// The delay of one kind of calls.
#[derive(Clone, Copy, Default)]
enum Delay {
    #[default]
    None,
    Slow(Duration),
    Hangs,
}

/// The delays of all calls on a disk.
#[derive(Default)]
pub(super) struct Delays {
    state: Mutex<DelayState>,
    changed: Condvar,
}

#[derive(Default)]
struct DelayState {
    reads: Delay,
    syncs: Delay,
    /// Calls that hang at the moment.
    hung_count: usize,
}

impl DelayState {
    fn of(&mut self, call: DiskCall) -> &mut Delay {
        match call {
            DiskCall::Read => &mut self.reads,
            DiskCall::Sync => &mut self.syncs,
        }
    }
}

impl Delays {
    pub(super) fn hang(&self, call: DiskCall) {
        *self.state.lock().of(call) = Delay::Hangs;
    }

    pub(super) fn slow_down(&self, call: DiskCall, by: Duration) {
        *self.state.lock().of(call) = Delay::Slow(by);
        self.changed.notify_all();
    }

    /// Ends all delays, and the calls that hang.
    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        (state.reads, state.syncs) = (Delay::None, Delay::None);
        self.changed.notify_all();
    }

    pub(super) fn hung_count(&self) -> usize {
        self.state.lock().hung_count
    }

    /// Delays the call of this thread. The caller must hold no lock of the disk.
    pub(super) fn wait(&self, call: DiskCall) {
        let mut state = self.state.lock();
        if matches!(state.of(call), Delay::Hangs) {
            state.hung_count += 1;
            while matches!(state.of(call), Delay::Hangs) {
                self.changed.wait(&mut state);
            }
            state.hung_count -= 1;
        }
        if let Delay::Slow(by) = *state.of(call) {
            drop(state);
            thread::sleep(by);
        }
    }
}
