//! Disks grow in place, whatever else is stuck: a cluster may be stuck because its disks are full.

use lograft_crds::limits::{GROW_STEP_PERCENT, SIZED_PERCENT};
use lograft_crds::names::ClusterNames;

use crate::drift::bytes;
use crate::cluster::plan::Grow;
use crate::{Observed, ValidCluster};

const GIB: u64 = 1024 * 1024 * 1024;

/// What the lane came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disks {
    /// Claims to raise.
    pub(crate) grow: Vec<Grow>,
    /// Whether the StatefulSet is to be made anew, around its pods, so that new disks get the new
    /// size.
    pub(crate) renew_set: bool,
    /// Claims that are not bound, or have not grown yet.
    pub(crate) binding: Vec<String>,
    pub(crate) growing: Vec<String>,
    /// A disk that is nearly full and may not grow.
    pub(crate) full: Option<String>,
}

pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed) -> Disks {
    let names = ClusterNames(&cluster.name);
    let mut found = Disks::default();
    for (ordinal, disk) in &observed.disks {
        if *ordinal >= observed.replicas() {
            continue;
        }
        let claim = names.disk_claim(*ordinal);
        let wanted = match fuller(cluster, observed, *ordinal) {
            Fullness::Fine => cluster.disk_bytes,
            Fullness::Grow(bytes) => bytes.max(cluster.disk_bytes),
            Fullness::Full => {
                found.full = Some(claim.clone());
                cluster.disk_bytes
            }
        };
        if disk.actual_bytes.is_none() {
            // A claim that is not bound cannot grow.
            found.binding.push(claim);
        } else if disk.requested_bytes < wanted {
            found.grow.push(Grow {
                claim,
                uid: disk.uid.clone(),
                bytes: wanted,
            });
        } else if disk.actual_bytes < Some(disk.requested_bytes) {
            found.growing.push(claim);
        }
    }
    let template = observed.disk_size().and_then(|size| bytes(&size));
    found.renew_set = found.grow.is_empty()
        && found.binding.is_empty()
        && template.is_some_and(|size| size < cluster.disk_bytes);
    found
}

enum Fullness {
    Fine,
    Grow(u64),
    Full,
}

fn fuller(cluster: &ValidCluster, observed: &Observed, ordinal: i32) -> Fullness {
    let pod = ClusterNames(&cluster.name).pod(ordinal);
    let node = observed.view.as_ref().and_then(|view| view.node_of(&pod));
    let (Some(node), Some(disk)) = (node, observed.disks.get(&ordinal)) else {
        return Fullness::Fine;
    };
    let Some(grow) = &cluster.spec.storage.auto_grow else {
        return if node.disk_low {
            Fullness::Full
        } else {
            Fullness::Fine
        };
    };
    let total = node.disk_total_bytes;
    let used = total.saturating_sub(node.disk_free_bytes);
    let threshold = u64::try_from(grow.threshold_percent).unwrap_or(100);
    // A disk that has not grown yet is not raised again; its file system follows the claim, less
    // what that needs for itself.
    let is_whole = total / SIZED_PERCENT >= disk.requested_bytes / 100;
    let is_settled = disk.actual_bytes >= Some(disk.requested_bytes) && is_whole;
    // A small disk refuses writes long before most of it is in use.
    let is_filling = node.disk_low || used.saturating_mul(100) >= total.saturating_mul(threshold);
    if total == 0 || !is_filling || !is_settled {
        return Fullness::Fine;
    }
    let most = grow.max_size.bytes().unwrap_or(0);
    if disk.requested_bytes >= most {
        return Fullness::Full;
    }
    let step = (disk.requested_bytes / 100 * GROW_STEP_PERCENT).max(GIB);
    let next = (disk.requested_bytes + step).div_ceil(GIB) * GIB;
    Fullness::Grow(next.min(most))
}
