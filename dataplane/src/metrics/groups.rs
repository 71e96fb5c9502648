//! The metrics of consumer groups: of those that this node coordinates.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::{MetricsError, counter, counters, gauge};

/// Consumer groups and the calls for them.
pub struct GroupMetrics {
    /// Calls that this node has carried out as a coordinator, by call and result: `OK` or the
    /// reason.
    pub calls: IntCounterVec,
    /// Offsets committed.
    pub commits: IntCounter,
    /// Log entries that offsets were committed with.
    pub commit_entries: IntCounter,
    /// Changes of the members and assignments of groups.
    pub changes: IntCounter,
    /// Members that were removed, by reason: `SESSION_ENDED`, `CALL_CUT` or `REBALANCE_TIMEOUT`.
    pub removed: IntCounterVec,
    /// Groups.
    pub groups: IntGauge,
    /// Their members.
    pub members: IntGauge,
    /// Memory of their state, bytes.
    pub bytes: IntGauge,
}

impl GroupMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, MetricsError> {
        let calls = IntCounterVec::new(
            Opts::new(
                "lograft_group_requests_total",
                "Calls for consumer groups, at their coordinator.",
            ),
            &["call", "result"],
        )?;
        r.register(Box::new(calls.clone()))?;
        Ok(Self {
            calls,
            commits: counter(r, "lograft_group_commits_total", "Offsets committed.")?,
            commit_entries: counter(
                r,
                "lograft_group_commit_entries_total",
                "Log entries that offsets were committed with.",
            )?,
            changes: counter(
                r,
                "lograft_group_changes_total",
                "Changes of the members and assignments of groups.",
            )?,
            removed: counters(
                r,
                "lograft_group_members_removed_total",
                "Members that did not leave by themselves.",
                "reason",
            )?,
            groups: gauge(r, "lograft_groups", "Groups that this node coordinates.")?,
            members: gauge(
                r,
                "lograft_group_members",
                "Members of the groups that this node coordinates.",
            )?,
            bytes: gauge(
                r,
                "lograft_group_state_bytes",
                "Memory of the groups that this node coordinates.",
            )?,
        })
    }
}
