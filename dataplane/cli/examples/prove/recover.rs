//! Groups that lost their majority are recovered by the CLI from one survivor: its records are kept,
//! new ones are acknowledged, and the lost replicas change nothing when they return.

mod damage;
mod damaged_metadata;
mod metadata;
mod partition;
mod replicas;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use lograft_client::{Client, ConsumerConfig, StartAt};
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
    /// One of two replicas of a partition is damaged
    TwoReplicas,
    /// The log of the metadata is damaged on one node, with a majority of others and without one
    DamagedMetadata,
    /// The only replica of a partition is damaged
    OnlyReplica,
}

impl Recover {
    /// Runs the cases. Fails at the first one that is not as promised.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let all = [
            Case::Partition,
            Case::OldMember,
            Case::Metadata,
            Case::Cluster,
            Case::TwoReplicas,
            Case::DamagedMetadata,
            Case::OnlyReplica,
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
                Case::TwoReplicas => replicas::two(args, self.records).await?,
                Case::DamagedMetadata => damaged_metadata::run(args, self.records).await?,
                Case::OnlyReplica => replicas::only(args, self.records).await?,
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

/// The number at the start of a record's value.
fn number_of(value: &[u8]) -> Result<u64> {
    let number = value.first_chunk().context("value is too short")?;
    Ok(u64::from_le_bytes(*number))
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).context("invalid base64")
}

/// The numbers of all records of a topic with one partition, in their order.
async fn read_numbers(client: &Client, topic: &str) -> Result<Vec<u64>> {
    let config = ConsumerConfig {
        follow: false,
        ..ConsumerConfig::new(topic, StartAt::Earliest)
    };
    let mut consumer = client.consumer(config).await?;
    let mut numbers = Vec::new();
    while let Some(batch) = consumer.next_batch().await? {
        for record in batch.iter() {
            let (_, record) = record?;
            numbers.push(number_of(record.value.unwrap_or_default())?);
        }
    }
    Ok(numbers)
}
