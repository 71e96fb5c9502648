//! Errors of `lograft dev`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lograft_node::config::ConfigError;

use super::layout::LayoutError;
use super::pki::PkiError;
use super::ports::PortError;
use crate::call_error::{exit_for, hint_for};
use crate::contexts_file::ContextsError;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::units;

/// A dev cluster cannot be started or has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Contexts(#[from] ContextsError),
    #[error("cannot create a temporary directory")]
    Temporary { source: io::Error },
    #[error("cannot determine the path of this program")]
    ProgramPath { source: io::Error },
    #[error("cannot listen for signals")]
    Signals { source: io::Error },
    #[error("cannot use the generated configuration of {name}")]
    NodeConfig { name: String, source: ConfigError },
    #[error("cannot encode the configuration of {name}")]
    Encode {
        name: String,
        source: serde_yaml::Error,
    },
    #[error("--nodes must be at least {held}, the number of nodes in {}, got {requested}", path.display())]
    FewerNodes {
        requested: u32,
        held: u32,
        path: PathBuf,
    },
    #[error("cannot start {name}: its process {end} {count} times before it was ready; end of {}:\n{tail}", log.display())]
    CrashLoop {
        name: String,
        end: String,
        count: u32,
        log: PathBuf,
        tail: String,
    },
    #[error("timed out after {}: {} not ready; see the logs in {}", units::elapsed(*after), names.join(", "), logs.display())]
    NotReady {
        names: Vec<String>,
        after: Duration,
        logs: PathBuf,
    },
    #[error("cannot bootstrap the cluster on node-1")]
    Bootstrap { source: lograft_client::ClientError },
}

impl CommandError for DevError {
    fn exit(&self) -> Exit {
        match self {
            Self::Contexts(error) => error.exit(),
            Self::Bootstrap { source } => exit_for(source),
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Contexts(error) => return error.hint(),
            Self::Bootstrap { source } => return hint_for(source),
            Self::Layout(LayoutError::InUse { .. }) => {
                "stop it, or choose another --data-dir and --base-port"
            }
            Self::Ports(PortError::InUse { .. }) => {
                "stop that program, or choose other ports with --base-port (0 picks free ones)"
            }
            Self::FewerNodes { .. } => {
                "start all nodes, then remove some with `lograft cluster decommission`"
            }
            _ => return None,
        };
        Some(text.into())
    }
}
