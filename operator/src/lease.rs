//! Leader election by a Lease: one operator holds it, renews it, and releases it when it stops.
//!
//! Safety: two operators must not act at once (split brain of the control plane: each could replace
//! a pod, and a partition could lose two replicas). Clocks of machines differ, so no operator
//! compares the times that another one wrote. It measures with its own clock: a Lease is free once
//! it has not changed for its duration (`LEASE_MAX_SECONDS`). The holder stops earlier, after
//! `LEASE_RENEW_MAX_SECONDS` without a renewal, counted from before the call. Writes carry the
//! resource version, so of two operators that take a free Lease only one succeeds.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use lograft_crds::limits::{LEASE_MAX_SECONDS, LEASE_RENEW_MAX_SECONDS, LEASE_RENEW_SECONDS};
use tracing::{info, warn};

use crate::error_text::error_text;

/// The Lease of the leader, and the name of this operator as its holder.
pub(crate) struct LeaderLease {
    api: Api<Lease>,
    name: String,
    holder: String,
    max_seconds: i32,
}

/// The version of a Lease and the local time at which it was first observed.
pub(crate) struct ObservedLease {
    version: Option<String>,
    since: Instant,
    holder: Option<String>,
}

impl ObservedLease {
    pub(crate) fn new() -> Self {
        Self {
            version: None,
            since: Instant::now(),
            holder: None,
        }
    }

    /// Its holder, if it has one.
    pub(crate) fn holder(&self) -> Option<&str> {
        self.holder.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Whether it was held by another one than `holder` when it was last seen, at most
    /// `max_seconds` ago.
    pub(crate) fn is_held_by_another(&self, holder: &str, max_seconds: i32) -> bool {
        let max = Duration::from_secs(u64::try_from(max_seconds).unwrap_or(0));
        self.holder().is_some_and(|found| found != holder) && self.since.elapsed() <= max
    }
}

impl LeaderLease {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, holder: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            holder,
            max_seconds: LEASE_MAX_SECONDS,
        }
    }

    /// The same Lease with another duration.
    pub(crate) fn lasting(self, max_seconds: i32) -> Self {
        Self {
            max_seconds,
            ..self
        }
    }

    /// Waits until this operator holds the Lease. Each attempt reports whether the API server was
    /// reached.
    pub(crate) async fn acquire(&self, mut report_reached: impl FnMut(bool)) {
        let mut observed = ObservedLease::new();
        loop {
            let acquired = self.try_acquire(&mut observed).await;
            report_reached(acquired.is_ok());
            match acquired {
                Ok(true) => {
                    info!(holder = self.holder, "acquired leadership");
                    return;
                }
                Ok(false) => {}
                Err(error) => warn!(error = error_text(&error), "cannot acquire the Lease"),
            }
            tokio::time::sleep(Duration::from_secs(LEASE_RENEW_SECONDS)).await;
        }
    }

    /// Takes the Lease if it is free or expired, or renews it. Returns false if another operator
    /// holds it, or was faster.
    pub(crate) async fn try_acquire(
        &self,
        observed: &mut ObservedLease,
    ) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let fresh = self.held(Lease::default());
            return is_written(self.api.create(&PostParams::default(), &fresh).await);
        };
        if lease.metadata.resource_version != observed.version {
            observed
                .version
                .clone_from(&lease.metadata.resource_version);
            observed.since = Instant::now();
        }
        let spec = lease.spec.clone().unwrap_or_default();
        observed.holder.clone_from(&spec.holder_identity);
        let holder = spec.holder_identity.unwrap_or_default();
        let duration = spec.lease_duration_seconds.unwrap_or(LEASE_MAX_SECONDS);
        let duration = Duration::from_secs(u64::try_from(duration).unwrap_or(0));
        let is_expired = observed.since.elapsed() > duration;
        if !holder.is_empty() && holder != self.holder && !is_expired {
            return Ok(false);
        }
        self.write(lease).await
    }

    /// Renews the Lease. It returns when another operator has taken it, or when no renewal has
    /// succeeded for `LEASE_RENEW_MAX_SECONDS`: then another operator may take it soon, and this
    /// one must not act any more.
    pub(crate) async fn keep(&self) {
        let mut renewed = Instant::now();
        let max = Duration::from_secs(LEASE_RENEW_MAX_SECONDS);
        while renewed.elapsed() < max {
            tokio::time::sleep(Duration::from_secs(LEASE_RENEW_SECONDS)).await;
            let left = max.saturating_sub(renewed.elapsed());
            // Others may measure from the time of the write, so the time before the call counts.
            let started = Instant::now();
            match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(true)) => renewed = started,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => warn!(error = error_text(&error), "cannot renew the Lease"),
                Err(_) => warn!("Lease renewal timed out"),
            }
        }
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let lease = self.api.get(&self.name).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.holder) {
            return Ok(false);
        }
        self.write(lease).await
    }

    /// Releases the Lease, so that another operator need not wait for its expiry.
    pub(crate) async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() == Some(&self.holder) {
            spec.holder_identity = None;
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await?;
            info!(holder = self.holder, "released leadership");
        }
        Ok(())
    }

    async fn write(&self, lease: Lease) -> Result<bool, kube::Error> {
        let held = self.held(lease);
        is_written(
            self.api
                .replace(&self.name, &PostParams::default(), &held)
                .await,
        )
    }

    /// The Lease with this operator as its holder, renewed now.
    fn held(&self, lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.unwrap_or_default();
        let is_new = old.holder_identity.as_ref() != Some(&self.holder);
        let transitions = old.lease_transitions.unwrap_or(0) + i32::from(is_new);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..lease.metadata
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.holder.clone()),
                lease_duration_seconds: Some(self.max_seconds),
                acquire_time: if is_new {
                    Some(now.clone())
                } else {
                    old.acquire_time
                },
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Whether a write succeeded. A conflict means that another operator was faster.
fn is_written(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
