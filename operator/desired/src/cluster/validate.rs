//! From a raw LogCluster to one that the rest can rely on. The API server checks the same by
//! schema and rules, but a stored object may be older than they are.

use std::fmt::Display;

use lograft_crds::limits::{
    CLUSTER_NAME_MAX_BYTES, DISK_MIN_BYTES, PARTITIONS_MAX_COUNT, REPLICAS_MAX_COUNT,
    REPLICATION_FACTOR_MAX_COUNT, SEGMENT_MAX_BYTES, SEGMENT_MIN_BYTES,
};
use lograft_crds::log_cluster::TlsMode;
use lograft_crds::names::OWN_PREFIXES;
use lograft_crds::{ByteSize, LogCluster, LogClusterSpec, Period, QuantityError};

/// Why a LogCluster goes no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was not read from an API server.
    #[error("{field} is missing: only a LogCluster that the API server stores can be served")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is outside its bounds.
    #[error("{field} is {found}: {bound}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        bound: String,
    },
    /// A size is none.
    #[error("reading {field}")]
    Quantity {
        /// The field.
        field: &'static str,
        /// Why it is none.
        #[source]
        source: QuantityError,
    },
    /// The data plane cannot do it. Going on without would be worse than saying so.
    #[error("{field} is set, but this version of Lograft has no {what}: leave it out")]
    NotThere {
        /// The field.
        field: &'static str,
        /// What is not there.
        what: &'static str,
    },
}

/// A LogCluster whose every field is within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCluster {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The object's UID: another object of the same name is another cluster.
    pub uid: String,
    /// The cluster's id, once it has one.
    pub cluster_id: Option<String>,
    /// What was asked for.
    pub spec: LogClusterSpec,
    /// Whether the cluster was ever made.
    pub bootstrapped: bool,
    /// Pods that stood when status was last written.
    pub members_count: i32,
    /// What was asked for that this version has not: a cluster that serves goes on without it.
    pub not_there: Option<Refused>,
    /// `spec.log.segmentSize` in bytes.
    pub segment_bytes: u64,
    /// `spec.log.retention.size` in bytes.
    pub retention_bytes: Option<u64>,
    /// `spec.log.retention.time` in milliseconds.
    pub retention_ms: Option<i64>,
    /// `spec.storage.size` in bytes.
    pub disk_bytes: u64,
    /// Lives of certificates.
    pub lives: Lives,
    /// `spec.update.drainTimeout` in seconds.
    pub drain_max_seconds: i64,
}

/// `spec.tls` in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Of the CA.
    pub ca_seconds: i64,
    /// Of the certificates that it issues.
    pub leaf_seconds: i64,
    /// How long before its end one is renewed; a third of its life without it.
    pub renew_before_seconds: Option<i64>,
}

impl ValidCluster {
    /// Checks everything that the building of objects relies on.
    pub fn new(cluster: &LogCluster) -> Result<Self, Refused> {
        let LogCluster {
            metadata,
            spec,
            status,
        } = cluster;
        let name = given(metadata.name.as_ref(), "metadata.name")?;
        check_name(&name)?;
        check_counts(spec)?;
        check_sizes(spec)?;
        check_pods(spec)?;
        let bootstrapped = status.as_ref().is_some_and(|s| s.bootstrapped);
        // A cluster is not made without what it was to have. One that serves is not left alone for
        // it: its certificates would end.
        let not_there = refuse_what_is_not_there(spec).err();
        if let Some(refused) = not_there.clone().filter(|_| !bootstrapped) {
            return Err(refused);
        }
        let kept = &spec.log.retention;
        Ok(Self {
            name,
            namespace: given(metadata.namespace.as_ref(), "metadata.namespace")?,
            uid: given(metadata.uid.as_ref(), "metadata.uid")?,
            cluster_id: status.as_ref().and_then(|s| s.cluster_id.clone()),
            spec: spec.clone(),
            bootstrapped,
            members_count: status.as_ref().map_or(0, |status| {
                i32::try_from(status.members.len()).unwrap_or(i32::MAX)
            }),
            not_there,
            segment_bytes: bytes("spec.log.segmentSize", &spec.log.segment_size)?,
            retention_bytes: kept
                .size
                .as_ref()
                .map(|size| bytes("spec.log.retention.size", size))
                .transpose()?,
            retention_ms: kept
                .time
                .as_ref()
                .map(|time| seconds("spec.log.retention.time", time))
                .transpose()?
                .map(|seconds| seconds.saturating_mul(1000)),
            disk_bytes: bytes("spec.storage.size", &spec.storage.size)?,
            lives: lives(spec)?,
            drain_max_seconds: seconds("spec.update.drainTimeout", &spec.update.drain_timeout)?,
        })
    }
}

fn given(value: Option<&String>, field: &'static str) -> Result<String, Refused> {
    let value = value.filter(|text| !text.is_empty());
    value.cloned().ok_or(Refused::Missing { field })
}

