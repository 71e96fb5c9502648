//! What to issue, and when. Keys and chance are the operator's; this is the calendar.
//!
//! A new root is trusted before anything is issued by it, and an old one is dropped only after
//! nothing of its is in use. Between the steps every node tells that it has read its files again,
//! and a time passes in which clients do: no pod restarts for it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use lograft_crds::limits::{
    CERTIFICATE_BACKDATE_SECONDS, ROOT_SETTLE_MAX_SECONDS, ROOTS_MAX_COUNT,
};
use lograft_crds::names::{ClusterNames, FIRST_USER};

use crate::cluster::build::owned_metadata;
use crate::{CertificateSeen, NodeSeen, NodeState, Observed, SecretSeen, ValidCluster};

/// Field of the roots.
const ROOTS: &str = "ca.crt";

/// A Secret that is to be applied: its object without data, and what goes into it.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretPlan {
    /// The object, without data.
    pub object: Secret,
    /// Whether it is the CA's own: then a new CA is made, and nothing else stands in it.
    pub is_ca: bool,
    /// Certificates to issue.
    pub issue: Vec<Leaf>,
    /// Fields of certificates that stay as they are, with their keys.
    pub keep: Vec<String>,
    /// Fingerprints of roots that stay trusted beside the CA's own certificate.
    pub keep_roots: Vec<String>,
    /// Life of what is issued.
    pub life_seconds: i64,
}

/// A certificate to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Field of the certificate; its key stands under the same name with `.key`.
    pub field: String,
    /// Common name.
    pub name: String,
    /// The identity.
    pub uri: String,
    /// DNS names; without any it only calls, and serves nobody.
    pub hosts: Vec<String>,
}

/// What the certificates' lane came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Certificates {
    /// Secrets to apply, the CA's first.
    pub(crate) secrets: Vec<SecretPlan>,
    /// When to look again, seconds since 1970.
    pub(crate) next: Option<i64>,
    /// A certificate that has ended.
    pub(crate) expired: Option<String>,
    /// What it waits for.
    pub(crate) wait: Option<String>,
}

/// Field of the key that belongs to a certificate.
pub fn key_field(certificate: &str) -> String {
    let stem = certificate.strip_suffix(".crt").unwrap_or(certificate);
    format!("{stem}.key")
}

struct Calendar<'a> {
    cluster: &'a ValidCluster,
    observed: &'a Observed,
    /// The CA's certificate, if it is there and stays.
    ca: Option<&'a CertificateSeen>,
    found: Certificates,
}

/// Plans the certificates of `pods` pods.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, pods: i32) -> Certificates {
    let names = ClusterNames(&cluster.name);
    let mut calendar = Calendar {
        cluster,
        observed,
        ca: None,
        found: Certificates::default(),
    };
    let own = [
        names.ca(),
        names.node_tls(),
        names.operator_tls(),
        names.admin_tls(),
    ];
    let strangers = own.iter().find_map(|name| {
        let stranger = observed.secrets.get(name)?.stranger.as_ref()?;
        Some(format!(
            "Secret {name} to be freed: it belongs to {stranger}"
        ))
    });
    if strangers.is_some() {
        calendar.found.wait = strangers;
        return calendar.found;
    }
    calendar.plan_ca(&names.ca());
    let nodes: Vec<Leaf> = (0..pods).map(|at| node(cluster, at)).collect();
    let caller = |name: &str, role: &str| Leaf {
        field: "tls.crt".to_owned(),
        name: name.to_owned(),
        uri: names.identity(&cluster.namespace, role),
        hosts: Vec::new(),
    };
    let user = caller(FIRST_USER, &format!("user/{FIRST_USER}"));
    calendar.plan_leaves(&names.node_tls(), &nodes);
    calendar.plan_leaves(&names.operator_tls(), &[caller("operator", "operator")]);
    calendar.plan_leaves(&names.admin_tls(), &[user]);
    calendar.found
}

