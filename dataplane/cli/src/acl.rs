//! `lograft acl`: authorization rules and revoked certificates.

mod render;
mod revoke;
mod rules_file;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lograft_client::acl::{
    Effect, Operation, Operations, PrincipalPattern, ResourcePattern, Rule, RuleChange,
};
use lograft_client::{AccessAdmin, AccessQuestion};

use crate::call_error::cannot;
use crate::error::{CliError, CommandError};
use crate::exit::Exit;
use crate::global::GlobalArgs;
use crate::output::{Paint, print, print_json};
use revoke::{RestoreArgs, RevokeArgs};
use rules_file::RulesFile;

/// Maximum number of changes in one call.
const CHANGES_PER_CALL: usize = 1000;

const RULE_HELP: &str = "\
A PRINCIPAL is user/NAME, user/NAMESPACE/NAME for a user of another namespace than the cluster's,
user/NAMESPACE/* or user/*.
A RESOURCE is topic:NAME, topic:PREFIX*, topic:*, the same with group:, or cluster.
OPERATIONS are read, write, create, delete, alter and describe of topics; read, delete, alter and
describe of groups; alter, describe and admin of the cluster; or all.

A denial wins over every permission. What no rule matches is refused.";

/// Subcommands of `lograft acl`.
#[derive(Debug, Subcommand)]
pub(crate) enum AclCommand {
    /// List rules
    List {
        /// Only rules that match this principal
        #[arg(long, value_name = "PRINCIPAL")]
        principal: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add operations to a rule
    #[command(after_help = RULE_HELP)]
    Add(RuleArgs),
    /// Remove operations from a rule; without operations left the rule is gone
    #[command(after_help = RULE_HELP)]
    Remove(RuleArgs),
    /// Say whether an operation is allowed and which rules decide; exits with 0 only if it is
    Explain(ExplainArgs),
    /// Print all rules as YAML for `lograft acl import`
    Export,
    /// Add the rules of a file that are missing
    Import(ImportArgs),
    /// Revoke the certificates that a principal has now, or suspend it
    Revoke(RevokeArgs),
    /// Take a revocation back
    Restore(RestoreArgs),
    /// List revocations
    Revocations {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Options of `lograft acl add` and `lograft acl remove`.
#[derive(Debug, Args)]
pub(crate) struct RuleArgs {
    /// Whose operations
    principal: PrincipalPattern,
    /// Allow or deny
    effect: EffectArg,
    /// The operations, separated by commas, or "all"
    operations: OperationsArg,
    /// The resources
    #[arg(long = "on", value_name = "RESOURCE")]
    resource: ResourcePattern,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EffectArg {
    Allow,
    Deny,
}

/// Operations on the command line.
#[derive(Clone, Copy, Debug)]
enum OperationsArg {
    All,
    Some(Operations),
}

impl std::str::FromStr for OperationsArg {
    type Err = lograft_client::acl::RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        let operations = text.split(',').map(str::parse::<Operation>);
        Ok(Self::Some(operations.collect::<Result<_, _>>()?))
    }
}

impl RuleArgs {
    fn rule(self) -> Rule {
        let Self {
            principal,
            effect,
            operations,
            resource,
        } = self;
        Rule {
            principal,
            effect: match effect {
                EffectArg::Allow => Effect::Allow,
                EffectArg::Deny => Effect::Deny,
            },
            operations: match operations {
                OperationsArg::All => Operations::of_kind(resource.kind()),
                OperationsArg::Some(operations) => operations,
            },
            resource,
        }
    }
}

/// Options of `lograft acl explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Principal, e.g. user/orders; "me" for the one that you connect as
    principal: String,
    /// Operation, e.g. write
    operation: String,
    /// Resource: topic:NAME, group:NAME or cluster
    resource: String,
    /// As if the rules of this file were added
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
}

/// Options of `lograft acl import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File as `lograft acl export` prints it; "-" for standard input
    file: PathBuf,
    /// Also remove the rules that are not in the file
    #[arg(long)]
    prune: bool,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

/// The operation that was asked about is refused, which the output says.
#[derive(Debug, thiserror::Error)]
#[error("the operation is refused")]
struct Refused;

impl CommandError for Refused {
    fn exit(&self) -> Exit {
        Exit::NotFound
    }

    fn is_silent(&self) -> bool {
        true
    }
}

/// Runs a subcommand.
pub(crate) async fn run(command: AclCommand, global: &GlobalArgs) -> Result<(), CliError> {
    let access = global.connect().await?.access();
    match command {
        AclCommand::List { principal, json } => {
            let rules = list(&access, principal.as_deref()).await?;
            if json {
                return print_json(&render::list_json(&rules));
            }
            print(&render::list(&rules, Paint::stdout()))
        }
        AclCommand::Add(args) => change(&access, RuleChange::Add(args.rule()), "added").await,
        AclCommand::Remove(args) => {
            change(&access, RuleChange::Remove(args.rule()), "removed").await
        }
        AclCommand::Explain(args) => explain(&access, args).await,
        AclCommand::Export => {
            let rules = list(&access, None).await?;
            print(&RulesFile::of(&rules)?.text()?)
        }
        AclCommand::Import(args) => import(&access, args).await,
        AclCommand::Revoke(args) => revoke::revoke(&access, args).await,
        AclCommand::Restore(args) => revoke::restore(&access, args).await,
        AclCommand::Revocations { json } => revoke::list(&access, json).await,
    }
}

async fn list(
    access: &AccessAdmin,
    principal: Option<&str>,
) -> Result<Vec<lograft_client::admin_wire::StoredAccessRule>, CliError> {
    let listed = access.list_rules(principal).await;
    Ok(listed.map_err(cannot("list authorization rules"))?)
}

async fn change(access: &AccessAdmin, change: RuleChange, what: &str) -> Result<(), CliError> {
    access
        .change_rules(std::slice::from_ref(&change))
        .await
        .map_err(cannot("change authorization rules"))?;
    print(&format!("{what}: {}\n", change.rule()))
}

async fn explain(access: &AccessAdmin, args: ExplainArgs) -> Result<(), CliError> {
    let ExplainArgs {
        principal,
        operation,
        resource,
        with,
    } = args;
    let changes = match with {
        Some(file) => RulesFile::read(&file)?.additions(),
        None => Vec::new(),
    };
    let question = AccessQuestion {
        principal: if principal == "me" {
            String::new()
        } else {
            principal
        },
        operation,
        resource,
        changes,
    };
    let reply = access
        .explain(&question)
        .await
        .map_err(cannot("explain access"))?;
    print(&render::explanation(&question, &reply, Paint::stdout()))?;
    if reply.allowed {
        return Ok(());
    }
    Err(Refused.into())
}

async fn import(access: &AccessAdmin, args: ImportArgs) -> Result<(), CliError> {
    let ImportArgs {
        file,
        prune,
        dry_run,
    } = args;
    let wanted = RulesFile::read(&file)?;
    let current = RulesFile::of(&list(access, None).await?)?;
    let changes = current.changes_to(&wanted, prune);
    print(&render::changes(&changes))?;
    if dry_run || changes.is_empty() {
        return Ok(());
    }
    for some in changes.chunks(CHANGES_PER_CALL) {
        access
            .change_rules(some)
            .await
            .map_err(cannot("change authorization rules"))?;
    }
    Ok(())
}
