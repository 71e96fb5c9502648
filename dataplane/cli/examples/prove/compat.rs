//! A rolling upgrade between two versions under load: up, mixed, up, back, up, finalize.
//!
//! Four node processes of the old program are replaced one by one by the new one while `lograft
//! bench soak` of both versions and a probe write to the cluster. All features are used through the
//! command lines of both versions against nodes of both versions.

mod cli;
mod features;
mod groups;
mod large_records;
mod load;
mod nodes;
mod phases;
mod report;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::cluster::ProveArgs;
use nodes::Programs;
use phases::Upgrade;
use report::Report;

/// Options of the compat command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Compat {
    /// Node program of the old version
    #[arg(long, value_name = "PATH")]
    old_node: PathBuf,
    /// Command line of the old version
    #[arg(long, value_name = "PATH")]
    old_cli: PathBuf,
    /// Node program of the new version
    #[arg(long, value_name = "PATH")]
    new_node: PathBuf,
    /// Command line of the new version
    #[arg(long, value_name = "PATH")]
    new_cli: PathBuf,
    /// Time that nodes of both versions run side by side, at least
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    mixed_seconds: u64,
    /// Records per second to each partition of the load
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate: u32,
    /// Time after which the run fails
    #[arg(long, value_name = "MINUTES", default_value_t = 40)]
    max_minutes: u64,
}

impl Compat {
    /// Runs the upgrade and prints its phases and a verdict: it fails if a record was lost or
    /// duplicated, a node ended by itself, or a command failed. All processes are ended in any case.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<ExitCode> {
        let programs = Programs {
            old_node: absolute(&self.old_node)?,
            old_cli: absolute(&self.old_cli)?,
            new_node: absolute(&self.new_node)?,
            new_cli: absolute(&self.new_cli)?,
        };
        let folder = args.empty_folder("compat")?;
        let mut report = Report::default();
        let upgrade = Upgrade {
            folder: &folder,
            programs,
            rate: self.rate,
            mixed: Duration::from_secs(self.mixed_seconds),
        };
        // A dropped run kills its processes.
        let outcome = tokio::select! {
            ended = timeout(Duration::from_mins(self.max_minutes), upgrade.run(&mut report)) => {
                ended.unwrap_or_else(|_| bail_late(self.max_minutes))
            }
            signal = interrupted() => signal.and_then(|()| bail!("interrupted")),
        };
        report.print();
        if let Err(error) = outcome {
            println!("logs and data: {}", folder.display());
            println!("FAILED: {error:#}");
            return Ok(ExitCode::FAILURE);
        }
        fs::remove_dir_all(&folder)?;
        println!("OK");
        Ok(ExitCode::SUCCESS)
    }
}

fn bail_late(minutes: u64) -> Result<()> {
    bail!("not finished within {minutes} minutes")
}

fn absolute(program: &PathBuf) -> Result<PathBuf> {
    let shown = program.display();
    let path = fs::canonicalize(program).with_context(|| format!("cannot find {shown}"))?;
    ensure!(path.is_file(), "{shown} is not a file");
    Ok(path)
}

/// Returns at Ctrl-C or SIGTERM.
async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        signal = tokio::signal::ctrl_c() => Ok(signal?),
        _ = terminate.recv() => Ok(()),
    }
}
