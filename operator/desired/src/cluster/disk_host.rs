//! Hosts of disks that seem to be lost.

/// The host of a disk, if it seems to be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskHost {
    /// Name.
    pub name: String,
    /// Why it seems to be lost.
    pub loss: HostLoss,
    /// Whether the volume can be used on other hosts, as a network disk can.
    pub can_move: bool,
}

/// Why a host seems to be lost, from the surest sign to the least sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostLoss {
    /// Kubernetes has no Node of it.
    Gone,
    /// Its Node is not ready, and a taint says that it is off and that pods may start elsewhere.
    OutOfService {
        /// Since when the Node is not ready, seconds since 1970.
        since: i64,
    },
    /// Its Node is not ready. The host may be off, or run behind a partition of the network.
    Unreachable {
        /// Since when the Node is not ready, seconds since 1970.
        since: i64,
    },
}

impl HostLoss {
    /// Since when it has lasted at least, seconds since 1970, if Kubernetes says so.
    pub(crate) const fn since(self) -> Option<i64> {
        match self {
            Self::Gone => None,
            Self::OutOfService { since } | Self::Unreachable { since } => Some(since),
        }
    }
}
