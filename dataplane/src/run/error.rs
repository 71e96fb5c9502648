//! Why a node does not start, or ends by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lograft_storage::StorageError;

use super::discovery::DiscoveryError;
use super::exit_code::{EXIT_CONFIG, EXIT_FAILED, EXIT_FATAL};
use crate::config::ConfigError;
use crate::fatal::FatalError;
use crate::host::TooFewFiles;
use crate::identity::PeerIdentity;
use crate::incarnation::IncarnationError;
use crate::metrics::MetricsError;
use crate::recovery_epochs::RecoveryEpochError;
use crate::tls::TlsError;

/// Why a node did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host's limits are too low.
    #[error(transparent)]
    TooFewFiles(#[from] TooFewFiles),
    /// The TLS files cannot be used.
    #[error("cannot load the TLS files")]
    Tls(#[from] TlsError),
    /// Peers reach the node by the name in its certificate.
    #[error(
        "configuration field name must be that of the node's certificate {identity}, got {name}"
    )]
    Name {
        /// The configured name.
        name: String,
        /// The identity in the certificate.
        identity: Arc<PeerIdentity>,
    },
    /// The history of the data directory cannot be read or continued.
    #[error("cannot raise the incarnation of the node")]
    Incarnation(#[from] IncarnationError),
    /// The recovery epochs of the groups on the disk cannot be read.
    #[error("cannot read the recovery epochs of the disk")]
    RecoveryEpochs(#[from] RecoveryEpochError),
    /// Discovery cannot start.
    #[error("cannot start discovery")]
    Discovery(#[from] DiscoveryError),
    /// The data directory cannot be used.
    #[error("cannot open the data directory")]
    Storage(#[source] StorageError),
    /// A port cannot be listened on.
    #[error("cannot listen for {what} on {address}")]
    Listen {
        /// The purpose of the port.
        what: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// gRPC reflection cannot be set up.
    #[error("cannot build the gRPC reflection service")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The runtime cannot be set up.
    #[error("cannot start the async runtime")]
    Runtime(#[source] io::Error),
    /// A thread that opened files has panicked.
    #[error("startup task panicked or was cancelled")]
    Task(#[source] tokio::task::JoinError),
    /// A second shutdown signal arrived during the shutdown.
    #[error("second shutdown signal: exiting before leadership transfer finished")]
    CutShort,
    /// It did not stop in time.
    #[error("shutdown took longer than {longest:?}: exiting before it finished")]
    StopTimeout {
        /// The bound, `limits::STOP_MAX`.
        longest: Duration,
    },
    /// The node cannot go on.
    #[error("fatal error: the node must be restarted")]
    Fatal(#[source] FatalError),
}

impl RunError {
    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::TooFewFiles(_) | Self::Name { .. } => EXIT_CONFIG,
            Self::Fatal(_) => EXIT_FATAL,
            _ => EXIT_FAILED,
        }
    }
}
