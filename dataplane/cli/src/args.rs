//! The command line, and the dispatch of its commands.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{CliError, CommandError};
use crate::exit::{EXIT_CODES_HELP, Exit};
use crate::global::GlobalArgs;
use crate::output::Paint;
use crate::{
    acl, bench, cluster, completion, consume, context, dev, group, node, produce, replica_files,
    topic,
};

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
    #[command(after_long_help = consume::TEMPLATE_HELP)]
    Consume(Box<consume::ConsumeArgs>),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show cluster health, transfer leadership, decommission nodes
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Read the files of a replica without a node
    #[command(subcommand)]
    Replica(replica_files::ReplicaCommand),
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
    /// Parses the arguments of the process. Ends the process if they are not valid.
    pub(crate) fn from_args() -> Self {
        let args: Vec<OsString> = std::env::args_os().collect();
        Self::parse_args(&args).unwrap_or_else(|error| error.exit())
    }

    /// `consume -f` is `--follow`, but before a template it is `--format`, as in kcat and rpk. A
    /// template has a percent sign, which the name of a topic never has, so that no command line is
    /// valid both ways.
    fn parse_args(args: &[OsString]) -> Result<Self, clap::Error> {
        let error = match Self::try_parse_from(args) {
            Ok(cli) => return Ok(cli),
            Err(error) => error,
        };
        match Self::try_parse_from(long_format(args)) {
            Ok(cli) if matches!(cli.command, Command::Consume(_)) => Ok(cli),
            Err(other) if other.kind() == ErrorKind::ValueValidation => Err(other),
            Ok(_) | Err(_) => Err(error),
        }
    }

    /// Runs the command, prints its error to standard error and returns the exit code.
    pub(crate) fn run(self) -> ExitCode {
        let global = &self.global;
        let outcome = match self.command {
            Command::Node(args) => match node::run(&args) {
                Ok(code) => return code,
                Err(error) => Err(error.into()),
            },
            Command::Context(command) => context::run(command, global),
            Command::Replica(command) => replica_files::run(command),
            Command::Completion(args) => completion::run(&args, Self::command()),
            Command::Dev(args) => {
                block_on(async { Ok(dev::run(args, &global.contexts_path()?).await?) })
            }
            Command::Topic(command) => block_on(topic::run(command, global)),
            Command::Produce(args) => block_on(produce::run(args, global)),
            Command::Consume(args) => block_on(consume::run(*args, global)),
            Command::Group(command) => block_on(group::run(command, global)),
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

/// The arguments with `--format` for each `-f` before a template.
fn long_format(args: &[OsString]) -> Vec<OsString> {
    let mut long = args.to_vec();
    let is_template = |arg: &OsString| arg.as_encoded_bytes().contains(&b'%');
    for at in 1..long.len() {
        if is_template(&long[at]) && long[at - 1] == "-f" {
            long[at - 1] = "--format".into();
        }
    }
    long
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
    fn the_short_form_of_follow_is_that_of_a_template_too() {
        let parsed = |text: &str| {
            let args: Vec<OsString> = text.split(' ').map(Into::into).collect();
            let cli = Cli::parse_args(&args);
            cli.map(|cli| format!("{:?}", cli.command))
        };
        for (text, follow, has_template) in [
            ("lograft consume t -f", true, false),
            ("lograft consume -f t", true, false),
            ("lograft consume -f t -q", true, false),
            ("lograft consume t -f %v", false, true),
            ("lograft consume -f %v t", false, true),
            ("lograft consume t -f -f %v", true, true),
            ("lograft consume t -f --format %v", true, true),
        ] {
            let command = parsed(text).unwrap();
            let (follow, template) = (
                format!("follow: {follow}"),
                format!("format: {}", if has_template { "Some" } else { "None" }),
            );
            assert!(command.contains(&follow), "{text}: {command}");
            assert!(command.contains(&template), "{text}: {command}");
        }
        assert!(parsed("lograft produce t -f a%b").is_ok());
        assert!(parsed("lograft consume a b").is_err());
        let error = parsed("lograft consume t -f %s").unwrap_err().to_string();
        assert!(error.contains("placeholder must be"), "{error}");
        let error = parsed("lograft produce t -f a%b --nope").unwrap_err();
        assert!(error.to_string().contains("--nope"), "{error}");
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
