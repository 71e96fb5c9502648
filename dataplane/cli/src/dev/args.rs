//! Options of `lograft dev`.

use std::path::PathBuf;

use clap::Args;
use lograft_core::acl::is_name;

use super::pki::ADMIN;
use super::ports::nodes_range;

/// Options of `lograft dev`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevArgs {
    /// Number of nodes [default: 3, or the number in the data directory]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(nodes_range()))]
    pub(super) nodes: Option<u32>,
    /// Directory for certificates, logs and records [default: $XDG_DATA_HOME/lograft/dev]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Store everything in a temporary directory and delete it on exit
    #[arg(long, conflicts_with = "data_dir")]
    pub(super) ephemeral: bool,
    /// Client port of node 1; each node uses a range of ten ports. 0 picks free ports [default:
    /// 9400]
    #[arg(long, value_name = "PORT")]
    pub(super) base_port: Option<u16>,
    /// Issue a certificate for this user too, with the context dev-NAME; may be repeated. It may do
    /// nothing until `lograft acl` allows it
    #[arg(long = "user", value_name = "NAME", value_parser = parse_user)]
    pub(super) users: Vec<String>,
}

/// A user that `--user` cannot add.
#[derive(Debug, thiserror::Error)]
#[error("a user must have a name of letters, digits, '.', '_' and '-', and not {ADMIN}")]
pub(super) struct UserNameError;

fn parse_user(name: &str) -> Result<String, UserNameError> {
    if name != ADMIN && is_name(name) {
        return Ok(name.to_owned());
    }
    Err(UserNameError)
}
