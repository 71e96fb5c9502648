//! From a LogUser and an observation to the next step.

use lograft_crds::LogUser;
use lograft_crds::names::{FIRST_USER, USER_FINALIZER};

use crate::cluster::FeatureLevel;
use crate::cluster_wait::ClusterWait;
use crate::consent::{Applicant, ConsentRefusal};
use crate::topic::{Event, FinalizerChange, FoundCluster, ObservedCluster};
use crate::user::access::{AccessRequest, Revocation, RuleSet};
use crate::user::observed::{Observed, ObservedAccess, ObservedUserSecret, UserAccess};
use crate::user::plan::Plan;
use crate::user::validate::ValidUser;
use crate::user::wait::Wait;
use crate::user::{applied, certificate, grant};
use crate::validation::ValidationError;

/// The plan for a LogUser whose names are invalid: its certificate and rules stay as they are.
pub fn of_invalid(user: &LogUser, error: &ValidationError) -> Plan {
    let mut finalizers = user.metadata.finalizers.iter().flatten();
    let is_held = finalizers.any(|it| it == USER_FINALIZER);
    if user.metadata.deletion_timestamp.is_some() && is_held {
        return leaving(&format!("its LogUser is invalid: {}", Wait::invalid(error)));
    }
    Plan::waiting(Wait::invalid(error))
}

/// The next step of a LogUser.
pub fn plan(user: &ValidUser, observed: &Observed) -> Plan {
    if user.is_deleting {
        return removal(user, observed);
    }
    let mut plan = match open(user, observed) {
        Ok(cluster) => manage(user, observed, cluster),
        Err(wait) => without_consent(user, observed, wait),
    };
    plan.is_spreading = applied::is_spreading(user, observed, &plan);
    plan
}

/// The LogCluster, if its users may be managed.
fn open<'a>(user: &ValidUser, observed: &'a Observed) -> Result<&'a FoundCluster, Wait> {
    let key = &user.cluster;
    let applicant = Applicant {
        namespace: &user.namespace,
        labels: observed.namespace_labels.as_ref(),
    };
    let found = observed.cluster.consenting(key, applicant)?;
    found.open_id(key)?;
    if is_first_user(user) || found.super_users.contains(&user.principal) {
        return Err(Wait::NameReserved {
            principal: user.principal.clone(),
            cluster: key.clone(),
        });
    }
    Ok(found)
}

fn is_first_user(user: &ValidUser) -> bool {
    user.principal == format!("user/{FIRST_USER}")
}

/// A user that has a certificate of a cluster which does not consent any more is suspended, and has
/// no rules: the certificate alone would be valid until its end.
fn without_consent(user: &ValidUser, observed: &Observed, wait: Wait) -> Plan {
    let is_refused = matches!(
        wait,
        Wait::Cluster(ClusterWait::NotAllowed(ConsentRefusal::NotAllowed { .. }))
    );
    let had_consent = match &observed.cluster {
        ObservedCluster::Found(found) => {
            found.may_be_asked() && found.id.is_some() && found.id == user.stored.cluster_id
        }
        ObservedCluster::Missing | ObservedCluster::NotWatched => false,
    };
    let mut plan = Plan::waiting(wait);
    if is_refused
        && had_consent
        && let ObservedAccess::Listed(access) = &observed.access
    {
        let mut wanted = Wanted {
            rules: Some(RuleSet::default()),
            is_suspended: true,
        };
        wanted.is_suspended &= access.finalized >= FeatureLevel::AUTHORIZATION;
        wanted.request(user, (observed, access), &mut plan);
        if !plan.requests.is_empty() {
            let text = format!("{} lost the consent of its LogCluster", user.principal);
            plan.events.push(Event::warning("Suspended", text));
        }
    }
    plan
}

/// Rules and suspension that the cluster shall have.
struct Wanted {
    /// None: they stay as they are.
    rules: Option<RuleSet>,
    is_suspended: bool,
}

