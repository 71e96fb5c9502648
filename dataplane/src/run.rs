//! A whole node: built from its configuration, run until told to stop, stopped in order.

use std::process::ExitCode;

use crate::config::NodeConfig;

/// Exit code for a configuration or usage that cannot work.
pub const EXIT_CONFIG: u8 = 2;
/// Exit code for a failure while running.
pub const EXIT_FAILED: u8 = 1;

/// Runs a node in this process until SIGTERM or SIGINT.
pub fn main(_config: NodeConfig) -> ExitCode {
    ExitCode::from(EXIT_FAILED)
}
