//! `lograft`: a cluster on one machine, topics, records and benchmarks from the command line.

mod args;
mod bench;
mod cluster;
mod consume;
mod context;
mod contexts_file;
mod dev;
mod error;
mod exit;
mod node;
mod output;
mod produce;
mod connect;
mod topic;
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Only fails when a provider stands already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    args::Cli::parse().run()
}
