//! Names and labels of a LogCluster's objects. All names are derived from the cluster's name and
//! are never stored. They must never change: a renamed disk claim would be a lost disk.

use std::collections::BTreeMap;

/// API group of the custom resources.
pub const GROUP: &str = "lograft.io";
/// API version of the custom resources.
pub const VERSION: &str = "v1alpha1";
/// Group and version as objects name them.
pub const API_VERSION: &str = "lograft.io/v1alpha1";
/// Field manager of all objects that the operator applies, and the value of [`LABEL_MANAGED_BY`].
pub const OPERATOR: &str = "lograft-operator";

/// Finalizer of a LogTopic whose topic is deleted with it.
pub const TOPIC_FINALIZER: &str = "lograft.io/topic";
/// Finalizer of a LogUser: it is revoked before it is gone.
pub const USER_FINALIZER: &str = "lograft.io/user";
/// Ending of the name of a LogUser's Secret.
pub const USER_SECRET_ENDING: &str = "-lograft-user";
/// Lease in each namespace with LogClusters or LogTopics: its holder is the release of the operator
/// that manages them.
pub const SCOPE_LEASE: &str = "lograft-logclusters";

/// Taint of a Node, set by people or by what watches over hosts: the host is off, and its pods may
/// start elsewhere.
pub const TAINT_OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Label: the program.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Label: the cluster, for Kubernetes tools that group by it.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: the part, `node`.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Label: the manager of the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: the cluster, used in the operator's selectors.
pub const LABEL_CLUSTER: &str = "lograft.io/cluster";
/// Label of a PVC: the authorization mode of its cluster, for a LogCluster that adopts the disk.
pub const LABEL_AUTHORIZATION: &str = "lograft.io/authorization";
/// Prefixes of labels and annotations that belong to the operator.
pub const OWN_PREFIXES: [&str; 2] = ["app.kubernetes.io/", "lograft.io/"];

/// Annotation of pods: hash of all settings that take effect only after a restart of the pod.
pub const ANNOTATION_ROLLOUT_HASH: &str = "lograft.io/rollout-hash";

/// Annotation of a LogCluster, copied to its pods: another value restarts them, one at a time.
pub const ANNOTATION_RESTART_AT: &str = "lograft.io/restart-at";
/// Annotation of a LogCluster: its place in the order in which clusters get a change that the
/// operator causes, an integer; clusters of a lower wave go first. Default 0.
pub const ANNOTATION_ROLLOUT_WAVE: &str = "lograft.io/rollout-wave";
/// Annotation of a LogCluster: with the value `true` its rollouts wait for no other cluster and for
/// no maintenance window.
pub const ANNOTATION_ROLLOUT_NOW: &str = "lograft.io/rollout-now";
/// Annotation of a LogCluster: another value replaces the gossip key, without a restart.
pub const ANNOTATION_ROTATE_GOSSIP_KEY: &str = "lograft.io/rotate-gossip-key-at";
/// Annotation of a StatefulSet: the pod template, as JSON, that stays while a changed one waits for
/// its turn. Without it an edit of the template could not be told from the template.
pub const ANNOTATION_KEPT_TEMPLATE: &str = "lograft.io/kept-template";
/// Annotation of a pod template that `kubectl rollout restart` sets.
pub const ANNOTATION_KUBECTL_RESTART: &str = "kubectl.kubernetes.io/restartedAt";
/// Annotation of objects: hash of the applied object. With it a field that is no longer desired is
/// distinguished from a field that somebody else added.
pub const ANNOTATION_APPLIED: &str = "lograft.io/applied";
/// Annotation of pods: start of the leadership transfer before a stop, seconds since 1970.
pub const ANNOTATION_DRAINING_SINCE: &str = "lograft.io/draining-since";
/// Trust domain of the identities in certificates.
pub const TRUST_DOMAIN: &str = "lograft.io";
/// The user whose certificate is issued with the cluster.
pub const FIRST_USER: &str = "admin";

/// Port of gRPC for clients, mTLS.
pub const PORT_CLIENT: i32 = 9400;
/// Port of gRPC for peers, mTLS.
pub const PORT_PEER: i32 = 9401;
/// Port of HTTP and JSON for clients, mTLS.
pub const PORT_HTTP: i32 = 9402;
/// Port of gossip between peers, UDP.
pub const PORT_GOSSIP: i32 = 9404;
/// Port of health and metrics, plain HTTP.
pub const PORT_HEALTH: i32 = 9403;

/// Name of the container that runs a node. Other controllers may inject containers beside it, and
/// kubelet sorts the states of containers by name.
pub const CONTAINER: &str = "node";
/// Name of the volume claim template: the prefix of each disk claim's name.
pub const DISK: &str = "data";

/// Names of the objects of the cluster with this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterNames<'a>(pub &'a str);

