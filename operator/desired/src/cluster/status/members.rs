//! The members in status. Numbers that change all the time are rounded down, so that status is not
//! written after every record.

use lograft_crds::limits::{FREE_BYTES_STEPS_COUNT, LAG_MIN_COUNT, TEXT_MAX_BYTES};
use lograft_crds::log_cluster::MemberStatus;
use lograft_crds::names::ClusterNames;

use super::unready;
use crate::cluster::lanes::certificates;
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::text::cut_words;
use crate::time::time;

/// One member per pod. `old` are those of the stored status.
pub(super) fn members(
    cluster: &ValidCluster,
    observed: &Observed,
    pods: i32,
    old: &[MemberStatus],
) -> Vec<MemberStatus> {
    let names = ClusterNames(&cluster.name);
    let expiries = certificates::expiries(observed, &names.node_tls());
    let member = |ordinal: i32| {
        let name = names.pod(ordinal);
        let node = observed.view.as_ref().and_then(|view| view.node_of(&name));
        let reachable = node.filter(|node| node.reachable);
        let seen = observed.view.as_ref().and_then(|view| view.seen.get(&name));
        let loaded_expiry = reachable.and_then(|node| node.certificate_not_after);
        let issued_expiry = expiries.get(&format!("{name}.crt")).copied();
        let unready = unready::why(names, observed, ordinal);
        let old = old.iter().find(|old| old.name == name);
        MemberStatus {
            node_id: node.and_then(|node| i64::try_from(node.id).ok()),
            zone: observed.zone(cluster, ordinal).cloned(),
            ready: unready.is_none(),
            since: time(unready::since(observed, ordinal, old)),
            reason: unready.as_ref().map(|(reason, _)| (*reason).to_owned()),
            message: unready.map(|(_, why)| cut_words(&why, TEXT_MAX_BYTES)),
            address: seen.and_then(|seen| seen.address.clone()),
            seen_by: seen.map_or_else(Vec::new, |seen| seen.sources.iter().cloned().collect()),
            incarnation: seen.and_then(|seen| i64::try_from(seen.incarnation?).ok()),
            version: reachable.map(|node| node.version.clone()),
            role: node.and_then(|node| node.meta),
            leaders: reachable.and_then(|node| i32::try_from(node.leaders).ok()),
            lag: reachable.map(|node| rounded_lag(node.lag_entries)),
            cert_not_after: loaded_expiry.or(issued_expiry).and_then(time),
            disk_free_bytes: reachable
                .and_then(|node| rounded_bytes(node.disk_free_bytes, node.disk_total_bytes)),
            name,
        }
    };
    (0..pods).map(member).collect()
}

/// The version that all reachable nodes run; `from > to` while there are two.
pub(super) fn version(observed: &Observed) -> Option<String> {
    let nodes = observed.view.as_ref()?.nodes.iter();
    let known = nodes.filter(|node| node.reachable && !node.version.is_empty());
    let mut versions: Vec<&str> = known.map(|node| node.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    (!versions.is_empty()).then(|| versions.join(" > "))
}

/// Free bytes, rounded down to a fraction of the disk's size.
fn rounded_bytes(free: u64, total: u64) -> Option<i64> {
    let step = (total / FREE_BYTES_STEPS_COUNT).max(1);
    i64::try_from(free / step * step).ok()
}

/// Log entries, rounded down to a power of two; 0 for a lag that is normal under load.
fn rounded_lag(entries: u64) -> i64 {
    if entries < LAG_MIN_COUNT {
        return 0;
    }
    i64::try_from(1_u64 << entries.ilog2()).unwrap_or(i64::MAX)
}
