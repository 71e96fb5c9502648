//! A node as a whole process: runtime, signals, exit code.

use std::process::ExitCode;

use lograft_core::limits::STOP_RUNTIME_MAX;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::error;

use super::error::RunError;
use super::node::Node;
use super::node_env::NodeEnv;
use crate::config::NodeConfig;
use crate::error_text::error_chain;
use crate::fatal::FatalError;

/// Runs a node until a shutdown signal or a fatal error. A second signal, or a shutdown that takes
/// too long, ends it at once. That loses nothing: acknowledged records are on disk at all times.
pub async fn run(config: NodeConfig, told_to_stop: impl AsyncFnMut()) -> Result<(), RunError> {
    let node = Node::start(config, NodeEnv::real()).await?;
    node.run(told_to_stop).await
}

/// Runs a node as this whole process, until SIGTERM or SIGINT.
pub fn main(config: NodeConfig) -> ExitCode {
    // Another provider installed before is an error of the program's author; rustls says so.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(count) = config.runtime.worker_threads_count {
        builder.worker_threads(count);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return ended(&RunError::Runtime(source)),
    };
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        run(config, async || signals.next().await).await
    });
    match result {
        Ok(()) => {
            runtime.shutdown_timeout(STOP_RUNTIME_MAX);
            ExitCode::SUCCESS
        }
        // Its connections to other nodes end with their tasks. The process may stay for as long as
        // the disk hangs, and its open sockets with it.
        Err(error @ RunError::Fatal(FatalError::DiskHung { .. })) => {
            runtime.shutdown_timeout(STOP_RUNTIME_MAX);
            ended(&error)
        }
        Err(error) => {
            runtime.shutdown_background();
            ended(&error)
        }
    }
}

fn ended(error: &RunError) -> ExitCode {
    error!(error = %error_chain(error), "node failed");
    ExitCode::from(error.exit_code())
}

/// SIGTERM and SIGINT, one after the other.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let listen = |kind| signal(kind).map_err(RunError::Runtime);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
