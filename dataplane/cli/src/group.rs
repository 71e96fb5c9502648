//! `lograft group`: consumer groups and their committed offsets.

mod offsets_file;
mod partitions;
mod render;
mod reset;

use clap::{Args, Subcommand};
use lograft_client::{GroupAdmin, Reason};

use crate::call_error::cannot;
use crate::error::CliError;
use crate::global::GlobalArgs;
use crate::output::{Paint, plural, print, print_json};

pub(crate) use reset::RESET_HELP;
use reset::ResetArgs;

/// Subcommands of `lograft group`.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a group: members, assignment, committed offsets and lag of each partition
    Describe {
        /// Group name
        group: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the committed offsets of a group without members, or print them to a file
    #[command(after_help = RESET_HELP)]
    Reset(ResetArgs),
    /// Delete a group without members, or only its committed offsets of a topic
    Delete(DeleteArgs),
}

/// Options of `lograft group delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Group name
    group: String,
    /// Delete only the committed offsets of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Succeed if the group does not exist
    #[arg(long)]
    if_exists: bool,
}

/// Runs a subcommand.
pub(crate) async fn run(command: GroupCommand, global: &GlobalArgs) -> Result<(), CliError> {
    let client = global.connect().await?;
    let admin = client.groups();
    match command {
        GroupCommand::List { json } => {
            let groups = admin.list().await.map_err(cannot("list groups"))?;
            if json {
                return print_json(&render::list_json(&groups));
            }
            print(&render::list(&groups, Paint::stdout()))
        }
        GroupCommand::Describe { group, json } => {
            let action = format!("describe group {group}");
            let found = admin.describe(&group).await;
            let found = found.map_err(cannot(action.clone()))?;
            let progress = partitions::progress(&client, &found).await;
            let progress = progress.map_err(cannot(action))?;
            if json {
                return print_json(&render::group_json(&found, &progress));
            }
            print(&render::describe(&found, &progress, Paint::stdout()))
        }
        GroupCommand::Reset(args) => reset::run(&client, args).await,
        GroupCommand::Delete(args) => delete(&admin, args).await,
    }
}

async fn delete(admin: &GroupAdmin, args: DeleteArgs) -> Result<(), CliError> {
    let DeleteArgs {
        group,
        topic,
        if_exists,
    } = args;
    let (action, deleted) = if let Some(topic) = &topic {
        let deleted = admin.delete_offsets(&group, topic, &[]).await;
        let text = |count: u32| {
            let offsets = plural(count as usize, "committed offset");
            format!("group {group}: deleted {offsets} of topic {topic}\n")
        };
        let action = format!("delete offsets of group {group} in topic {topic}");
        (action, deleted.map(text))
    } else {
        let deleted = admin.delete(&group).await;
        let text = |()| format!("group {group} deleted\n");
        (format!("delete group {group}"), deleted.map(text))
    };
    match deleted {
        Ok(text) => print(&text),
        Err(error) if if_exists && error.reason() == Some(Reason::UnknownGroup) => {
            print(&format!("group {group} does not exist\n"))
        }
        Err(error) => Err(cannot(action)(error).into()),
    }
}
