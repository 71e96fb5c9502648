//! The command line, and which part of the program each word calls.

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lograft_client::Client;

use crate::contexts_file::{self, Context, Contexts};
use crate::dev::{self, DevArgs};
use crate::error::CliError;
use crate::exit::{EXIT_CODES_HELP, Exit};
use crate::output::Paint;
use crate::{bench, cluster, consume, context, node, produce, connect, topic};

/// An event log that is on the disks of a majority before it says yes.
#[derive(Debug, Parser)]
#[command(name = "lograft", version, after_help = EXIT_CODES_HELP, max_term_width = 100)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Over the options that every command has, so that its own stand together.
const HEADING: &str = "Which cluster";

/// Which cluster a command speaks to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// The context to use instead of the current one
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        value_name = "NAME",
        env = "LOGRAFT_CONTEXT",
        hide_env = true
    )]
    context: Option<String>,
    /// Instead of a context: host:port of some nodes
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
    /// With --at: a directory of ca.crt, tls.crt and tls.key, as a Secret is mounted
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        value_name = "DIR",
        env = "LOGRAFT_TLS_DIR",
        hide_env = true
    )]
    tls_dir: Option<PathBuf>,
    /// Call nothing but the endpoints given: through a port-forward or a proxy
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        env = "LOGRAFT_ENDPOINTS_ONLY",
        hide_env = true
    )]
    endpoints_only: bool,
    /// The contexts file [default: $LOGRAFT_CONFIG, else ~/.config/lograft/config.yaml]
    #[arg(long, global = true, help_heading = HEADING, value_name = "FILE")]
    contexts_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a cluster of real processes on this machine
    Dev(DevArgs),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Write lines of standard input or of a file to a topic
    Produce(produce::ProduceArgs),
    /// Read a topic to standard output
    Consume(consume::ConsumeArgs),
    /// See how the cluster is, move leaderships, take nodes out
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Choose between clusters
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Measure throughput and latency
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Run one node
    #[command(hide = true)]
    Node(node::NodeArgs),
}

impl Global {
    /// Where the contexts file stands.
    pub(crate) fn path(&self) -> Result<PathBuf, CliError> {
        match &self.contexts_file {
            Some(path) => Ok(path.clone()),
            None => Ok(contexts_file::default_path()?),
        }
    }

    /// The context that this command is for.
    pub(crate) fn context(&self) -> Result<(String, Context), CliError> {
        if let (Some(dir), false) = (&self.tls_dir, self.at.is_empty()) {
            let context = Context {
                endpoints: self.at.clone(),
                endpoints_only: self.endpoints_only,
                ca: dir.join("ca.crt"),
                cert: dir.join("tls.crt"),
                key: dir.join("tls.key"),
                dev_data_dir: None,
            };
            return Ok((self.at.join(","), context));
        }
        let path = self.path()?;
        let contexts = Contexts::load(&path)?;
        let (name, context) = contexts.pick(self.context.as_deref(), &path)?;
        let mut context = context.clone();
        context.endpoints_only |= self.endpoints_only;
        Ok((name.to_owned(), context))
    }

    /// Whether nothing but the endpoints is to be called.
    pub(crate) fn is_endpoints_only(&self) -> bool {
        self.endpoints_only
    }

    /// The name given on the command line or in the environment.
    pub(crate) fn context_name(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// A client of that context's cluster.
    pub(crate) async fn connect(&self) -> Result<Client, CliError> {
        let (name, context) = self.context()?;
        Ok(connect::connect(&name, &context).await?)
    }
}

impl Cli {
    /// Runs the command, tells what went wrong, and answers the exit code.
    pub(crate) fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Node(args) => match node::run(&args) {
                Ok(code) => return code,
                Err(error) => Err(error.into()),
            },
            Command::Context(command) => context::run(command, &self.global),
            Command::Dev(args) => {
                block_on(async { Ok(dev::run(args, &self.global.path()?).await?) })
            }
            Command::Topic(command) => block_on(topic::run(command, &self.global)),
            Command::Produce(args) => block_on(produce::run(args, &self.global)),
            Command::Consume(args) => block_on(consume::run(args, &self.global)),
            Command::Cluster(command) => block_on(cluster::run(command, &self.global)),
            Command::Bench(command) => block_on(bench::run(command, &self.global)),
        };
        let exit = match outcome {
            Ok(()) => Exit::Ok,
            Err(error) if error.is_closed_pipe() => Exit::Ok,
            Err(error) => {
                if let Some(line) = error.line() {
                    let paint = Paint::stderr();
                    drop(writeln!(io::stderr(), "{} {line}", paint.bad("error:")));
                }
                error.exit()
            }
        };
        exit.into()
    }
}

fn block_on(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|source| CliError::Runtime { source })?;
    let outcome = runtime.block_on(work);
    // A thread that reads standard input has no end of its own.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
