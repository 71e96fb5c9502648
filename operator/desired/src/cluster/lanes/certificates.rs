//! Which certificates to issue, and when. Keys and randomness belong to the operator.
//!
//! Safety: the order of trust. A new root is trusted by everybody before anything is issued by it,
//! and an old root is removed only after nothing that it issued is in use. Otherwise two nodes, or
//! a client and a node, would reject each other's certificates, and the cluster would lose its
//! majority without any failure. Between the steps every reachable node has to report that it has
//! loaded its files, and a settle time passes in which clients reload theirs. No pod is restarted.

use std::collections::BTreeMap;

use lograft_crds::limits::{
    CERTIFICATE_BACKDATE_SECONDS, ROOT_SETTLE_MAX_SECONDS, ROOTS_MAX_COUNT,
};
use lograft_crds::names::{ClusterNames, FIRST_USER};

use crate::ObjectKey;
use crate::cluster::action::Action;
use crate::cluster::build::owned_secret;
use crate::cluster::lane::{Lane, TimedLane};
use crate::cluster::observed::{Observed, ObservedCertificate, ObservedSecret};
use crate::cluster::secret_plan::{Leaf, ROOTS_FIELD, SecretPlan};
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::{ClusterView, ObservedNode};
use crate::cluster::wait::{Progress, Wait};

/// Plans the certificates of a cluster of `pods` pods.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, pods: i32) -> TimedLane {
    let mut planner = CertificatePlanner {
        cluster,
        observed,
        ca: None,
        secrets: Vec::new(),
        next_check: None,
        expired: None,
        wait: None,
    };
    planner.plan(pods);
    planner.finish()
}

/// Expiry of each certificate in a Secret, by field.
pub(crate) fn expiries(observed: &Observed, secret: &str) -> BTreeMap<String, i64> {
    let secret = observed.secrets.get(secret);
    let certificates = secret.iter().flat_map(|secret| &secret.certificates);
    certificates
        .map(|(field, certificate)| (field.clone(), certificate.not_after))
        .collect()
}

struct CertificatePlanner<'a> {
    cluster: &'a ValidCluster,
    observed: &'a Observed,
    /// The CA's certificate, if it exists and is not due.
    ca: Option<&'a ObservedCertificate>,
    /// Secrets to write, the CA's first.
    secrets: Vec<SecretPlan>,
    next_check: Option<i64>,
    /// Common name of an expired certificate.
    expired: Option<String>,
    wait: Option<Wait>,
}

