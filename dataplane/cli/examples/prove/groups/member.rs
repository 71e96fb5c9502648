//! A member of the group in a process of its own, which can be killed and stopped. It prints what it
//! has processed, with the time of a clock that all processes of the machine share.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lograft_client::{GroupConfig, GroupEvent, GroupPartition};

use crate::cluster::connect;

/// The group.
pub(crate) const GROUP: &str = "workers";
/// The topic that it reads.
pub(crate) const TOPIC: &str = "work";
/// The session of a member: one that is stopped for longer is removed.
pub(super) const SESSION: Duration = Duration::from_secs(5);

/// Options of a member.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Member {
    /// Folder of the cluster.
    #[arg(long)]
    folder: PathBuf,
    /// Name of the member.
    #[arg(long)]
    id: String,
}

impl Member {
    /// Processes records until the process ends.
    pub(crate) async fn run(self) -> Result<()> {
        let client = connect(&self.folder).await?;
        let config = GroupConfig {
            member_id: Some(self.id),
            session_timeout: SESSION,
            auto_commit: Some(Duration::from_millis(50)),
            ..GroupConfig::new(GROUP, [TOPIC])
        };
        let mut consumer = client.group_consumer(config).await?;
        loop {
            let line = match consumer.next_event().await? {
                GroupEvent::Batch(batch) => {
                    let (partition, since) = (batch.partition.partition, batch.since_generation());
                    let next = batch.batch.next_offset().get();
                    let count = batch.batch.record_count();
                    format!(
                        "batch {partition} {} {next} {since}",
                        next - u64::from(count)
                    )
                }
                GroupEvent::Assigned(partitions) => format!("assigned {}", names(&partitions)),
                GroupEvent::Revoked(partitions) => format!("revoked {}", names(&partitions)),
                GroupEvent::Lost(partitions) => format!("lost {}", names(&partitions)),
            };
            // Whole lines: a killed process has processed what it has printed, and no more.
            let line = format!("{} {line}\n", now_us());
            stdout().write_all(line.as_bytes())?;
        }
    }
}

fn names(partitions: &[GroupPartition]) -> String {
    let numbers = partitions.iter().map(|p| p.partition.to_string());
    numbers.collect::<Vec<_>>().join(",")
}

/// Microseconds of the monotonic clock of the machine.
pub(super) fn now_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}
