//! What can go wrong with `lograft dev`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lograft_node::config::ConfigError;

use super::layout::LayoutError;
use super::pki::PkiError;
use super::ports::PortError;
use crate::contexts_file::ContextError;
use crate::units;

/// What can go wrong with a dev cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("making a temporary directory")]
    Temporary { source: io::Error },
    #[error("finding this program's own file")]
    OwnFile { source: io::Error },
    #[error("listening for signals")]
    Signals { source: io::Error },
    #[error("the configuration of {name} is refused")]
    NodeConfig { name: String, source: ConfigError },
    #[error("encoding the configuration of {name}")]
    Encode {
        name: String,
        source: serde_yaml::Error,
    },
    #[error("--nodes {asked} is less than the {held} nodes that {} holds", path.display())]
    FewerNodes {
        asked: u32,
        held: u32,
        path: PathBuf,
    },
    #[error("{name} {end} {count} times before it was ready; the end of {}:\n{tail}", log.display())]
    KeepsEnding {
        name: String,
        end: String,
        count: u32,
        log: PathBuf,
        tail: String,
    },
    #[error("{} not ready within {}; see {}", names.join(", "), units::elapsed(*after), logs.display())]
    NotReady {
        names: Vec<String>,
        after: Duration,
        logs: PathBuf,
    },
    #[error("node-1 refused to become a cluster's first node")]
    Bootstrap { source: lograft_client::ClientError },
}
