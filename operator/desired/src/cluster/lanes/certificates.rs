//! Which certificates to issue, and when. Keys and randomness belong to the operator.
//!
//! Safety: the order of trust. A new root is trusted by everybody before anything is issued by it,
//! and an old root is removed only after nothing that it issued is in use. Otherwise two nodes, or
//! a client and a node, would reject each other's certificates, and the cluster would lose its
//! majority without any failure. Between the steps every reachable node has to report that it has
//! loaded its files, and a settle time passes in which clients reload theirs. No pod is restarted.
//!
//! A certificate that is lost in between cannot be issued by the old CA, whose key is gone. It
//! waits too while a node that can go on without it does not trust the new root. The roots of a
//! lost Secret are taken from the other Secrets of the cluster. Those of LogUsers only show which
//! roots are in use: a user who may change such a Secret must not add a root to the bundles.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

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
        let exists = observed.secrets.contains_key(name);
        if self.must_wait(&issue) {
            // Kubelet keeps the files of a Secret that is gone, but removes those of fields that
            // are: a node that restarts in place needs its former certificate.
            if !exists {
                return;
            }
            let former = issue.drain(..).map(|leaf| leaf.field);
            keep.extend(former.filter(|field| secret.certificates.contains_key(field)));
        }
        let keep_roots = self.keep_roots();
        let is_complete = exists
            && secret.certificates.len() == keep.len()
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
        let is_former = (self.ca).is_none_or(|ca| ca.own_key != certificate.issuer_key);
        let settled = self.settled();
        // One that is due serves until everybody trusts the new root.
        let may_be_late = is_former && settled > now && certificate.not_after > settled;
        if !has_names || due <= now && !may_be_late {
            return false;
        }
        self.check_at(due);
        let Some(ca) = self.ca.filter(|_| is_former) else {
            return true;
        };
        self.check_at(settled);
        // The settle time is for the clients' bundles; nodes report what they have loaded.
        let is_loaded = self.is_loaded(ca);
        if settled <= now && !is_loaded {
            self.wait = Some(Wait::RootLoaded);
        }
        settled > now || !is_loaded
    }

    /// The time at which clients have the root of the CA.
    fn settled(&self) -> i64 {
        let created = self
            .ca
            .map(|ca| ca.not_before + CERTIFICATE_BACKDATE_SECONDS);
        created.unwrap_or(self.observed.now_unix_seconds) + ROOT_SETTLE_MAX_SECONDS
    }

    /// Whether certificates that are missing wait until the new root is trusted.
    fn must_wait(&mut self, missing: &[Leaf]) -> bool {
        let (now, settled) = (self.observed.now_unix_seconds, self.settled());
        if missing.is_empty() || settled <= now || !self.has_former_root() {
            return false;
        }
        // The bundles are written in this step.
        let Some(ca) = self.ca.filter(|ca| self.is_in_bundles(ca)) else {
            return true;
        };
        let view = self.observed.view.as_ref();
        // Without a certificate a node can neither start nor load the new root.
        let runs = |leaf: &Leaf| {
            let node = view.and_then(|view| view.node_of(&leaf.name));
            leaf.hosts.is_empty() || node.is_some_and(|node| node.reachable)
        };
        if self.is_loaded(ca) || !missing.iter().all(runs) {
            return false;
        }
        self.check_at(settled);
        self.wait = Some(Wait::RootLoaded);
        true
    }

    /// Whether a Secret of the cluster has a valid root that is not that of the CA.
    fn has_former_root(&self) -> bool {
        let own = self.ca.map(|ca| &ca.fingerprint);
        let is_former = |root: &&ObservedCertificate| {
            root.not_after > self.observed.now_unix_seconds && Some(&root.fingerprint) != own
        };
        self.roots().any(|root| is_former(&root))
    }

    /// Whether the bundles of all Secrets have the root of the CA.
    fn is_in_bundles(&self, ca: &ObservedCertificate) -> bool {
        let names = ClusterNames(&self.cluster.name);
        let all = [names.node_tls(), names.operator_tls(), names.admin_tls()];
        let mut secrets = all.iter().filter_map(|it| self.observed.secrets.get(it));
        let has = |root: &ObservedCertificate| root.fingerprint == ca.fingerprint;
        secrets.all(|secret| secret.roots.iter().any(has))
    }

    /// The roots in all Secrets of the cluster, some of them several times.
    fn roots(&self) -> impl Iterator<Item = &ObservedCertificate> {
        let secrets = self.observed.secrets.values();
        secrets.flat_map(|secret| &secret.roots)
    }

    /// Whether every reachable node has loaded the root of the CA.
    fn is_loaded(&self, ca: &ObservedCertificate) -> bool {
        self.all_nodes(|node| node.roots.contains(&ca.fingerprint))
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

    /// Former roots that issued something in use now, or a short time ago: of all Secrets, since
    /// one that is lost has taken its bundle with it.
    fn keep_roots(&mut self) -> Vec<String> {
        let now = self.observed.now_unix_seconds;
        let own = self.ca.map(|ca| &ca.fingerprint);
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
        let is_in_use = |root: &ObservedCertificate| {
            leaves().any(|leaf| leaf.issuer_key == root.own_key)
                || self.observed.user_issuers.contains(&root.own_key)
        };
        let former = self.roots().filter(|root| {
            let is_own = Some(&root.fingerprint) == own;
            !is_own && root.not_after > now && (is_in_use(root) || is_settling)
        });
        // Those in use first, then the newest: there is not always room for all.
        let by_need = former.map(|root| {
            let key = (!is_in_use(root), Reverse(root.not_before));
            (key, root.fingerprint.clone())
        });
        let by_need: BTreeSet<_> = by_need.collect();
        let kept = by_need.into_iter().map(|(_, fingerprint)| fingerprint);
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