impl Wanted {
    /// Adds the requests to a plan. Requests that take rights away come first.
    fn request(
        &self,
        user: &ValidUser,
        (observed, access): (&Observed, &UserAccess),
        plan: &mut Plan,
    ) {
        let revoke = |revocation| AccessRequest::Revoke {
            revocation,
            not_after: last_end(user, observed, access),
        };
        let is_suspended = access.revocation == Some(Revocation::Suspended);
        let change = match (self.is_suspended, is_suspended) {
            (true, false) => Some(revoke(Revocation::Suspended)),
            _ => None,
        };
        plan.requests.extend(change);
        let changes = self.rules.as_ref();
        let changes = changes.map(|rules| rules.changes_from(&access.rules));
        let changes = changes.filter(|changes| !changes.is_empty());
        plan.requests.extend(changes.map(AccessRequest::Rules));
        // Who else suspends the principal has a reason for it.
        if is_suspended && !self.is_suspended {
            if user.stored.suspended {
                let before = user.stored.revoked_before.map(Revocation::Before);
                let restore = before.map_or(AccessRequest::Restore, revoke);
                plan.late_requests.push(restore);
            } else {
                let principal = user.principal.clone();
                plan.waits.push(Wait::SuspendedByAnother { principal });
            }
        }
        let is_open = access.finalized < FeatureLevel::AUTHORIZATION;
        let has_requests = !plan.requests.is_empty() || !plan.late_requests.is_empty();
        if is_open && has_requests {
            plan.requests.clear();
            plan.late_requests.clear();
            plan.waits.push(Wait::LevelNotFinalized(access.finalized));
        }
    }
}

fn manage(user: &ValidUser, observed: &Observed, cluster: &FoundCluster) -> Plan {
    let mut plan = Plan::default();
    let invalid = user.invalid_lifetimes.as_ref();
    plan.waits.extend(invalid.map(Wait::invalid));
    match observed.access.listed(&user.cluster) {
        Ok(access) => {
            let grants = &cluster.user_grants;
            let invalid = user.invalid_rules.as_ref().map(Wait::invalid);
            let refusal = grant::refusal(&user.rules, &user.namespace, &user.cluster, grants);
            let refusal = refusal.map(|why| Wait::GrantNotAllowed { why });
            let refusal = invalid.or(refusal);
            let wanted = Wanted {
                rules: refusal.is_none().then(|| RuleSet::of_spec(&user.rules)),
                is_suspended: user.suspended,
            };
            plan.waits.extend(refusal);
            wanted.request(user, (observed, access), &mut plan);
            plan.events.extend(reverted(user, &plan));
        }
        Err(wait) => plan.waits.push(wait.into()),
    }
    // Rules and a suspension do not depend on the Secret.
    match (&observed.secret, &observed.authority) {
        (ObservedUserSecret::Foreign { owner }, _) => plan.waits.push(Wait::SecretNotOwned {
            secret: user.secret.clone(),
            owner: owner.clone(),
        }),
        (_, None) => {
            let cluster = user.cluster.clone();
            plan.waits.push(Wait::AuthorityMissing(cluster));
        }
        (_, Some(authority)) if user.may_issue() => {
            plan.secret = certificate::plan(user, observed, authority, cluster.leaf_seconds);
        }
        (_, Some(_)) => {}
    }
    if plan.secret.as_ref().is_some_and(|secret| secret.issues) {
        let text = format!("issued a certificate in Secret {}", user.secret);
        plan.events.push(Event::normal("IssuedCertificate", text));
    }
    if !user.has_finalizer {
        plan.finalizer = FinalizerChange::Add;
    }
    if !plan.is_empty() {
        let principal = user.principal.clone();
        plan.waits.push(Wait::Applying { principal });
    }
    plan
}

/// The events about what others have changed, and about a suspension.
fn reverted(user: &ValidUser, plan: &Plan) -> Vec<Event> {
    let principal = &user.principal;
    let all = plan.requests.iter().chain(&plan.late_requests);
    let events = all.map(|request| match request {
        AccessRequest::Rules(changes) if user.stored.was_applied => {
            let count = changes.len();
            let text = format!("reverted {count} change(s) of the rules of {principal} by others");
            Event::normal("RevertedEdit", text)
        }
        AccessRequest::Rules(_) => {
            let text = format!("changed the rules of {principal}");
            Event::normal("ChangedRules", text)
        }
        AccessRequest::Revoke {
            revocation: Revocation::Suspended,
            ..
        } => Event::normal("Suspended", format!("suspended {principal}")),
        AccessRequest::Revoke { .. } | AccessRequest::Restore => {
            Event::normal("Restored", format!("restored {principal}"))
        }
    });
    events.collect()
}

