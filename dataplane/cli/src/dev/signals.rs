//! What asks `lograft dev` to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::DevError;

/// Ctrl-C, SIGTERM, and the end of the terminal.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on none of them ends the process by itself.
    pub(crate) fn listen() -> Result<Self, DevError> {
        let on = |kind| signal(kind).map_err(|source| DevError::Signals { source });
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// The next one, in words.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "the terminal is gone",
        }
    }
}
