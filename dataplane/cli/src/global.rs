//! Options of every command: the cluster to connect to.

use std::path::PathBuf;

use clap::Args;
use lograft_client::Client;

use crate::connect::{ConnectError, connect_in};
use crate::contexts_file::{self, ClusterContext, ContextsError, ContextsFile};
use crate::error::CliError;

/// Heading in `--help`, which separates these options from those of the command.
const HEADING: &str = "Connection options";

/// The cluster to connect to.
#[derive(Clone, Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Use this context instead of the current one
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        value_name = "NAME",
        env = "LOGRAFT_CONTEXT",
        hide_env = true
    )]
    context: Option<String>,
    /// Connect to these nodes instead of using a context; requires --tls-dir
    #[arg(
        id = "at",
        long = "at",
        global = true,
        help_heading = HEADING,
        value_name = "HOST:PORT,...",
        env = "LOGRAFT_ENDPOINTS",
        hide_env = true,
        value_delimiter = ',',
        requires = "tls_dir"
    )]
    at: Vec<String>,
    /// With --at: directory with ca.crt, tls.crt and tls.key, e.g. a mounted Secret
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        value_name = "DIR",
        env = "LOGRAFT_TLS_DIR",
        hide_env = true
    )]
    tls_dir: Option<PathBuf>,
    /// Connect only to the given endpoints, e.g. through a port-forward or a proxy
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        env = "LOGRAFT_ENDPOINTS_ONLY",
        hide_env = true
    )]
    endpoints_only: bool,
    /// Contexts file [default: $LOGRAFT_CONFIG, else ~/.config/lograft/config.yaml]
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    contexts_file: Option<PathBuf>,
}

impl GlobalArgs {
    /// Path of the contexts file.
    pub(crate) fn contexts_path(&self) -> Result<PathBuf, ContextsError> {
        match &self.contexts_file {
            Some(path) => Ok(path.clone()),
            None => contexts_file::default_path(),
        }
    }

    /// The name and the context of the cluster to connect to.
    pub(crate) fn context(&self) -> Result<(String, ClusterContext), ContextsError> {
        if let (Some(dir), false) = (&self.tls_dir, self.at.is_empty()) {
            let context = ClusterContext {
                endpoints: self.at.clone(),
                endpoints_only: self.endpoints_only,
                ca: dir.join("ca.crt"),
                cert: dir.join("tls.crt"),
                key: dir.join("tls.key"),
                dev_data_dir: None,
            };
            return Ok((self.at.join(","), context));
        }
        let path = self.contexts_path()?;
        let file = ContextsFile::load(&path)?;
        let (name, context) = file.get(self.context.as_deref(), &path)?;
        let mut context = context.clone();
        context.endpoints_only |= self.endpoints_only;
        Ok((name.to_owned(), context))
    }

    /// Whether only the given endpoints may be connected to.
    pub(crate) fn is_endpoints_only(&self) -> bool {
        self.endpoints_only
    }

    /// The context named on the command line or in the environment.
    pub(crate) fn context_name(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Connects to the cluster.
    pub(crate) async fn connect(&self) -> Result<Client, CliError> {
        self.connect_in(None).await
    }

    /// The same as a client in a zone; none for that of the environment.
    pub(crate) async fn connect_in(&self, zone: Option<&str>) -> Result<Client, CliError> {
        let (name, context) = self.context()?;
        connect_in(&name, &context, zone)
            .await
            .map_err(|error: ConnectError| error.into())
    }
}