impl CertificatePlanner<'_> {
    fn plan(&mut self, pods: i32) {
        let names = ClusterNames(&self.cluster.name);
        let own = [
            names.ca(),
            names.node_tls(),
            names.operator_tls(),
            names.admin_tls(),
        ];
        let mut own = own.iter();
        if let Some(foreign) = own.find_map(|secret| self.observed.foreign_secret(secret)) {
            // Nothing of another owner is overwritten, and without it the other Secrets are
            // useless.
            self.wait = Some(foreign.into());
            return;
        }
        self.plan_ca(&names.ca());
        let nodes: Vec<Leaf> = (0..pods).map(|at| node_leaf(self.cluster, at)).collect();
        let client = |name: &str, role: &str| Leaf {
            field: "tls.crt".to_owned(),
            name: name.to_owned(),
            uri: names.identity(&self.cluster.namespace, role),
            hosts: Vec::new(),
        };
        let operator = client("operator", "operator");
        let user = client(FIRST_USER, &format!("user/{FIRST_USER}"));
        self.plan_leaves(&names.node_tls(), &nodes);
        self.plan_leaves(&names.operator_tls(), &[operator]);
        self.plan_leaves(&names.admin_tls(), &[user]);
    }

    fn finish(self) -> TimedLane {
        let mut lane = Lane::default();
        if let Some(name) = self.expired {
            let progress = Progress::ExpiredCertificate { name };
            lane.waits.push(progress.into());
        }
        if !self.secrets.is_empty() {
            lane.waits.push(Progress::IssuingCertificates.into());
        }
        lane.waits.extend(self.wait);
        for secret in self.secrets {
            let name = secret.name().to_owned();
            let about = ObjectKey::new("Secret", name.clone());
            if secret.is_ca {
                let text = format!("creating a CA in Secret {name}");
                lane.emit_event_about(about, "IssuingCa", text);
            } else if !secret.issue.is_empty() {
                let count = secret.issue.len();
                let text = format!("issuing {count} certificate(s) in Secret {name}");
                lane.emit_event_about(about, "IssuingCertificates", text);
            }
            lane.actions.push(Action::WriteSecret(secret));
        }
        TimedLane {
            lane,
            next_check: self.next_check,
        }
    }

    /// Creates a CA if there is none, or if what it issues no longer fits into the rest of its
    /// life.
    fn plan_ca(&mut self, name: &str) {
        let observed = self.observed;
        let lifetimes = self.cluster.certificate_lifetimes;
        let secret = observed.secrets.get(name);
        let ca = secret.and_then(|secret| secret.certificates.get(ROOTS_FIELD));
        let due = ca.map(|ca| {
            let third = (ca.not_after - ca.not_before) / 3;
            // Never due in the first half of its life: a CA whose leaves live nearly as long would
            // be due at once, and replaced without end.
            let half = ca.not_before + (ca.not_after - ca.not_before) / 2;
            half.max(ca.not_after - third.max(lifetimes.leaf_seconds))
        });
        if let Some(due) = due.filter(|due| *due > observed.now_unix_seconds) {
            self.check_at(due);
            self.ca = ca;
            return;
        }
        self.secrets.push(SecretPlan {
            object: owned_secret(self.cluster, name),
            is_ca: true,
            issue: Vec::new(),
            keep: Vec::new(),
            keep_roots: Vec::new(),
            life_seconds: lifetimes.ca_seconds,
        });
    }

    fn plan_leaves(&mut self, name: &str, leaves: &[Leaf]) {
        let empty = ObservedSecret::default();
        let observed = self.observed;
        let secret = observed.secrets.get(name).unwrap_or(&empty);
        let mut issue = Vec::new();
        let mut keep = Vec::new();
        for leaf in leaves {
            let certificate = secret.certificates.get(&leaf.field);
            match certificate.filter(|found| self.is_kept(found, leaf)) {
                Some(_) => keep.push(leaf.field.clone()),
                None => issue.push(leaf.clone()),
            }
        }
        let keep_roots = self.keep_roots(secret);
        let is_complete = observed.secrets.contains_key(name)
            && secret.certificates.len() == leaves.len()
            && self.has_roots(secret, &keep_roots);
        if !issue.is_empty() || !is_complete {
            self.secrets.push(SecretPlan {
                object: owned_secret(self.cluster, name),
                is_ca: false,
                issue,
                keep,
                keep_roots,
                life_seconds: self.cluster.certificate_lifetimes.leaf_seconds,
            });
        }
    }

    /// Whether a certificate is kept. One of a former CA is kept until the new root is trusted by
    /// everybody.
    fn is_kept(&mut self, certificate: &ObservedCertificate, leaf: &Leaf) -> bool {
        let now = self.observed.now_unix_seconds;
        if certificate.not_after <= now {
            self.expired = Some(leaf.name.clone());
        }
        let mut names = leaf.hosts.iter().chain([&leaf.uri]);
        let has_names = names.all(|name| certificate.names.contains(name));
        let life = certificate.not_after - certificate.not_before;
        let lifetimes = self.cluster.certificate_lifetimes;
        let before = lifetimes.renew_before_seconds.unwrap_or(life / 3);
        // The end of a leaf is limited to that of its CA: a short one must not be due at once.
        let due = (certificate.not_before + life / 2).max(certificate.not_after - before);
        if !has_names || due <= now {
            return false;
        }
        self.check_at(due);
        let Some(ca) = self.ca.filter(|ca| ca.own_key != certificate.issuer_key) else {
            return true;
        };
        let settled = ca.not_before + CERTIFICATE_BACKDATE_SECONDS + ROOT_SETTLE_MAX_SECONDS;
        self.check_at(settled);
        // The settle time is for the clients' bundles; nodes report what they have loaded.
        let is_loaded = self.all_nodes(|node| node.roots.contains(&ca.fingerprint));
        if settled <= now && !is_loaded {
            self.wait = Some(Wait::RootLoaded);
        }
        settled > now || !is_loaded
    }

    /// Whether this is true of every reachable node. An unreachable one reads its files when it
    /// starts. If no node describes the cluster, only the settle time protects the order.
    fn all_nodes(&self, is_so: impl Fn(&ObservedNode) -> bool) -> bool {
        let view = self.observed.view.as_ref();
        let mut nodes = view.into_iter().flat_map(ClusterView::members);
        nodes.all(|node| !node.reachable || is_so(node))
    }

    /// Whether every reachable node serves with its certificate in the Secret.
    fn are_leaves_loaded(&self) -> bool {
        let names = ClusterNames(&self.cluster.name);
        let expiries = expiries(self.observed, &names.node_tls());
        self.all_nodes(|node| {
            let expiry = expiries.get(&format!("{}.crt", node.name));
            expiry.is_none() || node.certificate_not_after == expiry.copied()
        })
    }

    /// Former roots that issued something in use now, or a short time ago.
    fn keep_roots(&mut self, secret: &ObservedSecret) -> Vec<String> {
        let now = self.observed.now_unix_seconds;
        let own = self.ca.map(|ca| ca.fingerprint.clone());
        let leaves = || {
            let secrets = self.observed.secrets.values();
            let certificates = secrets.flat_map(|secret| &secret.certificates);
            certificates
                .filter(|(field, _)| *field != ROOTS_FIELD)
                .map(|(_, leaf)| leaf)
        };
        let newest = leaves().map(|leaf| leaf.not_before).max().unwrap_or(now);
        let settled = newest + CERTIFICATE_BACKDATE_SECONDS + ROOT_SETTLE_MAX_SECONDS;
        let is_settling = settled > now || !self.are_leaves_loaded();
        let is_in_use =
            |root: &ObservedCertificate| leaves().any(|leaf| leaf.issuer_key == root.own_key);
        let former = secret.roots.iter().filter(|root| {
            let is_own = Some(&root.fingerprint) == own.as_ref();
            !is_own && root.not_after > now && (is_in_use(root) || is_settling)
        });
        let kept = former.map(|root| root.fingerprint.clone());
        let kept: Vec<String> = kept.take(ROOTS_MAX_COUNT - 1).collect();
        if !kept.is_empty() && settled > now {
            self.check_at(settled);
        }
        kept
    }

    /// Whether the bundle of a Secret holds exactly the current root and these former ones.
    fn has_roots(&self, secret: &ObservedSecret, kept: &[String]) -> bool {
        let own = self.ca.map(|ca| &ca.fingerprint);
        let wanted = own.into_iter().chain(kept);
        let found = secret.roots.iter().map(|root| &root.fingerprint);
        own.is_some() && wanted.eq(found)
    }

    fn check_at(&mut self, time: i64) {
        if time > self.observed.now_unix_seconds {
            let next = self.next_check.unwrap_or(time);
            self.next_check = Some(next.min(time));
        }
    }
}

/// The certificate of a pod: it serves under its own name and under the names of all Services, with
/// and without the default cluster domain.
fn node_leaf(cluster: &ValidCluster, ordinal: i32) -> Leaf {
    let names = ClusterNames(&cluster.name);
    let pod = names.pod(ordinal);
    let namespace = &cluster.namespace;
    let client = names.client_service();
    let services = [&client, &names.nodes_service(), &names.ready_service()];
    let shared = services.map(|service| format!("{service}.{namespace}.svc"));
    let hosts = [names.pod_host(ordinal, namespace)]
        .into_iter()
        .chain(shared);
    let both = |host: String| [format!("{host}.cluster.local"), host];
    Leaf {
        field: format!("{pod}.crt"),
        uri: names.identity(namespace, &format!("node/{pod}")),
        hosts: hosts
            .flat_map(both)
            .chain([
                format!("{client}.{namespace}"),
                client,
                "localhost".to_owned(),
            ])
            .collect(),
        name: pod,
    }
}

#[cfg(test)]
mod tests;
