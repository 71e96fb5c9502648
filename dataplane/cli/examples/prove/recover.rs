//! Groups that lost their majority are recovered by the CLI from one survivor: its records are kept,
//! new ones are acknowledged, and the lost replicas change nothing when they return.

mod metadata;
mod partition;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use tokio::time::sleep;

use self::metadata::Loss;

use crate::cluster::ProveArgs;

const POLL_INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_mins(2);

/// Options of the recover command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Recover {
    /// The loss [default: each in turn]
    #[arg(long, value_enum)]
    case: Vec<Case>,
    /// Number of records before the loss
    #[arg(long, default_value_t = 50_000)]
    records: u64,
}

/// The loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Two of three replicas of a partition, of which the survivor was behind
    Partition,
    /// The same; both lost replicas return first without anybody who knows of the recovery
    OldMember,
    /// Three of five voters of the metadata
    Metadata,
    /// Two of three disks of a cluster
    Cluster,
}

impl Recover {
    /// Runs the cases. Fails at the first one that is not as promised.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let all = [
            Case::Partition,
            Case::OldMember,
            Case::Metadata,
            Case::Cluster,
        ];
        let cases = if self.case.is_empty() {
            &all[..]
        } else {
            &self.case
        };
        for case in cases {
            match case {
                Case::Partition => partition::run(args, self.records, false).await?,
                Case::OldMember => partition::run(args, self.records, true).await?,
                Case::Metadata => metadata::run(args, self.records, Loss::Voters).await?,
                Case::Cluster => metadata::run(args, self.records, Loss::Disks).await?,
            }
        }
        Ok(())
    }
}

/// Waits until `condition` holds, and returns how long that took.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<Duration> {
    let started = Instant::now();
    while !condition().await? {
        let took = started.elapsed();
        ensure!(took < PATIENCE, "not within {PATIENCE:?}: {what}");
        sleep(POLL_INTERVAL).await;
    }
    Ok(started.elapsed())
}