fn refused(field: &'static str, found: &dyn Display, bound: &dyn Display) -> Refused {
    Refused::Field {
        field,
        found: found.to_string(),
        bound: bound.to_string(),
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let ends = name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_own = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if starts && ends && name.chars().all(is_own) && name.len() <= CLUSTER_NAME_MAX_BYTES {
        return Ok(());
    }
    let bound = format!(
        "a letter, then lower-case letters, digits and '-', at most {CLUSTER_NAME_MAX_BYTES} in all"
    );
    Err(refused("metadata.name", &name, &bound))
}

fn within(field: &'static str, found: i32, max: i32) -> Result<(), Refused> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(refused(field, &found, &format!("1 to {max}")))
}

fn check_counts(spec: &LogClusterSpec) -> Result<(), Refused> {
    within("spec.replicas", spec.replicas, REPLICAS_MAX_COUNT)?;
    within(
        "spec.log.partitions",
        spec.log.partitions,
        PARTITIONS_MAX_COUNT,
    )?;
    if let Some(factor) = spec.log.replication_factor {
        let max = REPLICATION_FACTOR_MAX_COUNT.min(spec.replicas);
        within("spec.log.replicationFactor", factor, max)?;
    }
    Ok(())
}

fn bytes(field: &'static str, size: &ByteSize) -> Result<u64, Refused> {
    size.bytes()
        .map_err(|source| Refused::Quantity { field, source })
}

fn seconds(field: &'static str, period: &Period) -> Result<i64, Refused> {
    let seconds = period
        .seconds()
        .map_err(|source| Refused::Quantity { field, source })?;
    i64::try_from(seconds).map_err(|_| refused(field, &period.0, &"less"))
}

fn lives(spec: &LogClusterSpec) -> Result<Lives, Refused> {
    let tls = &spec.tls;
    let lives = Lives {
        ca_seconds: seconds("spec.tls.caValidity", &tls.ca_validity)?,
        leaf_seconds: seconds("spec.tls.leafValidity", &tls.leaf_validity)?,
        renew_before_seconds: (tls.renew_before.as_ref())
            .map(|period| seconds("spec.tls.renewBefore", period))
            .transpose()?,
    };
    if lives.leaf_seconds >= lives.ca_seconds {
        let bound = "below spec.tls.caValidity";
        return Err(refused(
            "spec.tls.leafValidity",
            &tls.leaf_validity.0,
            &bound,
        ));
    }
    match &tls.renew_before {
        Some(text) if lives.renew_before_seconds >= Some(lives.leaf_seconds) => {
            let bound = "below spec.tls.leafValidity";
            Err(refused("spec.tls.renewBefore", &text.0, &bound))
        }
        _ => Ok(lives),
    }
}

fn check_sizes(spec: &LogClusterSpec) -> Result<(), Refused> {
    let disk = bytes("spec.storage.size", &spec.storage.size)?;
    if disk < DISK_MIN_BYTES {
        let bound = format!("at least {DISK_MIN_BYTES} bytes");
        return Err(refused("spec.storage.size", &spec.storage.size.0, &bound));
    }
    if let Some(grow) = &spec.storage.auto_grow {
        let field = "spec.storage.autoGrow.maxSize";
        if bytes(field, &grow.max_size)? < disk {
            return Err(refused(
                field,
                &grow.max_size.0,
                &"at least spec.storage.size",
            ));
        }
    }
    let segment = bytes("spec.log.segmentSize", &spec.log.segment_size)?;
    if !(SEGMENT_MIN_BYTES..=SEGMENT_MAX_BYTES).contains(&segment) {
        let bound = format!("{SEGMENT_MIN_BYTES} to {SEGMENT_MAX_BYTES} bytes");
        return Err(refused(
            "spec.log.segmentSize",
            &spec.log.segment_size.0,
            &bound,
        ));
    }
    Ok(())
}

/// What a user adds to pods never takes the place of the operator's own: a pod without its labels
/// would be nobody's.
fn check_pods(spec: &LogClusterSpec) -> Result<(), Refused> {
    let pods = &spec.pod_template;
    let own = |key: &&String| OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    if let Some(key) = pods.labels.keys().find(own) {
        return Err(refused(
            "spec.podTemplate.labels",
            key,
            &"the operator's; use another",
        ));
    }
    let of_lograft = |key: &&String| key.starts_with("lograft.io/");
    if let Some(key) = pods.annotations.keys().find(of_lograft) {
        return Err(refused(
            "spec.podTemplate.annotations",
            key,
            &"the operator's; use another",
        ));
    }
    let taken = |name: &str| name.starts_with("LOGRAFT_") || name == "POD_NAME";
    if let Some(env) = pods.env.iter().find(|env| taken(&env.name)) {
        return Err(refused(
            "spec.podTemplate.env",
            &env.name,
            &"the operator's; use another",
        ));
    }
    Ok(())
}

fn refuse_what_is_not_there(spec: &LogClusterSpec) -> Result<(), Refused> {
    let asked = [
        (
            spec.authorization.enabled,
            "spec.authorization.enabled",
            "authorization",
        ),
        (
            spec.listeners.external.is_some(),
            "spec.listeners.external",
            "external listener",
        ),
        (
            spec.log.max_batch_size.is_some(),
            "spec.log.maxBatchSize",
            "bound of its own for batches",
        ),
        (
            spec.observability.otlp_endpoint.is_some(),
            "spec.observability.otlpEndpoint",
            "export of traces",
        ),
        (
            spec.observability.service_monitor,
            "spec.observability.serviceMonitor",
            "ServiceMonitor",
        ),
        (
            spec.tls.mode == TlsMode::CertManager,
            "spec.tls.mode certManager",
            "use of cert-manager",
        ),
    ];
    match asked.into_iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, field, what)) => Err(Refused::NotThere { field, what }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
