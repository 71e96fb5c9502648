//! `lograft dev`: a cluster on this machine, one process per node, connected with mTLS.

mod announce;
mod args;
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

pub(crate) use args::DevArgs;
pub(crate) use cluster::run;
pub(crate) use layout::running_nodes;
