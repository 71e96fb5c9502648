//! One operator leads: it holds a Lease, renews it, and gives it back at its end.
//!
//! Clocks of machines differ, so nobody reads the time in a Lease that another wrote: a holder
//! counts as gone once its Lease has not changed for as long as it lasts, by the own clock.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use lograft_crds::limits::{LEASE_MAX_SECONDS, LEASE_RENEW_MAX_SECONDS, LEASE_RENEW_SECONDS};
use tracing::{info, warn};

/// The place that one operator holds.
pub(crate) struct Place {
    api: Api<Lease>,
    name: String,
    holder: String,
}

/// A Lease as it was seen, and when it changed.
struct Sight {
    version: Option<String>,
    since: Instant,
}

impl Place {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, holder: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            holder,
        }
    }

    /// Waits until it is held; tells of each look whether the API server answered.
    pub(crate) async fn take(&self, mut reached: impl FnMut(bool)) {
        let mut sight = Sight {
            version: None,
            since: Instant::now(),
        };
        loop {
            match self.try_take(&mut sight).await {
                Ok(true) => {
                    reached(true);
                    info!(holder = self.holder, "leads");
                    return;
                }
                Ok(false) => reached(true),
                Err(error) => {
                    reached(false);
                    warn!(%error, "cannot look at the lease");
                }
            }
            tokio::time::sleep(Duration::from_secs(LEASE_RENEW_SECONDS)).await;
        }
    }

    async fn try_take(&self, sight: &mut Sight) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let fresh = self.held(Lease::default());
            return taken(self.api.create(&PostParams::default(), &fresh).await);
        };
        if lease.metadata.resource_version != sight.version {
            sight.version.clone_from(&lease.metadata.resource_version);
            sight.since = Instant::now();
        }
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let lasts = spec.lease_duration_seconds.unwrap_or(LEASE_MAX_SECONDS);
        let lasts = Duration::from_secs(u64::try_from(lasts).unwrap_or(0));
        let is_free = holder.is_empty() || holder == self.holder || sight.since.elapsed() > lasts;
        if !is_free {
            return Ok(false);
        }
        self.write(lease).await
    }

    /// Renews until that has not worked for too long: then somebody else may lead.
    pub(crate) async fn keep(&self) {
        let mut renewed = Instant::now();
        let most = Duration::from_secs(LEASE_RENEW_MAX_SECONDS);
        while renewed.elapsed() < most {
            tokio::time::sleep(Duration::from_secs(LEASE_RENEW_SECONDS)).await;
            let left = most.saturating_sub(renewed.elapsed());
            // Counted from before the call: others may count from when it was written.
            let begun = Instant::now();
            match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(true)) => renewed = begun,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => warn!(%error, "cannot renew the lease"),
                Err(_) => warn!("renewing the lease takes too long"),
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

    /// Gives it back, so that another need not wait for its end.
    pub(crate) async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() == Some(&self.holder) {
            spec.holder_identity = None;
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await?;
            info!("gave the lease back");
        }
        Ok(())
    }

    async fn write(&self, lease: Lease) -> Result<bool, kube::Error> {
        let held = self.held(lease);
        taken(
            self.api
                .replace(&self.name, &PostParams::default(), &held)
                .await,
        )
    }

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
                lease_duration_seconds: Some(LEASE_MAX_SECONDS),
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

/// A conflict means that another was faster.
fn taken(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
