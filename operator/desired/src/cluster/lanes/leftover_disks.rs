//! Disks of decommissioned nodes are deleted when a new pod needs their name. Until then they stay.

use lograft_crds::names::ClusterNames;

use crate::cluster::action::{Action, Delete, Deletion};
use crate::cluster::lane::Lane;
use crate::cluster::observed::Observed;
use crate::cluster::replicas::leftover_disks;
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::Wait;
use crate::{ObjectKey, ObjectRef};

pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed) -> Lane {
    let names = ClusterNames(&cluster.name);
    let mut lane = Lane::default();
    for ordinal in leftover_disks(cluster, observed) {
        let Some(disk) = observed.disks.get(&ordinal) else {
            continue;
        };
        let claim = names.disk_claim(ordinal);
        lane.waits.push(Wait::ClaimDeleted {
            claim: claim.clone(),
        });
        if disk.terminating {
            continue;
        }
        let key = ObjectKey::new("PersistentVolumeClaim", claim);
        let text = format!("deleting PVC {}: its node was decommissioned", key.name);
        lane.emit_event_about(key.clone(), "DroppingDisk", text);
        let uid = disk.uid.clone();
        lane.actions.push(Action::Delete(Delete {
            object: ObjectRef { key, uid },
            how: Deletion::Usual,
        }));
    }
    lane
}
