//! Options of commands that read: which replica, and from which zone.

use clap::{Args, ValueEnum};
use lograft_client::ReadReplica;

/// The replica to read.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplicaArgs {
    /// Replica to read: the leader, or the nearest one, in the zone if there is one
    #[arg(long, value_name = "WHICH", default_value = "leader")]
    replica: Replica,
    /// Zone of this client, for --replica nearest [default: $LOGRAFT_ZONE]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// Value of `--replica`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Replica {
    Leader,
    Nearest,
}

impl ReplicaArgs {
    pub(crate) const fn replica(&self) -> ReadReplica {
        match self.replica {
            Replica::Leader => ReadReplica::Leader,
            Replica::Nearest => ReadReplica::Nearest,
        }
    }

    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }
}
