//! The program `lograft-node`: one node of a cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use lograft_node::config::NodeConfig;
use lograft_node::{error_chain, run, telemetry};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(flag), Some(file), None) = (args.next(), args.next(), args.next()) else {
        return usage();
    };
    if flag != "--config" {
        return usage();
    }
    let config = NodeConfig::load(&PathBuf::from(file));
    let config = match config.and_then(|config| config.with_environment(variable)) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return refuse(&error);
    }
    run::main(config)
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn usage() -> ExitCode {
    eprintln!("usage: lograft-node --config FILE");
    ExitCode::from(run::EXIT_CONFIG)
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("lograft-node: {}", error_chain(error));
    ExitCode::from(run::EXIT_CONFIG)
}
