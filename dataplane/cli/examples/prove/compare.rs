//! Compares Lograft with NATS JetStream: the same records and concurrency on the same machine, one
//! engine at a time, in alternating rounds.

mod engine;
mod lograft;
mod nats_cluster;
mod options;
mod table;
mod work;

use anyhow::Result;

use crate::cluster::ProveArgs;
use engine::Running;
use table::Table;
use work::Work;

pub(crate) use options::CompareArgs;

/// Runs all rounds and prints the table.
pub(crate) async fn run(compare: CompareArgs, args: &ProveArgs) -> Result<()> {
    println!("{}\n", machine());
    let mut table = Table::default();
    for round in 1..=compare.rounds {
        for engine in compare.engines.iter().copied() {
            let mut running = Running::start(engine, &compare, args).await?;
            let is_wanted = |work: &Work| {
                work.is_for(engine) && (compare.loads.is_empty() || compare.loads.contains(work))
            };
            for work in Work::ALL.into_iter().filter(is_wanted) {
                let sample = running.load(work, &compare).await?;
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

/// The machine and its load before the run, because results of a busy machine mean little.
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
