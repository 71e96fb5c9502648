//! Disks grow in place, even while another lane is stuck: a full disk may be what it is stuck on.

use lograft_crds::limits::{GROW_STEP_PERCENT, SIZED_PERCENT};
use lograft_crds::names::ClusterNames;

use crate::cluster::action::{Action, Grow};
use crate::cluster::lane::Lane;
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{Intervention, Wait};
use crate::{ObjectKey, bytes_of};

const GIB: u64 = 1024 * 1024 * 1024;

/// The lane, and what the objects' lane needs of it.
#[derive(Debug, Default)]
pub(crate) struct DisksLane {
    pub(crate) lane: Lane,
    /// Whether the StatefulSet has to be recreated, around its pods, so that new disks get the new
    /// size: its disk template is immutable.
    pub(crate) recreates_set: bool,
}

/// Disks by what they need.
#[derive(Default)]
struct Disks {
    grow: Vec<Grow>,
    binding: Vec<String>,
    growing: Vec<String>,
    full: Option<String>,
}

pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed) -> DisksLane {
    let disks = sort(cluster, observed);
    let template = observed.disk_size().and_then(|size| bytes_of(&size));
    let recreates_set = disks.grow.is_empty()
        && disks.binding.is_empty()
        && template.is_some_and(|size| size < cluster.disk_bytes);
    let mut lane = Lane::default();
    if let Some(claim) = disks.full {
        lane.waits.push(Intervention::DiskFull { claim }.into());
    }
    let growing = disks.grow.iter().map(|grow| &grow.claim);
    if let Some(claim) = growing.chain(&disks.growing).next() {
        let claim = claim.clone();
        lane.waits.push(Wait::ClaimGrown { claim });
    }
    if let Some(claim) = disks.binding.into_iter().next() {
        lane.waits.push(Wait::ClaimBound { claim });
    }
    for grow in disks.grow {
        let about = ObjectKey::new("PersistentVolumeClaim", grow.claim.clone());
        let text = format!("growing PVC {} to {} bytes", grow.claim, grow.bytes);
        lane.emit_event_about(about, "GrowingDisk", text);
        lane.actions.push(Action::Grow(grow));
    }
    DisksLane {
        lane,
        recreates_set,
    }
}

fn sort(cluster: &ValidCluster, observed: &Observed) -> Disks {
    let names = ClusterNames(&cluster.name);
    let mut found = Disks::default();
    for (ordinal, disk) in &observed.disks {
        if *ordinal >= observed.replicas() {
            continue;
        }
        let claim = names.disk_claim(*ordinal);
        let wanted = match growth_for(cluster, observed, *ordinal) {
            Growth::None => cluster.disk_bytes,
            Growth::To(bytes) => bytes.max(cluster.disk_bytes),
            Growth::NotAllowed => {
                found.full = Some(claim.clone());
                cluster.disk_bytes
            }
        };
        if disk.actual_bytes.is_none() {
            // A PVC that is not bound cannot grow.
            found.binding.push(claim);
        } else if disk.requested_bytes < wanted {
            found.grow.push(Grow {
                claim,
                uid: disk.uid.clone(),
                bytes: wanted,
            });
        } else if disk.is_growing() {
            found.growing.push(claim);
        }
    }
    found
}

/// Growth of a disk because of its use.
enum Growth {
    /// Not needed.
    None,
    /// To this size, bytes.
    To(u64),
    /// Needed, but `autoGrow` is off or its maximum is reached.
    NotAllowed,
}

fn growth_for(cluster: &ValidCluster, observed: &Observed, ordinal: i32) -> Growth {
    let pod = ClusterNames(&cluster.name).pod(ordinal);
    let node = observed.view.as_ref().and_then(|view| view.node_of(&pod));
    let (Some(node), Some(disk)) = (node, observed.disks.get(&ordinal)) else {
        return Growth::None;
    };
    let Some(auto_grow) = &cluster.spec.storage.auto_grow else {
        return if node.disk_low {
            Growth::NotAllowed
        } else {
            Growth::None
        };
    };
    let total = node.disk_total_bytes;
    let used = total.saturating_sub(node.disk_free_bytes);
    let threshold = u64::try_from(auto_grow.threshold_percent).unwrap_or(100);
    // Until volume and file system have reached the requested size, the node still reports the old
    // size and would ask for growth again on each reconcile, up to the maximum. A file system is
    // smaller than its volume, hence the percentage.
    let is_file_system_grown = total / SIZED_PERCENT >= disk.requested_bytes / 100;
    let is_grown = disk.actual_bytes >= Some(disk.requested_bytes) && is_file_system_grown;
    // The node's reserve is a large part of a small disk: it refuses writes below the threshold.
    let is_filling = node.disk_low || used.saturating_mul(100) >= total.saturating_mul(threshold);
    if total == 0 || !is_filling || !is_grown {
        return Growth::None;
    }
    let max = auto_grow.max_size.bytes().unwrap_or(0);
    if disk.requested_bytes >= max {
        return Growth::NotAllowed;
    }
    let step = (disk.requested_bytes / 100 * GROW_STEP_PERCENT).max(GIB);
    let next = (disk.requested_bytes + step).div_ceil(GIB) * GIB;
    Growth::To(next.min(max))
}
