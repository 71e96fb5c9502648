//! `lograft`: local clusters, topics, records and benchmarks on the command line.

mod acl;
mod args;
mod bench;
mod call_error;
mod clock;
mod cluster;
mod completion;
mod compression;
mod connect;
mod consume;
mod context;
mod contexts_file;
mod dev;
mod error;
mod escapes;
mod exit;
mod global;
mod group;
mod node;
mod output;
mod produce;
mod record_json;
mod replica;
mod replica_files;
mod topic;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Fails only if a provider is already installed, which is harmless.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    args::Cli::from_args().run()
}
