//! The command line, and the dispatch of its commands.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{CliError, CommandError};
use crate::exit::{EXIT_CODES_HELP, Exit};
use crate::global::GlobalArgs;
use crate::output::Paint;
use crate::{acl, bench, cluster, completion, consume, context, dev, node, produce, topic};

/// A replicated event log: a write is acknowledged only after a majority of replicas has fsynced it
#[derive(Debug, Parser)]
#[command(name = "lograft", version, after_help = EXIT_CODES_HELP, max_term_width = 100)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a cluster on this machine, one process per node
    Dev(dev::DevArgs),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Write lines from standard input or a file to a topic
    Produce(produce::ProduceArgs),
    /// Read records from a topic
    Consume(consume::ConsumeArgs),
    /// Show cluster health, transfer leadership, decommission nodes
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Manage and explain who may do what
    #[command(subcommand)]
    Acl(acl::AclCommand),
    /// Manage the clusters that commands can connect to
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Measure throughput, latency and pauses
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Print a shell completion script
    #[command(after_help = completion::COMPLETION_HELP)]
    Completion(completion::CompletionArgs),
    /// Run one node
    #[command(hide = true)]
    Node(node::NodeArgs),
}

/// The async runtime did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the async runtime")]
struct RuntimeError {
    source: io::Error,
}

impl CommandError for RuntimeError {}

impl Cli {
    /// Runs the command, prints its error to standard error and returns the exit code.
    pub(crate) fn run(self) -> ExitCode {
        let global = &self.global;
        let outcome = match self.command {
            Command::Node(args) => match node::run(&args) {
                Ok(code) => return code,
                Err(error) => Err(error.into()),
            },
            Command::Context(command) => context::run(command, global),
            Command::Completion(args) => completion::run(&args, Self::command()),
            Command::Dev(args) => {
                block_on(async { Ok(dev::run(args, &global.contexts_path()?).await?) })
            }
            Command::Topic(command) => block_on(topic::run(command, global)),
            Command::Produce(args) => block_on(produce::run(args, global)),
            Command::Consume(args) => block_on(consume::run(args, global)),
            Command::Cluster(command) => block_on(cluster::run(command, global)),
            Command::Acl(command) => block_on(acl::run(command, global)),
            Command::Bench(command) => block_on(bench::run(command, global)),
        };
        match outcome {
            Ok(()) => Exit::Ok.into(),
            Err(error) => {
                if let Some(line) = error.line() {
                    let paint = Paint::stderr();
                    drop(writeln!(io::stderr(), "{} {line}", paint.bad("error:")));
                }
                error.exit().into()
            }
        }
    }
}

fn block_on(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|source| RuntimeError { source })?;
    let outcome = runtime.block_on(command);
    // Waiting for all threads would hang: the one that reads standard input may block for good.
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_thing_is_revoked_or_restored_at_a_time() {
        let is_taken = |text: &str| Cli::try_parse_from(text.split(' ')).is_ok();
        assert!(is_taken("lograft acl revoke user/a"));
        assert!(is_taken("lograft acl revoke user/a --suspend"));
        assert!(is_taken("lograft acl revoke --certificate a.crt"));
        assert!(is_taken("lograft acl restore user/a"));
        assert!(is_taken("lograft acl restore --serial 0a"));
        assert!(!is_taken("lograft acl revoke"));
        assert!(!is_taken(
            "lograft acl revoke --certificate a.crt --suspend"
        ));
        assert!(!is_taken("lograft acl revoke user/a --certificate a.crt"));
        assert!(!is_taken("lograft acl restore"));
    }
}
