//! Starts an engine and runs loads on it.

use anyhow::Result;

use super::lograft::LograftRun;
use super::nats_cluster::NatsRun;
use super::options::CompareArgs;
use super::work::{Engine, Sample, Work};
use crate::cluster::ProveArgs;

/// A running engine.
#[derive(Debug)]
pub(crate) enum Running {
    /// Three nats-server processes.
    Nats(NatsRun),
    /// `lograft dev`.
    Lograft(LograftRun),
}

impl Running {
    /// Starts three nodes with empty disks and waits until they are ready.
    pub(crate) async fn start(
        engine: Engine,
        compare: &CompareArgs,
        args: &ProveArgs,
    ) -> Result<Self> {
        Ok(match engine {
            Engine::Lograft => Self::Lograft(LograftRun::start(args)?),
            Engine::NatsDefault | Engine::NatsAlways => {
                let always = engine == Engine::NatsAlways;
                Self::Nats(NatsRun::start(compare.nats_server()?, always, args).await?)
            }
        })
    }

    /// Runs one load.
    pub(crate) async fn load(&mut self, work: Work, compare: &CompareArgs) -> Result<Sample> {
        match self {
            Self::Nats(run) => run.load(work, compare.seconds, compare.partitions).await,
            Self::Lograft(run) => run.load(work, compare.seconds, compare.partitions),
        }
    }

    /// Stops the engine and deletes its data.
    pub(crate) fn stop(self) -> Result<()> {
        match self {
            Self::Nats(run) => run.stop(),
            Self::Lograft(run) => run.stop(),
        }
    }
}
