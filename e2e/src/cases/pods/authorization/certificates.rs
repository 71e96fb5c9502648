//! Replacement of all leaf certificates and of the CA.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use lograft_client::admin_wire::NodeDescription;
use lograft_crds::names::ClusterNames;
use serde_json::json;

use super::turmoil::Turmoil;
use crate::cases::pods::CHANGE_MAX;
use crate::pod_client::{Credentials, secret_of};
use crate::sandbox::await_for;

/// Interval between two rotations of all leaves.
const INTERVAL: Duration = Duration::from_secs(10);
/// Part of the whole time after which the CA is replaced.
const GENERATIONS: u32 = 5;
/// Minimum interval between two replacements of the CA.
const GENERATION_MIN: Duration = Duration::from_secs(25);
/// Changed in a pod, so that its kubelet mounts the present Secrets at once and not in its next
/// round a minute later.
const SYNC: &str = "e2e.lograft.io/sync";

const NODES: i32 = 3;

/// Numbers of replacements.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// Rotations of all leaves.
    pub(super) leaves: u32,
    /// Those that all nodes have loaded before the next one.
    pub(super) loaded: u32,
    /// CAs whose certificates all nodes have loaded.
    pub(super) generations: u32,
}

impl Turmoil<'_> {
    /// Replaces all leaves at an interval and, more seldom, the CA. From the replacement of the CA
    /// until everybody trusts the new one leaves are left alone: one that is missing then is issued
    /// at once, by a CA that is not trusted yet.
    pub(super) async fn replace_certificates(&self) -> anyhow::Result<Replaced> {
        let (mut replaced, mut unproven) = (Replaced::default(), 0);
        let whole = self.end.saturating_duration_since(Instant::now());
        let generation = (whole / GENERATIONS).max(GENERATION_MIN);
        let mut next = Instant::now();
        let mut next_generation = next + generation;
        while next < self.end {
            tokio::time::sleep_until(next.into()).await;
            if next >= next_generation {
                self.replace_ca().await.context("a CA")?;
                next_generation += generation;
                unproven += 1;
            }
            next = (next + INTERVAL).max(Instant::now());
            let is_loaded = self.rotate_leaves(next).await.context("leaves")?;
            replaced.leaves += 1;
            if is_loaded {
                replaced.loaded += 1;
                replaced.generations += std::mem::take(&mut unproven);
            }
        }
        Ok(replaced)
    }

    /// Makes all certificates unusable in their Secrets, whereupon the operator issues others.
    /// Returns whether all nodes have loaded theirs before `end`.
    async fn rotate_leaves(&self, end: Instant) -> anyhow::Result<bool> {
        let former = self.expiries().await?;
        let secrets = self.leaf_secrets();
        for (secret, fields) in &secrets {
            let data: serde_json::Map<_, _> = fields
                .iter()
                .map(|field| (field.clone(), json!("")))
                .collect();
            let patch = json!({"data": data});
            self.sandbox.edit::<Secret>(secret, patch).await?;
        }
        await_for(CHANGE_MAX, "all leaves to be issued", || async {
            let mut is_issued = true;
            for (secret, fields) in &secrets {
                let data = self.sandbox.api::<Secret>().get(secret).await?.data;
                let data = data.unwrap_or_default();
                let is_filled =
                    |field: &String| data.get(field).is_some_and(|text| !text.0.is_empty());
                is_issued &= fields.iter().all(is_filled);
            }
            Ok(is_issued.then_some(()))
        })
        .await?;
        self.sync_pods().await?;
        while Instant::now() < end {
            let found = self.expiries().await?;
            let is_loaded = |(new, old): (&Option<i64>, &Option<i64>)| new.is_some() && new != old;
            if found.len() == former.len() && found.iter().zip(&former).all(is_loaded) {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(false)
    }

    /// The Secrets with leaves, and the fields of the certificates.
    fn leaf_secrets(&self) -> Vec<(String, Vec<String>)> {
        let names = ClusterNames("events");
        let nodes = (0..NODES).map(|ordinal| format!("{}.crt", names.pod(ordinal)));
        let one = |secret: String| (secret, vec!["tls.crt".to_owned()]);
        let own = [names.admin_tls(), names.operator_tls()];
        let users = self.users.iter().map(|user| secret_of(user.name));
        let rest = own.into_iter().chain(users).map(one);
        [(names.node_tls(), nodes.collect())]
            .into_iter()
            .chain(rest)
            .collect()
    }

    /// Replaces the CA, and waits until all nodes and clients trust the new one.
    async fn replace_ca(&self) -> anyhow::Result<()> {
        let roots = |node: NodeDescription| node.ca_fingerprints.into_iter();
        let known: BTreeSet<String> = self.nodes().await?.into_iter().flat_map(roots).collect();
        let clients: Vec<String> = self
            .clients()
            .map(Credentials::roots)
            .collect::<Result<_, _>>()?;
        let secret = ClusterNames("events").ca();
        let secrets = self.sandbox.api::<Secret>();
        secrets.delete(&secret, &DeleteParams::default()).await?;
        await_for(CHANGE_MAX, "everybody to trust the new CA", || async {
            self.sync_pods().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let nodes = self.nodes().await?;
            let mut is_trusted = nodes.iter().all(|node| {
                let mut roots = node.ca_fingerprints.iter();
                roots.any(|root| !known.contains(root))
            });
            for (client, former) in self.clients().zip(&clients) {
                is_trusted &= client.roots()? != *former;
            }
            Ok(is_trusted.then_some(()))
        })
        .await
    }

    fn clients(&self) -> impl Iterator<Item = &Credentials> {
        let users = self.users.iter().map(|user| &user.credentials);
        users.chain([self.admin])
    }

    async fn sync_pods(&self) -> anyhow::Result<()> {
        let now = uuid::Uuid::new_v4().to_string();
        for ordinal in 0..NODES {
            let pod = ClusterNames("events").pod(ordinal);
            let patch = json!({"metadata": {"annotations": {SYNC: now}}});
            self.sandbox.edit::<Pod>(&pod, patch).await?;
        }
        Ok(())
    }

    /// Expiry of the certificate that each node has loaded.
    async fn expiries(&self) -> anyhow::Result<Vec<Option<i64>>> {
        let nodes = self.nodes().await?.into_iter();
        Ok(nodes.map(|node| node.certificate_not_after_s).collect())
    }

    /// The nodes by id.
    async fn nodes(&self) -> anyhow::Result<Vec<NodeDescription>> {
        let found = self.client.admin().describe_cluster(true).await?;
        let mut nodes = found.nodes;
        nodes.sort_unstable_by_key(|node| node.node_id);
        Ok(nodes)
    }
}