/// Of a pod: it serves under its own name and under the clients' Service, with and without the
/// usual domain.
fn node(cluster: &ValidCluster, ordinal: i32) -> Leaf {
    let names = ClusterNames(&cluster.name);
    let pod = names.pod(ordinal);
    let namespace = &cluster.namespace;
    let service = names.client_service();
    let own = names.pod_host(ordinal, namespace);
    let shared = format!("{service}.{namespace}.svc");
    let full = |host: &str| format!("{host}.cluster.local");
    Leaf {
        field: format!("{pod}.crt"),
        uri: names.identity(namespace, &format!("node/{pod}")),
        hosts: vec![
            full(&own),
            own,
            full(&shared),
            shared,
            format!("{service}.{namespace}"),
            service,
            "localhost".to_owned(),
        ],
        name: pod,
    }
}

impl Calendar<'_> {
    /// A CA is made anew while what it issues still fits into what is left of its life.
    fn plan_ca(&mut self, name: &str) {
        let observed = self.observed;
        let lives = self.cluster.lives;
        let found = observed.secrets.get(name);
        let ca = found.and_then(|secret| secret.certificates.get(ROOTS));
        let due = ca.map(|ca| {
            let third = (ca.not_after - ca.not_before) / 3;
            // Never before half of its life, or a CA whose leaves live nearly as long would be
            // made anew without end.
            let half = ca.not_before + (ca.not_after - ca.not_before) / 2;
            half.max(ca.not_after - third.max(lives.leaf_seconds))
        });
        match due.filter(|due| *due > observed.now_unix_seconds) {
            Some(due) => {
                self.look_at(due);
                self.ca = ca;
            }
            None => self.found.secrets.push(SecretPlan {
                object: secret_object(self.cluster, name),
                is_ca: true,
                issue: Vec::new(),
                keep: Vec::new(),
                keep_roots: Vec::new(),
                life_seconds: lives.ca_seconds,
            }),
        }
    }

    fn plan_leaves(&mut self, name: &str, leaves: &[Leaf]) {
        let empty = SecretSeen::default();
        let observed = self.observed;
        let secret = observed.secrets.get(name).unwrap_or(&empty);
        let mut issue = Vec::new();
        let mut keep = Vec::new();
        for leaf in leaves {
            let certificate = secret.certificates.get(&leaf.field);
            match certificate.filter(|seen| self.is_good(seen, leaf)) {
                Some(_) => keep.push(leaf.field.clone()),
                None => issue.push(leaf.clone()),
            }
        }
        let keep_roots = self.keep_roots(secret);
        let is_whole = observed.secrets.contains_key(name)
            && secret.certificates.len() == leaves.len()
            && self.has_roots(secret, &keep_roots);
        if !issue.is_empty() || !is_whole {
            self.found.secrets.push(SecretPlan {
                object: secret_object(self.cluster, name),
                is_ca: false,
                issue,
                keep,
                keep_roots,
                life_seconds: self.cluster.lives.leaf_seconds,
            });
        }
    }

    /// Whether a certificate stays. One of a former CA stays until the new root is everywhere.
    fn is_good(&mut self, seen: &CertificateSeen, leaf: &Leaf) -> bool {
        let now = self.observed.now_unix_seconds;
        if seen.not_after <= now {
            self.found.expired = Some(leaf.name.clone());
        }
        let wanted = leaf.hosts.iter().chain([&leaf.uri]);
        let fits = wanted.into_iter().all(|name| seen.names.contains(name));
        let third = (seen.not_after - seen.not_before) / 3;
        let before = self.cluster.lives.renew_before_seconds.unwrap_or(third);
        // A leaf is cut to its CA's life: never due before half of its own.
        let half = seen.not_before + (seen.not_after - seen.not_before) / 2;
        let due = half.max(seen.not_after - before);
        if !fits || due <= now {
            return false;
        }
        self.look_at(due);
        let Some(ca) = self.ca.filter(|ca| ca.own_key != seen.issuer_key) else {
            return true;
        };
        let settled = ca.not_before + CERTIFICATE_BACKDATE_SECONDS + ROOT_SETTLE_MAX_SECONDS;
        self.look_at(settled);
        // Time is for the clients' bundles; the nodes tell what they have loaded.
        let is_loaded = self.all_nodes(|node| node.roots.contains(&ca.fingerprint));
        if settled <= now && !is_loaded {
            self.found.wait = Some("every node to load the new root".to_owned());
        }
        settled > now || !is_loaded
    }

    /// Whether this holds of every node that answers. One that does not reads its files at its
    /// start; where nobody answers, time alone has to do.
    fn all_nodes(&self, holds: impl Fn(&NodeSeen) -> bool) -> bool {
        let view = self.observed.view.as_ref();
        let mut nodes = view.into_iter().flat_map(|view| &view.nodes);
        nodes.all(|node| node.state == NodeState::Removed || !node.reachable || holds(node))
    }

    /// Whether the nodes serve with the certificates that stand.
    fn are_leaves_loaded(&self) -> bool {
        let names = ClusterNames(&self.cluster.name);
        let ends = ends(self.observed, &names.node_tls());
        self.all_nodes(|node| {
            let end = ends.get(&format!("{}.crt", node.name));
            end.is_none() || node.certificate_not_after == end.copied()
        })
    }

    /// Former roots that something in use was issued by, or was a short while ago.
    fn keep_roots(&mut self, secret: &SecretSeen) -> Vec<String> {
        let now = self.observed.now_unix_seconds;
        let own = self.ca.map(|ca| ca.fingerprint.clone());
        let leaves = || {
            let secrets = self.observed.secrets.values();
            let leaves = secrets.flat_map(|secret| &secret.certificates);
            leaves
                .filter(|(field, _)| *field != ROOTS)
                .map(|(_, seen)| seen)
        };
        let youngest = leaves().map(|leaf| leaf.not_before).max().unwrap_or(now);
        let quiet = youngest + CERTIFICATE_BACKDATE_SECONDS + ROOT_SETTLE_MAX_SECONDS;
        let is_fresh = quiet > now || !self.are_leaves_loaded();
        let in_use = |root: &CertificateSeen| leaves().any(|leaf| leaf.issuer_key == root.own_key);
        let former = secret.roots.iter().filter(|root| {
            let is_own = Some(&root.fingerprint) == own.as_ref();
            !is_own && root.not_after > now && (in_use(root) || is_fresh)
        });
        let kept = former.map(|root| root.fingerprint.clone());
        let kept: Vec<String> = kept.take(ROOTS_MAX_COUNT - 1).collect();
        if !kept.is_empty() && quiet > now {
            self.look_at(quiet);
        }
        kept
    }

    fn has_roots(&self, secret: &SecretSeen, kept: &[String]) -> bool {
        let own = self.ca.map(|ca| &ca.fingerprint);
        let wanted = own.into_iter().chain(kept);
        let found = secret.roots.iter().map(|root| &root.fingerprint);
        own.is_some() && wanted.eq(found)
    }

    fn look_at(&mut self, time: i64) {
        if time > self.observed.now_unix_seconds {
            let next = self.found.next.unwrap_or(time);
            self.found.next = Some(next.min(time));
        }
    }
}

fn secret_object(cluster: &ValidCluster, name: &str) -> Secret {
    Secret {
        metadata: owned_metadata(cluster, name.to_owned()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// What the Secrets will hold once this was applied, as far as the plan tells; for tests and for
/// status.
pub(crate) fn ends(observed: &Observed, secret: &str) -> BTreeMap<String, i64> {
    let found = observed.secrets.get(secret);
    let certificates = found.iter().flat_map(|secret| &secret.certificates);
    certificates
        .map(|(field, seen)| (field.clone(), seen.not_after))
        .collect()
}

#[cfg(test)]
mod tests;
