//! Tests and benchmarks with whole processes: durability under crashes, disk usage and memory of a
//! cluster started by `lograft dev`, a comparison of its speed with NATS
//! JetStream, and a rolling upgrade between two versions.
//!
//! `cargo build --release && cargo run --release -p lograft --example prove -- --help`

mod cluster;
mod compare;
mod compat;
mod disks;
mod faults;
mod flipped;
mod footprint;
mod groups;
mod host_limits;
mod ledger;
mod measure;
mod nats;
mod networks;
mod node_set;
mod proc;
mod recover;
mod rescale;
mod silent;
mod text;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use faults::Victims;

/// Test durability and footprint of a cluster, and compare its speed with NATS JetStream.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    prove: cluster::ProveArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill the leader repeatedly with SIGKILL while producing at full speed
    KillLeader(faults::Crashes),
    /// Kill all nodes at once repeatedly with SIGKILL while producing at full speed
    KillAll(faults::Crashes),
    /// Write far more than the retention of a topic while a node is stopped
    Retention(faults::Retention),
    /// Freeze the leader's disk under load (needs root)
    DiskFreeze(disks::Freeze),
    /// Fill the disk of one node under load, then of two of three (needs root)
    DiskFull(disks::Full),
    /// Hold silent connections to every port while probes, new clients and produce go on
    Silent(silent::Silent),
    /// Flip one byte in every kind of file of a node, running and stopped
    FlippedByte(flipped::FlippedByte),
    /// Carry many replicas on each node within small limits of open files
    HostLimits(host_limits::HostLimits),
    /// Produce and consume a text file through the CLI and compare the result
    Text(text::Text),
    /// Measure memory and idle CPU of the nodes
    Footprint(footprint::Footprint),
    /// Kill and stop members of a consumer group and its coordinator, and judge the history
    Groups(groups::Groups),
    /// A member of the group of `groups`, for its own use
    #[command(hide = true)]
    GroupMember(groups::member::Member),
    /// Recover groups that lost their majority, and return the lost replicas
    Recover(recover::Recover),
    /// Grow a cluster from three nodes to five and shrink it again under a steady load
    Rescale(rescale::Rescale),
    /// Compare Lograft with NATS JetStream in alternating rounds on this machine
    Compare(compare::CompareArgs),
    /// Upgrade a cluster under load from an old version to a new one, back, and up again
    Compat(compat::Compat),
    /// Cut, slow down, flap and flood the links of nodes in network namespaces (needs root)
    Networks(networks::Networks),
    /// Load a NATS JetStream cluster and print the measurement as JSON
    NatsLoad(nats::NatsLoad),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments { prove, command } = Arguments::parse();
    let done = match command {
        Command::KillLeader(crashes) => crashes.run(&prove, Victims::Leader).await,
        Command::KillAll(crashes) => crashes.run(&prove, Victims::All).await,
        Command::Retention(retention) => retention.run(&prove).await,
        Command::DiskFreeze(freeze) => freeze.run(&prove).await,
        Command::DiskFull(full) => full.run(&prove).await,
        Command::Silent(silent) => silent.run(&prove).await,
        Command::FlippedByte(flipped) => flipped.run(&prove).await,
        Command::HostLimits(limits) => limits.run(&prove).await,
        Command::Text(text) => text.run(&prove),
        Command::Footprint(footprint) => footprint.run(&prove).await,
        Command::Groups(groups) => groups.run(&prove).await,
        Command::Recover(recover) => recover.run(&prove).await,
        Command::Rescale(rescale) => rescale.run(&prove).await,
        Command::GroupMember(member) => member.run().await,
        Command::Compare(args) => compare::run(args, &prove).await,
        Command::Compat(compat) => return compat.run(&prove).await,
        Command::Networks(networks) => return networks.run(&prove).await,
        Command::NatsLoad(load) => {
            println!("{}", serde_json::to_string(&load.run().await?)?);
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
