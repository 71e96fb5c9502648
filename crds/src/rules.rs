//! The CEL rules of the schema: what one field's bounds cannot say. Each text says what is wrong
//! and what to do. Bounds stand in them as literals; `tests/it` compares them with [`limits`].
//!
//! [`limits`]: crate::limits

use serde::Serialize;

/// A rule that the API server checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The expression, true of what is accepted.
    pub rule: &'static str,
    /// What is wrong, and what to do.
    pub message: &'static str,
    /// The field that the refusal is shown at, below the object that the rule is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_path: Option<&'static str>,
}

impl From<Rule> for kube::core::Rule {
    fn from(rule: Rule) -> Self {
        let core = Self::new(rule.rule).message(rule.message);
        match rule.field_path {
            Some(path) => core.field_path(path),
            None => core,
        }
    }
}

const fn rule(rule: &'static str, message: &'static str) -> Rule {
    Rule {
        rule,
        message,
        field_path: None,
    }
}

const fn rule_at(field: &'static str, rule: &'static str, message: &'static str) -> Rule {
    Rule {
        rule,
        message,
        field_path: Some(field),
    }
}

/// Of a LogCluster as a whole.
pub const ROOT: &[Rule] = &[
    rule(
        "size(self.metadata.name) <= 40",
        "metadata.name is longer than 40 characters: pods and Services are named after it; \
         choose a shorter name",
    ),
    rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must begin with a letter and hold only lower-case letters, digits and \
         '-': Services are named after it; choose another name",
    ),
];

/// Of `spec`.
pub const SPEC: &[Rule] = &[rule_at(
    ".log.replicationFactor",
    "!has(self.log.replicationFactor) || self.log.replicationFactor <= self.replicas",
    "spec.log.replicationFactor is above spec.replicas: lower it, or raise spec.replicas",
)];

/// Of `spec.storage`.
pub const STORAGE: &[Rule] = &[
    rule(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && \
         (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        "spec.storage.storageClassName cannot change: undo it; for another class make a new \
         LogCluster and move the topics there",
    ),
    rule_at(
        ".size",
        "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
        "spec.storage.size cannot shrink: undo it; for smaller disks make a new LogCluster and \
         move the topics there",
    ),
    rule_at(
        ".size",
        "quantity(self.size).compareTo(quantity('1Gi')) >= 0",
        "spec.storage.size is below 1Gi: ask for 1Gi or more",
    ),
    rule_at(
        ".autoGrow.maxSize",
        "!has(self.autoGrow) || \
         quantity(self.autoGrow.maxSize).compareTo(quantity(self.size)) >= 0",
        "spec.storage.autoGrow.maxSize is below spec.storage.size: raise it, or leave autoGrow out",
    ),
];

/// Of `spec.podTemplate`.
pub const POD_TEMPLATE: &[Rule] = &[
    rule_at(
        ".labels",
        "!has(self.labels) || self.labels.all(k, \
         !k.startsWith('app.kubernetes.io/') && !k.startsWith('lograft.io/'))",
        "spec.podTemplate.labels: app.kubernetes.io/ and lograft.io/ are the operator's; use \
         another prefix",
    ),
    rule_at(
        ".annotations",
        "!has(self.annotations) || self.annotations.all(k, !k.startsWith('lograft.io/'))",
        "spec.podTemplate.annotations: lograft.io/ is the operator's; use another prefix",
    ),
    rule_at(
        ".env",
        "!has(self.env) || \
         self.env.all(e, !e.name.startsWith('LOGRAFT_') && e.name != 'POD_NAME')",
        "spec.podTemplate.env: LOGRAFT_* and POD_NAME are the operator's; for log lines use \
         spec.observability",
    ),
];

/// Of `spec.tls`.
pub const TLS: &[Rule] = &[
    rule_at(
        ".issuerRef",
        "(self.mode == 'certManager') == has(self.issuerRef)",
        "spec.tls.issuerRef names cert-manager's issuer: set it with mode certManager, leave it \
         out with mode builtin",
    ),
    rule_at(
        ".leafValidity",
        "duration(self.leafValidity) < duration(self.caValidity)",
        "spec.tls.leafValidity is not below caValidity: lower it, or raise caValidity",
    ),
    rule_at(
        ".renewBefore",
        "!has(self.renewBefore) || duration(self.renewBefore) < duration(self.leafValidity)",
        "spec.tls.renewBefore is not below leafValidity: lower it, or leave it out for a third",
    ),
];

/// Of `spec.log`.
pub const LOG: &[Rule] = &[
    rule_at(
        ".segmentSize",
        "quantity(self.segmentSize).compareTo(quantity('1Mi')) >= 0 && \
         quantity(self.segmentSize).compareTo(quantity('64Mi')) <= 0",
        "spec.log.segmentSize is outside 1Mi to 64Mi: choose a size between",
    ),
    rule_at(
        ".maxBatchSize",
        "!has(self.maxBatchSize) || quantity(self.maxBatchSize).compareTo(quantity('2Mi')) <= 0",
        "spec.log.maxBatchSize is above 2Mi: lower it, or leave it out for 2Mi",
    ),
];

/// Of `spec.log.retention`.
pub const RETENTION: &[Rule] = &[rule_at(
    ".size",
    "!has(self.size) || quantity(self.size).compareTo(quantity('1Mi')) >= 0",
    "spec.log.retention.size is below 1Mi: ask for 1Mi or more",
)];

/// Of `status`.
pub const STATUS: &[Rule] = &[
    rule_at(
        ".clusterId",
        "!has(oldSelf.clusterId) || (has(self.clusterId) && self.clusterId == oldSelf.clusterId)",
        "status.clusterId cannot change: every disk of the cluster holds it; write it back",
    ),
    rule_at(
        ".bootstrapped",
        "!has(oldSelf.bootstrapped) || !oldSelf.bootstrapped || \
         (has(self.bootstrapped) && self.bootstrapped)",
        "status.bootstrapped cannot go back: the cluster is made once; write it back",
    ),
];
