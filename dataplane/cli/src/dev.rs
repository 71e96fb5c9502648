//! `lograft dev`: a real cluster on this machine, of real processes over real TLS.

mod announce;
mod cluster;
mod error;
mod layout;
mod pki;
mod ports;
mod prepare;
mod probe;
mod signals;
mod supervise;
mod tail;

use std::path::PathBuf;

use clap::Args;

pub(crate) use cluster::run;
pub(crate) use error::DevError;
pub(crate) use layout::{LayoutError, running_nodes};
pub(crate) use ports::PortError;

/// Options of `lograft dev`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevArgs {
    /// How many nodes [default: 3, or as many as the data directory holds]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(ports::nodes_range()))]
    nodes: Option<u32>,
    /// Where certificates, logs and records are kept [default: $XDG_DATA_HOME/lograft/dev]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep everything in a temporary directory and remove it at the end
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Node 1's client port; each node takes ten. 0 looks for free ones [default: 9400]
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
}
