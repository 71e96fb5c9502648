//! Options of a load.

use std::time::Duration;

use clap::Args;

/// Options of a load.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct LoadArgs {
    /// Size of each record payload in bytes
    #[arg(long, default_value_t = 256)]
    pub(super) record_bytes: usize,
    /// Duration of the load in seconds
    #[arg(long, default_value_t = 10)]
    pub(super) seconds: u64,
    /// Maximum number of unacknowledged records
    #[arg(long, default_value_t = 4000)]
    pub(super) in_flight: u64,
}

impl LoadArgs {
    /// Duration of the load.
    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
