//! One operator per namespace: whose LogClusters it manages is settled by a Lease in the namespace
//! itself. Two releases that watch the same namespace, each with a leader of its own, would replace
//! each other's pods without end.
//!
//! Safety: the Lease is renewed before a reconcile unless that was done in the last
//! `SCOPE_RENEW_SECONDS`, and a reconcile takes at most `RECONCILE_MAX_SECONDS`. Both together are
//! shorter than the Lease (`SCOPE_LEASE_MAX_SECONDS`), so no other release acts before the last
//! reconcile of the former one has ended.
//!
//! The holder is the release, not a pod: its pods have a leader (`lease.rs`), and a restart does
//! not move the clusters to another release. For the same reason the Lease is not released at the
//! end.
//!
//! A namespace that is being deleted has no Lease any more, and none can be created in it. Its
//! objects belong to the release that held the Lease last, or to any if that is not known: nothing
//! can be created there that two releases could replace, and without a release the finalizers of
//! LogTopics and LogUsers would hold up the deletion.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use lograft_crds::limits::{SCOPE_LEASE_MAX_SECONDS, SCOPE_RENEW_SECONDS};
use lograft_crds::names::SCOPE_LEASE;

use crate::lease::{LeaderLease, ObservedLease};

/// Whether this release manages the LogClusters of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It does.
    Held,
    /// Another one does.
    Conceded {
        /// Its name.
        holder: String,
    },
}

/// The namespaces whose LogClusters this release manages, or leaves to others.
pub(crate) struct Scopes {
    client: Client,
    /// Name of the release: its namespace and the name of its leader's Lease.
    identity: String,
    namespaces: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Scope>>>>,
    /// Holders by the cluster that was left to them.
    conceded: Mutex<BTreeMap<String, String>>,
}

/// The Lease of a namespace.
struct Scope {
    lease: LeaderLease,
    observed: ObservedLease,
    /// Start of the last renewal, while it is held.
    renewed: Option<Instant>,
}

impl Scopes {
    pub(crate) fn new(client: Client, identity: String) -> Self {
        Self {
            client,
            identity,
            namespaces: Mutex::default(),
            conceded: Mutex::default(),
        }
    }

    /// Name of this release.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Takes or renews the Lease of a namespace. An error means that it is not known who has it, so
    /// nothing may be done there.
    pub(crate) async fn claim(&self, namespace: &str) -> Result<Claim, kube::Error> {
        let scope = self.scope(namespace);
        let mut scope = scope.lock().await;
        let interval = Duration::from_secs(SCOPE_RENEW_SECONDS);
        if scope.renewed.is_some_and(|at| at.elapsed() < interval) {
            return Ok(Claim::Held);
        }
        scope.renewed = None;
        let started = Instant::now();
        let Scope {
            lease, observed, ..
        } = &mut *scope;
        match lease.try_acquire(observed).await {
            Ok(true) => {
                scope.renewed = Some(started);
                return Ok(Claim::Held);
            }
            Ok(false) => {}
            Err(error) if !is_terminating(&error) => return Err(error),
            Err(_) if observed.is_held_by_another(&self.identity, SCOPE_LEASE_MAX_SECONDS) => {}
            Err(_) => return Ok(Claim::Held),
        }
        let holder = scope.observed.holder().unwrap_or("another operator");
        Ok(Claim::Conceded {
            holder: holder.to_owned(),
        })
    }

    /// Records that a cluster is left to another release; whether that is new.
    pub(crate) fn concede(&self, cluster: &str, holder: &str) -> bool {
        let mut conceded = lock(&self.conceded);
        let former = conceded.insert(cluster.to_owned(), holder.to_owned());
        former.as_deref() != Some(holder)
    }

    /// Records that a cluster is managed by this release, or gone.
    pub(crate) fn reclaim(&self, cluster: &str) {
        lock(&self.conceded).remove(cluster);
    }

    /// Number of clusters that are left to others.
    pub(crate) fn conceded_count(&self) -> usize {
        lock(&self.conceded).len()
    }

    fn scope(&self, namespace: &str) -> Arc<tokio::sync::Mutex<Scope>> {
        let mut namespaces = lock(&self.namespaces);
        let scope = namespaces.entry(namespace.to_owned()).or_insert_with(|| {
            let holder = self.identity.clone();
            let lease = LeaderLease::new(self.client.clone(), namespace, SCOPE_LEASE, holder);
            Arc::new(tokio::sync::Mutex::new(Scope {
                lease: lease.lasting(SCOPE_LEASE_MAX_SECONDS),
                observed: ObservedLease::new(),
                renewed: None,
            }))
        });
        Arc::clone(scope)
    }
}

/// Whether an object could not be created because its namespace is being deleted.
fn is_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_deletion_of_the_namespace_is_taken_for_it() {
        let error = |causes| {
            let status = json!({
                "code": 403, "reason": "Forbidden", "details": {"causes": causes},
            });
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        let terminating =
            json!([{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]);
        assert!(is_terminating(&error(terminating)));
        assert!(!is_terminating(&error(
            json!([{"reason": "FieldValueInvalid"}])
        )));
        // For example a missing permission.
        assert!(!is_terminating(&error(json!([]))));
    }
}
