//! The operator of Lograft: makes of each LogCluster what should stand for it, and keeps it so.
//!
//! Architecture invariant: what to do is decided in `lograft-operator-desired`, which knows no
//! client and no clock. Here the world is read, plans are carried out, and status is written.

mod admin_client;
mod args;
mod controller;
mod error_text;
mod health;
mod kinds;
mod lease;
mod metrics;
mod pki;
mod run;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    args::start_log(&args);
    match run::main(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the operator ends");
            ExitCode::FAILURE
        }
    }
}
