//! `lograft node`: runs one node in this process. `lograft dev` starts its nodes this way.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lograft_core::limits::DEV_STOP_MAX;
use lograft_node::config::{ConfigError, NodeConfig};
use lograft_node::telemetry::TelemetryError;
use lograft_node::{run, telemetry};
use rustix::process::{Signal, getpid, kill_process};

use crate::error::CommandError;

/// Options of `lograft node`.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    /// Node configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop when standard input is closed, i.e. when the parent process ends
    #[arg(long)]
    supervised: bool,
}

/// A node did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("cannot watch standard input")]
    WatchInput { source: io::Error },
}

impl CommandError for NodeError {}

/// Runs a node until SIGTERM or SIGINT.
pub(crate) fn run(args: &NodeArgs) -> Result<ExitCode, NodeError> {
    let variable =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config = NodeConfig::load(&args.config)?.with_environment(variable)?;
    telemetry::init(&config.log)?;
    if args.supervised {
        std::thread::Builder::new()
            .name("parent".into())
            .spawn(stop_when_input_closes)
            .map_err(|source| NodeError::WatchInput { source })?;
    }
    Ok(run::main(config))
}

/// Stops this process when standard input is closed: first with SIGTERM, which hands over
/// leaderships, then by exiting.
fn stop_when_input_closes() {
    let mut byte = [0];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut byte) {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    tracing::warn!("parent process ended, stopping");
    // If the signal fails, the exit below ends the process.
    let _ = kill_process(getpid(), Signal::TERM);
    std::thread::sleep(DEV_STOP_MAX);
    std::process::exit(1);
}
