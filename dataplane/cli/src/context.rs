//! `lograft context`: manage the contexts file.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::contexts_file::{ClusterContext, ContextsError, ContextsFile};
use crate::error::CliError;
use crate::global::GlobalArgs;
use crate::output::{Paint, Table, print};

/// Subcommands of `lograft context`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List contexts; the current one is marked with *
    List,
    /// Set the current context
    Use {
        /// Context name
        name: String,
    },
    /// Show a context
    Show {
        /// Context name [default: the current context]
        name: Option<String>,
    },
    /// Add or replace a context
    Set(SetArgs),
    /// Delete a context; its cluster and certificates are not changed
    Delete {
        /// Context name
        name: String,
    },
}

/// Options of `lograft context set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Context name
    name: String,
    /// Client address of a node; can be repeated
    #[arg(long = "endpoint", required = true, value_name = "HOST:PORT")]
    endpoints: Vec<String>,
    /// PEM file with the CA of the nodes' certificates
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// PEM file with your certificate
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// PEM file with your private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Runs a subcommand.
pub(crate) fn run(command: ContextCommand, global: &GlobalArgs) -> Result<(), CliError> {
    let path = global.contexts_path()?;
    let mut contexts = ContextsFile::load(&path)?;
    match command {
        ContextCommand::List => print(&list(&contexts)),
        ContextCommand::Use { name } => {
            contexts.get(Some(&name), &path)?;
            contexts.current = Some(name.clone());
            contexts.save(&path)?;
            print(&format!("switched to context {name}\n"))
        }
        ContextCommand::Show { name } => {
            let name = name.as_deref().or(global.context_name());
            let (name, context) = contexts.get(name, &path)?;
            print(&show(name, context)?)
        }
        ContextCommand::Set(args) => {
            let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
            let context = ClusterContext {
                endpoints: args.endpoints,
                endpoints_only: global.is_endpoints_only(),
                ca: absolute(args.ca),
                cert: absolute(args.cert),
                key: absolute(args.key),
                dev_data_dir: None,
            };
            contexts.contexts.insert(args.name.clone(), context);
            let is_first = contexts.current.is_none();
            if is_first {
                contexts.current = Some(args.name.clone());
            }
            contexts.save(&path)?;
            let current = if is_first {
                " as the current context"
            } else {
                ""
            };
            print(&format!("context {} set{current}\n", args.name))
        }
        ContextCommand::Delete { name } => {
            contexts.get(Some(&name), &path)?;
            contexts.contexts.remove(&name);
            if contexts.current.as_ref() == Some(&name) {
                contexts.current = None;
            }
            contexts.save(&path)?;
            print(&format!("context {name} deleted\n"))
        }
    }
}

fn list(contexts: &ContextsFile) -> String {
    let mut table = Table::new(&["", "NAME", "ENDPOINTS"]);
    for (name, context) in &contexts.contexts {
        let is_current = contexts.current.as_ref() == Some(name);
        let mark = if is_current { "*" } else { "" };
        table.row([mark.to_owned(), name.clone(), context.endpoints.join(",")]);
    }
    table.render(Paint::stdout(), 0)
}

fn show(name: &str, context: &ClusterContext) -> Result<String, ContextsError> {
    let text = serde_yaml::to_string(context).map_err(|source| ContextsError::Encode { source })?;
    Ok(format!("name: {name}\n{text}"))
}
