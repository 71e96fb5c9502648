//! Memory of the nodes with one topic, with 300 partitions, and under a stream of gigabytes.

use std::time::Duration;

use anyhow::{Result, ensure};
use lograft_client::NewTopic;

use crate::cluster::{Cluster, ProveArgs};
use crate::measure::to_f64;
use crate::proc::{Memory, Usage};

const SETTLE: Duration = Duration::from_secs(10);

/// Options of the footprint command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Footprint {
    /// Payload to stream, in GB.
    #[arg(long, default_value_t = 20)]
    stream_gb: u64,
    /// Number of partitions of the wide topic.
    #[arg(long, default_value_t = 300)]
    partitions: u32,
}

impl Footprint {
    /// Prints a table. Fails if memory is above a bound.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let folder = args.empty_folder("footprint")?;
        println!("| state | RSS of each node, MiB | CPU of all nodes | bound, MiB |");
        println!("|---|---|---|---|");
        let cluster = Cluster::start(&args.program()?, &folder, 3)?;
        let client = cluster.client().await?;
        let topic = |name: &str, partitions| NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: 3,
            ..NewTopic::default()
        };
        client.admin().create_topic(topic("one", 1)).await?;
        let mut within_bounds = vec![idle(&cluster, "idle, 1 topic", 40).await?];
        client
            .admin()
            .create_topic(topic("wide", self.partitions))
            .await?;
        let state = format!("idle, {} partitions", self.partitions);
        within_bounds.push(idle(&cluster, &state, 200).await?);
        client.admin().delete_topic("wide").await?;
        cluster.stop()?;
        // A new cluster, so that the peak is that of the stream.
        let cluster = Cluster::start(&args.program()?, &args.empty_folder("footprint")?, 3)?;
        within_bounds.push(self.stream(&cluster)?);
        cluster.stop()?;
        ensure!(
            within_bounds.iter().all(|ok| *ok),
            "memory is above a bound"
        );
        Ok(())
    }

    fn stream(self, cluster: &Cluster) -> Result<bool> {
        let bytes = self.stream_gb * 1_000_000_000;
        let mut done = 0.0;
        while done < to_f64(bytes) {
            let text = cluster.cli(&["bench", "produce", "-s", "1024", "-d", "20s", "--json"])?;
            let report: serde_json::Value = serde_json::from_str(&text)?;
            let count = report["bytes"].as_f64().unwrap_or(0.0);
            ensure!(count > 0.0, "benchmark wrote nothing: {text}");
            done += count;
        }
        let memory = memories(cluster)?;
        let peaks: Vec<u64> = memory.iter().map(|m| m.peak_bytes >> 20).collect();
        println!(
            "| peak while {:.0} GB were streamed | {peaks:?} | - | 400 |",
            done / 1e9
        );
        Ok(peaks.iter().all(|mib| *mib <= 400))
    }
}

async fn idle(cluster: &Cluster, state: &str, bound_mib: u64) -> Result<bool> {
    tokio::time::sleep(SETTLE).await;
    let pids = cluster.pids()?;
    let before = Usage::of(&pids)?;
    tokio::time::sleep(SETTLE).await;
    let cpu = Usage::of(&pids)?.since(before).cpu_seconds / SETTLE.as_secs_f64();
    let now: Vec<u64> = memories(cluster)?
        .iter()
        .map(|m| m.resident_bytes >> 20)
        .collect();
    println!(
        "| {state} | {now:?} | {:.1} % of a core | {bound_mib} |",
        cpu * 100.0
    );
    Ok(now.iter().all(|mib| *mib <= bound_mib))
}

fn memories(cluster: &Cluster) -> Result<Vec<Memory>> {
    cluster.pids()?.into_iter().map(Memory::of).collect()
}
