//! Which members of the cluster apply the rules and revocations of a user.
//!
//! Members apply the metadata one version after the other. The lists of a look in which nothing was
//! to be changed are of some version: a member that has applied it, or a later one, applies these
//! rules and revocations. The version is kept until something is changed again.

use lograft_crds::limits::REPLICAS_MAX_COUNT;
use lograft_crds::log_user::LogUserStatus;

use crate::cluster::FeatureLevel;
use crate::user::observed::{Observed, ObservedAccess, UserAccess};
use crate::user::plan::{Failure, Plan};
use crate::user::validate::ValidUser;
use crate::user::wait::Wait;

/// Enters the version and the members into a status that is otherwise complete.
pub(super) fn enter(
    status: &mut LogUserStatus,
    (user, observed): (&ValidUser, &Observed),
    (plan, failure): (&Plan, Option<&Failure>),
) {
    let is_changed = failure.is_some() || plan.changes_access();
    if is_changed || status.cluster_id != user.stored.cluster_id {
        status.applied_version = None;
        status.applied_by.clear();
        return;
    }
    let ObservedAccess::Listed(access) = &observed.access else {
        return;
    };
    let Some(version) = version(user, access, plan) else {
        return;
    };
    status.applied_version = i64::try_from(version).ok();
    let new = access.members.iter().filter(|(_, has)| **has >= version);
    status.applied_by.extend(new.map(|(name, _)| name.clone()));
    status.applied_by.sort_unstable();
    status.applied_by.dedup();
    let max = usize::try_from(REPLICAS_MAX_COUNT).unwrap_or(0);
    status.applied_by.truncate(max);
}

/// The version that members must have applied; none if it is not known.
fn version(user: &ValidUser, access: &UserAccess, plan: &Plan) -> Option<u64> {
    let is_as_wanted = user.has_finalizer
        && user.invalid_rules.is_none()
        && !plan.waits.iter().any(Wait::leaves_access);
    let found = (is_as_wanted && access.version > 0).then_some(access.version);
    user.stored.applied_version.or(found)
}

/// Whether a member that answers has not applied them yet.
pub(super) fn is_spreading(user: &ValidUser, observed: &Observed, plan: &Plan) -> bool {
    let ObservedAccess::Listed(access) = &observed.access else {
        return false;
    };
    let is_open = access.finalized >= FeatureLevel::AUTHORIZATION;
    if !is_open || !user.has_finalizer || plan.changes_access() {
        return false;
    }
    let is_behind = |has: &u64| match version(user, access, plan) {
        Some(version) => *has > 0 && *has < version,
        // The lists are from before the last change.
        None => *has > 0 && access.version == 0,
    };
    access.members.values().any(is_behind)
}