/// The deletion of a LogUser. Its finalizer is removed once the user is revoked, or once it is
/// known that this cannot be done: no LogUser waits for a cluster that is gone. The consent of the
/// LogCluster is not needed: nobody else has this principal.
fn removal(user: &ValidUser, observed: &Observed) -> Plan {
    if !user.has_finalizer {
        return Plan::default();
    }
    let key = user.cluster.clone();
    let waiting = |wait: ClusterWait| Plan::waiting(Wait::Deletion(Box::new(wait.into())));
    let found = match &observed.cluster {
        ObservedCluster::NotWatched => return leaving(&ClusterWait::NotWatched(key).to_string()),
        ObservedCluster::Missing => return leaving(&ClusterWait::NotFound(key).to_string()),
        ObservedCluster::Found(found) => found,
    };
    if found.is_deleting {
        return leaving(&ClusterWait::Deleting(key).to_string());
    }
    if is_first_user(user) {
        return leaving("it is the first user of the LogCluster");
    }
    let stored_id = user.stored.cluster_id.as_ref();
    match (&found.id, stored_id) {
        (None, None) => return leaving("the LogCluster has not been bootstrapped"),
        (None, Some(_)) => return waiting(ClusterWait::NotBootstrapped(key)),
        (Some(id), Some(stored)) if id != stored => {
            return leaving("its cluster has been replaced by another one");
        }
        (Some(_), _) => {}
    }
    if found.is_paused {
        return waiting(ClusterWait::Paused(key));
    }
    let access = match observed.access.listed(&key) {
        Ok(access) => access,
        Err(wait) => return waiting(wait),
    };
    if access.finalized < FeatureLevel::AUTHORIZATION {
        return leaving(&Wait::LevelNotFinalized(access.finalized).to_string());
    }
    let principal = &user.principal;
    let mut plan = Plan {
        finalizer: FinalizerChange::RemoveOnceDone,
        requests: vec![AccessRequest::Revoke {
            revocation: Revocation::Before(end_of_certificates(user, observed, access)),
            not_after: last_end(user, observed, access),
        }],
        events: vec![Event::normal("Revoked", format!("revoked {principal}"))],
        waits: vec![Wait::Deleting {
            principal: principal.clone(),
        }],
        ..Plan::default()
    };
    let changes = RuleSet::default().changes_from(&access.rules);
    if !changes.is_empty() {
        plan.requests.push(AccessRequest::Rules(changes));
    }
    if plan.requests.iter().any(AccessRequest::is_partial) {
        plan.finalizer = FinalizerChange::Keep;
    }
    plan
}

/// The time before which certificates must not start once the user is deleted: later than the start
/// of all that were issued, also of one that was issued in this second.
fn end_of_certificates(user: &ValidUser, observed: &Observed, access: &UserAccess) -> i64 {
    let in_secret = observed.secret.certificate();
    let starts = [in_secret.map(|it| it.not_before), user.stored.not_before];
    let latest = starts.into_iter().flatten().max();
    let former = match access.revocation {
        Some(Revocation::Before(time)) => Some(time),
        Some(Revocation::Suspended) | None => user.stored.revoked_before,
    };
    let bound = latest.map(|start| start + 1).max(former);
    let now = observed.now_unix_seconds;
    bound.map_or(now, |bound| bound.max(now))
}

/// The latest end of all certificates of the principal, those of a former LogUser of the same name
/// included: its revocation is still listed then, or they have ended. None if it is not known.
fn last_end(user: &ValidUser, observed: &Observed, access: &UserAccess) -> Option<i64> {
    let in_secret = observed.secret.certificate();
    let stored = &user.stored;
    let own = [
        in_secret.map(|it| it.not_after),
        stored.not_after,
        stored.last_not_after,
    ];
    let own = own.into_iter().flatten().max()?;
    match access.revocation {
        Some(_) => Some(access.revocation_end?.max(own)),
        None => Some(own),
    }
}

/// Releases the LogUser and leaves its certificate valid until its end.
fn leaving(why: &str) -> Plan {
    let text = format!("the user is not revoked: {why}");
    Plan {
        finalizer: FinalizerChange::Remove,
        events: vec![Event::warning("NotRevoked", text)],
        ..Plan::default()
    }
}
