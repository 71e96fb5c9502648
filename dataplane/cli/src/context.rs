//! `lograft context`: choose between clusters.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::Global;
use crate::contexts_file::{Context, ContextError, Contexts};
use crate::error::CliError;
use crate::output::{Paint, Table, print};

/// The words after `lograft context`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List all contexts; the current one carries a star
    List,
    /// Make a context the current one
    Use {
        /// The context's name
        name: String,
    },
    /// Show one context, by default the current one
    Show {
        /// The context's name
        name: Option<String>,
    },
    /// Add a context, or replace it
    Set(SetArgs),
    /// Forget a context; its cluster and its certificates stay
    Delete {
        /// The context's name
        name: String,
    },
}

/// Options of `lograft context set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The context's name
    name: String,
    /// host:port of a node; give some of them
    #[arg(long = "endpoint", required = true, value_name = "HOST:PORT")]
    endpoints: Vec<String>,
    /// PEM file of the CA that issued the nodes' certificates
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// PEM file of your certificate
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// PEM file of your private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Runs one of them.
pub(crate) fn run(command: ContextCommand, global: &Global) -> Result<(), CliError> {
    let path = global.path()?;
    let mut contexts = Contexts::load(&path)?;
    match command {
        ContextCommand::List => print(&list(&contexts)),
        ContextCommand::Use { name } => {
            contexts.pick(Some(&name), &path)?;
            contexts.current = Some(name.clone());
            contexts.save(&path)?;
            print(&format!("{name} is the current context\n"))
        }
        ContextCommand::Show { name } => {
            let name = name.as_deref().or(global.context_name());
            let (name, context) = contexts.pick(name, &path)?;
            print(&show(name, context)?)
        }
        ContextCommand::Set(args) => {
            let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
            let context = Context {
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
            let current = if is_first { ", the current one" } else { "" };
            print(&format!("context {} is set{current}\n", args.name))
        }
        ContextCommand::Delete { name } => {
            contexts.pick(Some(&name), &path)?;
            contexts.contexts.remove(&name);
            if contexts.current.as_ref() == Some(&name) {
                contexts.current = None;
            }
            contexts.save(&path)?;
            print(&format!("context {name} is forgotten\n"))
        }
    }
}

fn list(contexts: &Contexts) -> String {
    let paint = Paint::stdout();
    let mut table = Table::new(&["", "NAME", "ENDPOINTS"]);
    for (name, context) in &contexts.contexts {
        let is_current = contexts.current.as_ref() == Some(name);
        let star = if is_current { "*" } else { "" };
        table.row([star.to_owned(), name.clone(), context.endpoints.join(",")]);
    }
    table.render(paint, 0)
}

fn show(name: &str, context: &Context) -> Result<String, CliError> {
    let text = serde_yaml::to_string(context).map_err(|source| ContextError::Encode { source })?;
    Ok(format!("name: {name}\n{text}"))
}