impl ClusterNames<'_> {
    /// The StatefulSet.
    pub fn stateful_set(&self) -> String {
        self.0.to_owned()
    }

    /// The pod with this ordinal.
    pub fn pod(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.0)
    }

    /// The claim of the disk of the pod with this ordinal.
    pub fn disk_claim(&self, ordinal: i32) -> String {
        format!("{DISK}-{}-{ordinal}", self.0)
    }

    /// The headless Service that gives each pod its DNS name.
    pub fn nodes_service(&self) -> String {
        format!("{}-nodes", self.0)
    }

    /// The headless Service of the ready pods, for clients without the client library.
    pub fn ready_service(&self) -> String {
        format!("{}-ready", self.0)
    }

    /// The Service for clients.
    pub fn client_service(&self) -> String {
        format!("{}-client", self.0)
    }

    /// The ConfigMap with the configuration of each node.
    pub fn config(&self) -> String {
        format!("{}-config", self.0)
    }

    /// The ConfigMap with the addresses of the cluster, for people and clients.
    pub fn peers(&self) -> String {
        format!("{}-peers", self.0)
    }

    /// The Secret with the nodes' certificates and keys, and the CA's certificates.
    pub fn node_tls(&self) -> String {
        format!("{}-node-tls", self.0)
    }

    /// The Secret with the CA's certificate and key.
    pub fn ca(&self) -> String {
        format!("{}-ca", self.0)
    }

    /// The Secret with the operator's certificate and key.
    pub fn operator_tls(&self) -> String {
        format!("{}-operator-tls", self.0)
    }

    /// The Secret with the first user's certificate and key.
    pub fn admin_tls(&self) -> String {
        format!("{}-admin-tls", self.0)
    }

    /// The Secret with the keys of gossip.
    pub fn gossip_keys(&self) -> String {
        format!("{}-gossip-keys", self.0)
    }

    /// The ordinal of the pod with this name, if it belongs to the cluster.
    pub fn ordinal(&self, pod: &str) -> Option<i32> {
        let digits = pod.strip_prefix(self.0)?.strip_prefix('-')?;
        let ordinal = digits.parse().ok()?;
        (self.pod(ordinal) == pod).then_some(ordinal)
    }

    /// The identity in a certificate; `role` is `node/<pod>`, `user/<name>` or `operator`.
    pub fn identity(&self, namespace: &str, role: &str) -> String {
        format!("spiffe://{}/{role}", self.identity_scope(namespace))
    }

    /// The part that all identities of the cluster have in common, without `spiffe://`.
    pub fn identity_scope(&self, namespace: &str) -> String {
        let cluster = self.0;
        format!("{TRUST_DOMAIN}/ns/{namespace}/cluster/{cluster}")
    }

    /// The pods' ServiceAccount.
    pub fn service_account(&self) -> String {
        format!("{}-node", self.0)
    }

    /// The Role of the pods' ServiceAccount, and its binding.
    pub fn endpoints_role(&self) -> String {
        format!("{}-node", self.0)
    }

    /// The PodDisruptionBudget.
    pub fn disruption_budget(&self) -> String {
        format!("{}-nodes", self.0)
    }

    /// The NetworkPolicy.
    pub fn network_policy(&self) -> String {
        format!("{}-nodes", self.0)
    }

    /// The DNS name of a pod, without the cluster domain: resolvers in pods append it.
    pub fn pod_host(&self, ordinal: i32, namespace: &str) -> String {
        let pod = self.pod(ordinal);
        let service = self.nodes_service();
        format!("{pod}.{service}.{namespace}.svc")
    }

    /// Labels that select the cluster's pods. They are in the StatefulSet's selector, which is
    /// immutable, so they must not change.
    pub fn selector(&self) -> BTreeMap<String, String> {
        let pairs = [
            (LABEL_NAME, "lograft"),
            (LABEL_INSTANCE, self.0),
            (LABEL_COMPONENT, "node"),
            (LABEL_CLUSTER, self.0),
        ];
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    /// Labels of every object of the cluster.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert(LABEL_MANAGED_BY.to_owned(), OPERATOR.to_owned());
        labels
    }

    /// The selector in the form of `kubectl get -l` and the scale subresource.
    pub fn selector_text(&self) -> String {
        let pairs = self.selector();
        let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CLUSTER_NAME_MAX_BYTES, REPLICAS_MAX_COUNT};

    #[test]
    fn the_longest_name_fits_everywhere() {
        let name = "n".repeat(CLUSTER_NAME_MAX_BYTES);
        let names = ClusterNames(&name);
        let last = REPLICAS_MAX_COUNT - 1;
        let texts = [
            names.pod(last),
            names.nodes_service(),
            names.client_service(),
            names.ready_service(),
            names.service_account(),
            names.disruption_budget(),
            names.network_policy(),
            names.node_tls(),
            names.operator_tls(),
            names.disk_claim(last),
        ];
        for text in texts {
            assert!(text.len() <= 63, "{text} has {} bytes", text.len());
        }
        // The StatefulSet controller appends a hash of 11 characters to its name in a label.
        assert!(names.stateful_set().len() <= 63 - 11);
    }

    #[test]
    fn names_stand_as_they_are() {
        let names = ClusterNames("events");
        assert_eq!(names.pod(2), "events-2");
        assert_eq!(names.disk_claim(0), "data-events-0");
        assert_eq!(names.ordinal("events-12"), Some(12));
        for other in [
            "events",
            "events-",
            "events-01",
            "events-x",
            "event-1",
            "events-a-1",
        ] {
            assert_eq!(names.ordinal(other), None, "{other}");
        }
        assert_eq!(
            names.identity("prod", "node/events-1"),
            "spiffe://lograft.io/ns/prod/cluster/events/node/events-1"
        );
        assert_eq!(names.pod_host(1, "prod"), "events-1.events-nodes.prod.svc");
        assert_eq!(
            names.selector_text(),
            "app.kubernetes.io/component=node,app.kubernetes.io/instance=events,\
             app.kubernetes.io/name=lograft,lograft.io/cluster=events"
        );
    }
}
