//! The operator of Lograft: it creates the objects of each LogCluster and keeps them as desired.
//!
//! Architecture invariant: decisions are made in `lograft-operator-desired`, which has no client
//! and no clock. This program reads what exists, carries plans out, and writes status.

mod admin_client;
mod args;
mod cluster_topics;
mod cluster_users;
mod controller;
mod error_text;
mod events;
mod fleet;
mod gossip_keys;
mod health;
mod host_zones;
mod kinds;
mod lease;
mod metrics;
mod namespace_labels;
mod pki;
mod run;
mod scope;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // First of all: a signal that arrives before its handler ends the process with a failure.
    let process = run::Process::start();
    let args = args::Args::parse();
    args::init_log(&args);
    match process.and_then(|process| process.run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "operator failed");
            ExitCode::FAILURE
        }
    }
}
