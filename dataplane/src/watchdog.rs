//! Notices a disk that hangs, on a thread of its own, and ends the node.
//!
//! A write that the kernel does not return from blocks its thread in a sleep that no signal ends:
//! even after SIGKILL the process stays, with its memory and its open sockets. Its clients would
//! wait on connections on which nothing arrives. So the node first closes its ports and
//! connections, and then ends its process; the kernel removes the process once the disk returns.
//!
//! The watchdog makes no call to the disk and uses no thread of the runtime: both may hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lograft_core::limits::{FLUSH_HANG_MAX, WATCHDOG_END_MAX, WATCHDOG_INTERVAL};
use lograft_storage::WriteProbe;
use tracing::error;

use crate::fatal::{FatalError, FatalSink};

/// Ends the process, if the runtime cannot.
pub(crate) type EndProcess = Arc<dyn Fn() + Send + Sync>;

/// The watchdog of a node; it stops when this is dropped.
pub(crate) struct Watchdog {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts to watch the writes of a storage. A disk that hangs is reported to `fatal`;
    /// `end_process` is called if the process has not ended `WATCHDOG_END_MAX` later.
    pub(crate) fn start(
        writes: WriteProbe,
        fatal: Arc<dyn FatalSink>,
        end_process: EndProcess,
    ) -> std::io::Result<Self> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        let run = move || {
            let Some(stuck) = wait_for_hang(&writes, &stopped) else {
                return;
            };
            error!(stuck_ms = stuck.as_millis(), "disk hangs, ending the node");
            fatal.report(FatalError::DiskHung { stuck });
            writes.abandon();
            thread::sleep(WATCHDOG_END_MAX);
            end_process();
        };
        let thread = thread::Builder::new()
            .name("lograft-watchdog".to_owned())
            .spawn(run)?;
        Ok(Self {
            is_stopped,
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}

/// Waits until a writer has made no progress for `FLUSH_HANG_MAX`; `None` once stopped.
fn wait_for_hang(writes: &WriteProbe, is_stopped: &AtomicBool) -> Option<Duration> {
    while !is_stopped.load(Ordering::Acquire) {
        let stuck = writes.health().stuck;
        if stuck >= FLUSH_HANG_MAX {
            return Some(stuck);
        }
        thread::park_timeout(WATCHDOG_INTERVAL);
    }
    None
}
