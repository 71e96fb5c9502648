//! `lograft node`: one node in this process; what `lograft dev` starts as its children.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lograft_core::limits::DEV_STOP_MAX;
use lograft_node::config::{ConfigError, NodeConfig};
use lograft_node::telemetry::TelemetryError;
use lograft_node::{run, telemetry};
use rustix::process::{Signal, getpid, kill_process};

/// Options of `lograft node`.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's configuration, YAML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop when standard input ends: it is a pipe that the starting process holds
    #[arg(long)]
    supervised: bool,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("watching standard input")]
    Watch { source: io::Error },
}

/// Runs a node until SIGTERM or SIGINT.
pub(crate) fn run(args: &NodeArgs) -> Result<ExitCode, NodeError> {
    let variable =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config = NodeConfig::load(&args.config)?.with_environment(variable)?;
    telemetry::init(&config.log)?;
    if args.supervised {
        let watch = std::thread::Builder::new().name("parent".into());
        watch
            .spawn(stop_with_input)
            .map_err(|source| NodeError::Watch { source })?;
    }
    Ok(run::main(config))
}

/// Ends this process when standard input ends: gently, then for sure.
fn stop_with_input() {
    let mut byte = [0];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut byte) {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    tracing::warn!("the process that started this node is gone: stopping");
    // Signalling oneself does not fail; if it did, the exit below comes all the same.
    let _ = kill_process(getpid(), Signal::TERM);
    std::thread::sleep(DEV_STOP_MAX);
    std::process::exit(1);
}
