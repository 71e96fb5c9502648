//! CEL rules of the schema, for constraints that the bounds of a single field cannot express. Each
//! message says what is wrong and what to do. Bounds are literals; `tests/it` compares them with
//! [`limits`].
//!
//! [`limits`]: crate::limits

use serde::Serialize;

/// A validation rule that the API server evaluates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The CEL expression; true for accepted objects.
    pub rule: &'static str,
    /// The message: what is wrong, and what to do.
    pub message: &'static str,
    /// The field that the error is reported for, relative to the object of the rule.
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

/// Rules for the LogCluster as a whole.
pub const ROOT: &[Rule] = &[
    rule(
        "size(self.metadata.name) <= 40",
        "metadata.name must be at most 40 characters: pods and Services are named after it; \
         choose a shorter name",
    ),
    rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must start with a letter and contain only lower-case letters, digits and \
         '-': Services are named after it; choose another name",
    ),
];

/// Rules for `spec`.
pub const SPEC: &[Rule] = &[rule_at(
    ".log.replicationFactor",
    "!has(self.log.replicationFactor) || self.log.replicationFactor <= self.replicas",
    "spec.log.replicationFactor must be at most spec.replicas: lower it, or raise spec.replicas",
)];

/// Rules for `spec.storage`.
pub const STORAGE: &[Rule] = &[
    rule(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && \
         (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        "spec.storage.storageClassName is immutable: revert it; for another class create a new \
         LogCluster and move the topics there",
    ),
    rule_at(
        ".size",
        "quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
        "spec.storage.size cannot shrink: revert it; for smaller disks create a new LogCluster \
         and move the topics there",
    ),
    rule_at(
        ".size",
        "quantity(self.size).compareTo(quantity('1Gi')) >= 0",
        "spec.storage.size must be at least 1Gi: raise the size",
    ),
    rule_at(
        ".autoGrow.maxSize",
        "!has(self.autoGrow) || \
         quantity(self.autoGrow.maxSize).compareTo(quantity(self.size)) >= 0",
        "spec.storage.autoGrow.maxSize must be at least spec.storage.size: raise it, or remove \
         autoGrow",
    ),
];

/// Rules for `spec.podTemplate`.
pub const POD_TEMPLATE: &[Rule] = &[
    rule_at(
        ".labels",
        "!has(self.labels) || self.labels.all(k, \
         !k.startsWith('app.kubernetes.io/') && !k.startsWith('lograft.io/'))",
        "spec.podTemplate.labels: app.kubernetes.io/ and lograft.io/ are reserved for the \
         operator; use another prefix",
    ),
    rule_at(
        ".annotations",
        "!has(self.annotations) || self.annotations.all(k, !k.startsWith('lograft.io/'))",
        "spec.podTemplate.annotations: lograft.io/ is reserved for the operator; use another \
         prefix",
    ),
    rule_at(
        ".env",
        "!has(self.env) || \
         self.env.all(e, !e.name.startsWith('LOGRAFT_') && e.name != 'POD_NAME')",
        "spec.podTemplate.env: LOGRAFT_* and POD_NAME are reserved for the operator; for log \
         settings use spec.observability",
    ),
];

/// Rules for `spec.recovery`.
pub const RECOVERY: &[Rule] = &[rule_at(
    ".deadNodeAfter",
    "duration(self.deadNodeAfter) >= duration('1m') && \
     duration(self.deadNodeAfter) <= duration('8760h')",
    "spec.recovery.deadNodeAfter must be between 1m and 8760h: choose a time in this range, \
     or set deadNodes to Keep",
)];

/// Rules for `spec.tls`.
pub const TLS: &[Rule] = &[
    rule_at(
        ".issuerRef",
        "(self.mode == 'certManager') == has(self.issuerRef)",
        "spec.tls.issuerRef must be set in mode certManager and only there: set or remove it",
    ),
    rule_at(
        ".leafValidity",
        "duration(self.leafValidity) < duration(self.caValidity)",
        "spec.tls.leafValidity must be below caValidity: lower it, or raise caValidity",
    ),
    rule_at(
        ".renewBefore",
        "!has(self.renewBefore) || duration(self.renewBefore) < duration(self.leafValidity)",
        "spec.tls.renewBefore must be below leafValidity: lower it, or remove it for the \
         default of a third",
    ),
];

/// Rules for `spec.discovery`.
pub const DISCOVERY: &[Rule] = &[
    rule_at(
        ".seeds",
        "self.seeds != 'None' || self.endpoints || self.gossip.enabled",
        "spec.discovery.seeds must not be None without endpoints and gossip: the nodes would find \
         nobody; choose Pods or Service, or enable one of the two",
    ),
    rule_at(
        ".gossip.keyValidity",
        "duration(self.gossip.keyValidity) >= duration('1h')",
        "spec.discovery.gossip.keyValidity must be at least 1h: choose a longer time",
    ),
];

/// A `maxRecordSize` that the data plane takes.
const RECORD_SIZE_IN_RANGE: &str = "!has(self.maxRecordSize) || \
     (quantity(self.maxRecordSize).compareTo(quantity('1Ki')) >= 0 && \
     quantity(self.maxRecordSize).compareTo(quantity('3Mi')) <= 0)";
/// A record of the largest size fits into a batch of the largest size.
const RECORD_SIZE_BELOW_BATCH: &str = "!has(self.maxRecordSize) || !has(self.maxBatchSize) || \
     quantity(self.maxRecordSize).add(quantity('4Ki')).compareTo(quantity(self.maxBatchSize)) <= 0";

/// Rules for `spec.log`.
pub const LOG: &[Rule] = &[
    rule_at(
        ".segmentSize",
        "quantity(self.segmentSize).compareTo(quantity('1Mi')) >= 0 && \
         quantity(self.segmentSize).compareTo(quantity('64Mi')) <= 0",
        "spec.log.segmentSize must be between 1Mi and 64Mi: choose a size in this range",
    ),
    rule_at(
        ".maxBatchSize",
        "!has(self.maxBatchSize) || \
         quantity(self.maxBatchSize).compareTo(quantity('3076Ki')) <= 0",
        "spec.log.maxBatchSize must be at most 3076Ki: lower it, or remove it for the default",
    ),
    rule_at(
        ".maxRecordSize",
        RECORD_SIZE_IN_RANGE,
        "spec.log.maxRecordSize must be between 1Ki and 3Mi: choose a size in this range",
    ),
    rule_at(
        ".maxRecordSize",
        RECORD_SIZE_BELOW_BATCH,
        "spec.log.maxRecordSize must be at least 4Ki below maxBatchSize: lower it, or raise or \
         remove maxBatchSize",
    ),
];

/// Rules for `spec.log.retention`.
pub const RETENTION: &[Rule] = &[rule_at(
    ".size",
    "!has(self.size) || quantity(self.size).compareTo(quantity('1Mi')) >= 0",
    "spec.log.retention.size must be at least 1Mi: raise the size",
)];

/// Rules for `spec.authorization`.
pub const AUTHORIZATION: &[Rule] = &[
    rule_at(
        ".mode",
        "!self.enabled || !has(self.mode) || self.mode != 'disabled'",
        "spec.authorization.mode must not be disabled while enabled is true: remove enabled, or choose \
         another mode",
    ),
    rule_at(
        ".superUsers",
        "!has(self.superUsers) || self.superUsers.all(u, u.matches('^([A-Za-z0-9._-]{1,253}|\
         user/[A-Za-z0-9._-]{1,253}(/[A-Za-z0-9._-]{1,253})?)$'))",
        "spec.authorization.superUsers: each must be NAME, user/NAME or user/NAMESPACE/NAME, whose \
         names are 1 to 253 letters, digits, '.', '_' and '-'; correct it",
    ),
];

/// Rules for `spec.listeners.http`.
pub const HTTP_LISTENER: &[Rule] = &[rule_at(
    ".corsAllowedOrigins",
    "!has(self.corsAllowedOrigins) || \
     self.corsAllowedOrigins.all(o, o.matches('^https?://[A-Za-z0-9.:\\\\[\\\\]-]+$'))",
    "spec.listeners.http.corsAllowedOrigins: each must be https://HOST or https://HOST:PORT, without \
     a path; correct it",
)];

/// Rules for `spec.allowedNamespaces.selector`.
pub const NAMESPACE_SELECTOR: &[Rule] = &[rule_at(
    ".matchLabels",
    "has(self.matchLabels) && size(self.matchLabels) > 0",
    "spec.allowedNamespaces.selector.matchLabels must have a label: an empty selector would match \
     every namespace; add one, or remove the selector",
)];

/// Rules for the LogTopic as a whole.
pub const TOPIC_ROOT: &[Rule] = &[rule(
    "has(self.spec.topicName) || size(self.metadata.name) <= 249",
    "metadata.name must be at most 249 characters: it is the name of the topic; choose a shorter \
     name, or set spec.topicName",
)];

/// Rules for the `spec` of a LogTopic.
pub const TOPIC_SPEC: &[Rule] = &[
    rule_at(
        ".clusterRef",
        "self.clusterRef == oldSelf.clusterRef",
        "spec.clusterRef is immutable: revert it; for another cluster create a new LogTopic",
    ),
    rule_at(
        ".topicName",
        "has(self.topicName) == has(oldSelf.topicName) && \
         (!has(self.topicName) || self.topicName == oldSelf.topicName)",
        "spec.topicName is immutable: revert it; for another topic create a new LogTopic",
    ),
    rule_at(
        ".topicName",
        "!has(self.topicName) || (self.topicName != '.' && self.topicName != '..')",
        "spec.topicName must not be . or ..: choose another name",
    ),
    rule_at(
        ".partitions",
        "!has(self.partitions) || !has(oldSelf.partitions) || \
         self.partitions >= oldSelf.partitions",
        "spec.partitions cannot shrink: revert it; removed partitions would take their records \
         with them",
    ),
];

/// Rules for the `spec.retention` of a LogTopic.
pub const TOPIC_RETENTION: &[Rule] = &[rule_at(
    ".size",
    "!has(self.size) || quantity(self.size).compareTo(quantity('1Mi')) >= 0",
    "spec.retention.size must be at least 1Mi: raise the size",
)];

/// Rules for the `spec.config` of a LogTopic.
pub const TOPIC_CONFIG: &[Rule] = &[
    rule_at(
        ".maxBatchSize",
        "!has(self.maxBatchSize) || \
         (quantity(self.maxBatchSize).compareTo(quantity('1Ki')) >= 0 && \
         quantity(self.maxBatchSize).compareTo(quantity('3076Ki')) <= 0)",
        "spec.config.maxBatchSize must be between 1Ki and 3076Ki: choose a size in this range",
    ),
    rule_at(
        ".maxRecordSize",
        RECORD_SIZE_IN_RANGE,
        "spec.config.maxRecordSize must be between 1Ki and 3Mi: choose a size in this range",
    ),
    rule_at(
        ".maxRecordSize",
        RECORD_SIZE_BELOW_BATCH,
        "spec.config.maxRecordSize must be at least 4Ki below maxBatchSize: lower it, or raise or \
         remove maxBatchSize",
    ),
];

/// Rules for the LogUser as a whole.
pub const USER_ROOT: &[Rule] = &[rule(
    "has(self.spec.secretName) || size(self.metadata.name) <= 240",
    "metadata.name must be at most 240 characters: the Secret is named after it; choose a shorter \
     name, or set spec.secretName",
)];

/// Rules for the `spec` of a LogUser.
pub const USER_SPEC: &[Rule] = &[
    rule_at(
        ".clusterRef",
        "self.clusterRef == oldSelf.clusterRef",
        "spec.clusterRef is immutable: revert it; for another cluster create a new LogUser",
    ),
    rule_at(
        ".secretName",
        "has(self.secretName) == has(oldSelf.secretName) && \
         (!has(self.secretName) || self.secretName == oldSelf.secretName)",
        "spec.secretName is immutable: revert it; for another Secret create a new LogUser",
    ),
    rule_at(
        ".validity",
        "!has(self.validity) || duration(self.validity) >= duration('1h')",
        "spec.validity must be at least 1h: choose a longer time",
    ),
    rule_at(
        ".renewBefore",
        "!has(self.renewBefore) || !has(self.validity) || \
         duration(self.renewBefore) < duration(self.validity)",
        "spec.renewBefore must be below validity: lower it, or remove it for the default of a third",
    ),
];

/// Rules for `status`.
pub const STATUS: &[Rule] = &[
    rule_at(
        ".clusterId",
        "!has(oldSelf.clusterId) || (has(self.clusterId) && self.clusterId == oldSelf.clusterId)",
        "status.clusterId is immutable: it is stored on every disk of the cluster; restore it",
    ),
    rule_at(
        ".bootstrapOrdinal",
        "!has(oldSelf.bootstrapOrdinal) || (has(self.bootstrapped) && self.bootstrapped) || \
         (has(self.bootstrapOrdinal) && self.bootstrapOrdinal == oldSelf.bootstrapOrdinal)",
        "status.bootstrapOrdinal cannot be changed before the cluster is bootstrapped: a second node \
         would be asked to create it; restore it",
    ),
    rule_at(
        ".bootstrapped",
        "!has(oldSelf.bootstrapped) || !oldSelf.bootstrapped || \
         (has(self.bootstrapped) && self.bootstrapped)",
        "status.bootstrapped cannot be reset: a cluster is bootstrapped once; restore it",
    ),
];
