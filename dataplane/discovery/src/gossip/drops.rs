//! Datagrams that were dropped, by reason.

use std::fmt;

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// No gossip datagram: too short, too long, or without the first bytes of one.
    Garbage,
    /// A format of another version.
    UnknownFormat,
    /// Sealed with a key that this node does not have: of another cluster, or retired.
    UnknownKey,
    /// It claims to be sealed with a key of this cluster and is not.
    Forged,
    /// Sent too long ago, or by a node whose clock is far from this node's.
    TooOld,
    /// Received before.
    Replayed,
    /// Authentic, and malformed.
    Malformed,
    /// Sent by a member of another cluster with the same name and key.
    ForeignCluster,
    /// More datagrams than are accepted.
    RateLimited,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Garbage,
        Self::UnknownFormat,
        Self::UnknownKey,
        Self::Forged,
        Self::TooOld,
        Self::Replayed,
        Self::Malformed,
        Self::ForeignCluster,
        Self::RateLimited,
    ];

    /// The name, as in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Garbage => "GARBAGE",
            Self::UnknownFormat => "UNKNOWN_FORMAT",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::Forged => "FORGED",
            Self::TooOld => "TOO_OLD",
            Self::Replayed => "REPLAYED",
            Self::Malformed => "MALFORMED",
            Self::ForeignCluster => "FOREIGN_CLUSTER",
            Self::RateLimited => "RATE_LIMITED",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a node has sent and received by gossip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GossipCounters {
    /// Datagrams sent.
    pub sent_count: u64,
    /// Bytes sent, without the headers of IP and UDP.
    pub sent_bytes: u64,
    /// Datagrams received and accepted.
    pub received_count: u64,
    /// Bytes received and accepted.
    pub received_bytes: u64,
    /// Datagrams dropped, in the order of [`DropReason::ALL`].
    dropped: [u64; DropReason::ALL.len()],
}

impl GossipCounters {
    /// Number of datagrams dropped for a reason.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(crate) const fn drop_one(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let mut counters = GossipCounters::default();
        for reason in DropReason::ALL {
            counters.drop_one(reason);
        }
        assert!(
            DropReason::ALL
                .iter()
                .all(|reason| counters.dropped(*reason) == 1)
        );
    }
}
