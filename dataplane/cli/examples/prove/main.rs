//! Proofs and comparisons that need whole processes: what Lograft promises about crashes, disks
//! and memory, tried on a cluster that `lograft dev` starts, and its speed beside NATS JetStream.
//!
//! `cargo build --release && cargo run --release -p lograft --example prove -- --help`

mod cluster;
mod compare;
mod faults;
mod footprint;
mod ledger;
mod measure;
mod nats;
mod proc;
mod text;

use anyhow::Result;
use clap::{Parser, Subcommand};

use faults::Victims;

/// Proofs and comparisons on whole processes.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    place: cluster::Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// kill -9 of the leader during a produce at full speed, again and again.
    KillLeader(faults::Crashes),
    /// kill -9 of all nodes at once under load, again and again.
    KillAll(faults::Crashes),
    /// Writes far beyond a topic's retention while a node is stopped.
    Retention(faults::Retention),
    /// A text file through the CLI and back, byte for byte.
    Text(text::Text),
    /// Memory and idle CPU of the nodes.
    Footprint(footprint::Footprint),
    /// Lograft beside NATS JetStream, alternating on this machine.
    Compare(compare::Compare),
    /// Loads a NATS JetStream cluster; prints what it measured as JSON.
    NatsLoad(nats::NatsLoad),
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { place, command } = Arguments::parse();
    match command {
        Command::KillLeader(crashes) => crashes.run(&place, Victims::Leader).await,
        Command::KillAll(crashes) => crashes.run(&place, Victims::All).await,
        Command::Retention(retention) => retention.run(&place).await,
        Command::Text(text) => text.run(&place),
        Command::Footprint(footprint) => footprint.run(&place).await,
        Command::Compare(compare) => compare.run(&place).await,
        Command::NatsLoad(load) => {
            println!("{}", serde_json::to_string(&load.run().await?)?);
            Ok(())
        }
    }
}
