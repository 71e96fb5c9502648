//! Counts what is read for a consumer, and where a reader's guarantees come from.

use prometheus::IntCounter;

use super::follower::FollowerCheck;
use super::reader::Origin;
use crate::serving::engine::LogEngine;
use crate::serving::leadership::Leadership;
use crate::serving::replica::Replica;
use crate::serving::request::{Consistency, ReadTerms};

/// The counters of one reader, looked up once.
pub(super) struct ReadCounter {
    records: IntCounter,
    bytes: IntCounter,
    /// Bytes by role and zone.
    replica_bytes: IntCounter,
}

impl ReadCounter {
    pub(super) fn count(&self, records: u64, bytes: usize) {
        self.records.inc_by(records);
        self.bytes.inc_by(bytes as u64);
        self.replica_bytes.inc_by(bytes as u64);
    }
}

impl LogEngine {
    /// A reader of a replica that leads.
    pub(super) fn leader_origin(&self, terms: &ReadTerms) -> Origin {
        let consistency = match terms.consistency {
            // It has what the client has seen, and more.
            Consistency::Session => Consistency::Leader,
            asked => asked,
        };
        Origin {
            node: self.locator.node,
            consistency,
            follower: None,
        }
    }

    /// A reader of a replica that need not lead.
    pub(super) const fn follower_origin(&self, check: FollowerCheck) -> Origin {
        Origin {
            node: self.locator.node,
            consistency: Consistency::Session,
            follower: Some(check),
        }
    }

    /// The counters of a reader of this replica, by its role at the start of the read.
    pub(super) fn read_counter(&self, replica: &Replica, terms: &ReadTerms) -> ReadCounter {
        let role = match Leadership::of(&replica.raft) {
            Leadership::Ready(_) => "leader",
            _ => "follower",
        };
        let metadata = self.locator.meta.load();
        let own = metadata.node(self.locator.node);
        let own = own.map_or("", |node| node.registration.zone.as_str());
        // Not by its name: the client decides that.
        let zone = match terms.zone.as_str() {
            "" => "unknown",
            _ if own.is_empty() => "unknown",
            zone if zone == own => "same",
            _ => "other",
        };
        let metrics = &self.metrics;
        ReadCounter {
            records: metrics.fetch_records.clone(),
            bytes: metrics.fetch_bytes.clone(),
            replica_bytes: metrics.reads.bytes.with_label_values(&[role, zone]),
        }
    }
}
