//! `lograft bench`: measures throughput and latency, and reports the setup and the costs with them.

mod consume;
mod cost;
mod error;
mod latency;
mod measure;
mod produce;
mod report;
mod setup;
mod soak;
mod topic;

use clap::Subcommand;

use crate::error::CliError;
use crate::global::GlobalArgs;
use crate::output::{Paint, print, print_json};

use report::Report;

/// Subcommands of `lograft bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure write throughput with batched records
    Produce(produce::ProduceBench),
    /// Measure read throughput
    Consume(consume::ConsumeBench),
    /// Measure acknowledgement latency of single records
    Latency(latency::LatencyBench),
    /// Write at a steady rate, e.g. during failures, then verify that no acknowledged record is
    /// missing; reports the longest pause of each partition
    Soak(soak::SoakBench),
}

/// Runs a subcommand.
pub(crate) async fn run(command: BenchCommand, global: &GlobalArgs) -> Result<(), CliError> {
    match command {
        BenchCommand::Produce(args) => print_report(args.json(), produce::run(args, global).await?),
        BenchCommand::Consume(args) => print_report(args.json(), consume::run(args, global).await?),
        BenchCommand::Latency(args) => print_report(args.json(), latency::run(args, global).await?),
        BenchCommand::Soak(args) => soak::run(args, global).await,
    }
}

fn print_report(json: bool, report: Report) -> Result<(), CliError> {
    if json {
        print_json(&report)?;
    } else {
        print(&report.render(Paint::stdout()))?;
    }
    match report.into_failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}
