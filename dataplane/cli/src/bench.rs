//! `lograft bench`: throughput and latency, with the set-up and the costs beside the figures.

mod consume;
mod cost;
mod latency;
mod measure;
mod produce;
mod report;
mod setup;
mod soak;
mod topic;

use clap::Subcommand;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{Paint, print, print_json};

use report::Report;

/// The words after `lograft bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Write as fast as the cluster takes it, in packed batches
    Produce(produce::ProduceBench),
    /// Read as fast as the cluster gives it
    Consume(consume::ConsumeBench),
    /// Write one record at a time from each of N producers and time every acknowledgement
    Latency(latency::LatencyBench),
    /// Write at a steady rate while something is done to the cluster, then read all of it back:
    /// the longest pause of each partition, and whether an acknowledged record is missing
    Soak(soak::SoakBench),
}

/// Runs one of them.
pub(crate) async fn run(command: BenchCommand, global: &Global) -> Result<(), CliError> {
    match command {
        BenchCommand::Produce(args) => show(args.json(), produce::run(args, global).await?),
        BenchCommand::Consume(args) => show(args.json(), consume::run(args, global).await?),
        BenchCommand::Soak(args) => soak::run(args, global).await,
        BenchCommand::Latency(args) => show(args.json(), latency::run(args, global).await?),
    }
}

fn show(json: bool, report: Report) -> Result<(), CliError> {
    if json {
        print_json(&report)?;
    } else {
        print(&report.render(Paint::stdout()))?;
    }
    report.into_failure().map_or(Ok(()), Err)
}
