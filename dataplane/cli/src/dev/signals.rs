//! Signals that stop `lograft dev`.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::DevError;

/// SIGINT, SIGTERM and SIGHUP.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts listening. From then on these signals no longer end the process by default.
    pub(crate) fn listen() -> Result<Self, DevError> {
        let on = |kind| signal(kind).map_err(|source| DevError::Signals { source });
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP (terminal closed)",
        }
    }
}
