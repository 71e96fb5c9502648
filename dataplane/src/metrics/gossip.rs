//! The metrics of gossip.

use lograft_discovery::gossip::{DropReason, GossipReport};
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::sample::MemberCounts;
use super::{MetricsError, counter, counters, gauges, int};

/// The counters of gossip, taken from its report.
pub(super) struct GossipMetrics {
    members: IntGaugeVec,
    sent_bytes: IntCounter,
    received_bytes: IntCounter,
    sent: IntCounter,
    received: IntCounter,
    dropped: IntCounterVec,
}

impl GossipMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            members: gauges(
                r,
                "lograft_gossip_members",
                "Other nodes as gossip knows them.",
                &["state"],
            )?,
            sent_bytes: counter(
                r,
                "lograft_gossip_sent_bytes_total",
                "Bytes of gossip datagrams sent.",
            )?,
            received_bytes: counter(
                r,
                "lograft_gossip_received_bytes_total",
                "Bytes of gossip datagrams received and accepted.",
            )?,
            sent: counter(
                r,
                "lograft_gossip_sent_datagrams_total",
                "Gossip datagrams sent.",
            )?,
            received: counter(
                r,
                "lograft_gossip_received_datagrams_total",
                "Gossip datagrams received and accepted.",
            )?,
            dropped: counters(
                r,
                "lograft_gossip_dropped_datagrams_total",
                "Gossip datagrams received and dropped.",
                "reason",
            )?,
        })
    }

    pub(super) fn take(&self, members: MemberCounts, report: &GossipReport) {
        let MemberCounts {
            reachable,
            unreachable,
        } = members;
        for (state, count) in [("reachable", reachable), ("unreachable", unreachable)] {
            let members = self.members.with_label_values(&[state]);
            members.set(int(count as u64));
        }
        let counts = &report.counters;
        for (counter, total) in [
            (&self.sent_bytes, counts.sent_bytes),
            (&self.received_bytes, counts.received_bytes),
            (&self.sent, counts.sent_count),
            (&self.received, counts.received_count),
        ] {
            raise(counter, total);
        }
        for reason in DropReason::ALL {
            let counter = self.dropped.with_label_values(&[reason.name()]);
            raise(&counter, counts.dropped(reason));
        }
    }
}

fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
