//! Validation of a LogCluster. The API server checks the same with the schema and its rules, but a
//! stored object may be older than they are.

mod certificates;
mod http;
mod rollout;

use std::collections::BTreeMap;

use lograft_crds::limits::{
    CLUSTER_NAME_MAX_BYTES, DEAD_NODE_AFTER_MAX_SECONDS, DEAD_NODE_AFTER_MIN_SECONDS,
    DISK_MIN_BYTES, FINALIZE_AFTER_MAX_SECONDS, GOSSIP_KEY_VALIDITY_MIN_SECONDS,
    PARTITIONS_MAX_COUNT, REPLICAS_MAX_COUNT, REPLICATION_FACTOR_MAX_COUNT, SEGMENT_MAX_BYTES,
    SEGMENT_MIN_BYTES,
};
use lograft_crds::log_cluster::{Seeds, TlsMode};
use lograft_crds::names::{ANNOTATION_RESTART_AT, ANNOTATION_ROTATE_GOSSIP_KEY, OWN_PREFIXES};
use lograft_crds::{LogCluster, LogClusterSpec, LogClusterStatus};

use crate::cluster::authorization::{self, ValidAuthorization};
use crate::cluster::view::{FeatureLevel, StableNodes};
use crate::cluster::windows::Window;
use crate::record_sizes::RecordSizes;
use crate::text::hash_text;
use crate::validation::{ValidationError, bytes, out_of_bounds, required, seconds, within};

pub use rollout::{RolloutRecord, wave_of_annotations};

/// A LogCluster whose fields are within their bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidCluster {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// UID: a later LogCluster with the same name is another cluster.
    pub uid: String,
    /// ID of the cluster, once it has one.
    pub cluster_id: Option<String>,
    /// The spec.
    pub spec: LogClusterSpec,
    /// Ordinal of the pod that is asked to bootstrap the cluster, once it is chosen.
    pub bootstrap_ordinal: Option<i32>,
    /// Whether the cluster was bootstrapped.
    pub bootstrapped: bool,
    /// Hash of the annotation that asks for another gossip key.
    pub gossip_key_request: Option<String>,
    /// `spec.discovery.gossip.keyValidity` in seconds.
    pub gossip_key_seconds: i64,
    /// `spec.recovery.deadNodeAfter` in seconds.
    pub dead_node_after_seconds: i64,
    /// Annotation that asks for a restart of all pods.
    pub restart_at: Option<String>,
    /// Image in the stored status: the last one that was accepted.
    pub image: Option<String>,
    /// Version in the stored status for a spec that names none.
    pub default_version: Option<String>,
    /// Lowest of the versions in the stored status that nodes ran.
    pub lowest_version: Option<String>,
    /// Finalized feature level in the stored status, once a node has reported it.
    pub finalized_level: Option<FeatureLevel>,
    /// Authorization of users.
    pub authorization: ValidAuthorization,
    /// Since when all nodes run one version in good health, as in the stored status.
    pub stable_nodes: Option<StableNodes>,
    /// Number of members in the stored status.
    pub members_count: i32,
    /// Last known zones of the members in the stored status, by name.
    pub zones: BTreeMap<String, String>,
    /// A field of the spec that is not supported, or of authorization that is invalid. A
    /// bootstrapped cluster is reconciled without it. With `certificates_only` any field.
    pub unsupported: Option<ValidationError>,
    /// Whether the spec is invalid and only certificates are renewed.
    pub certificates_only: bool,
    /// `spec.log.segmentSize` in bytes.
    pub segment_bytes: u64,
    /// `spec.log.retention.size` in bytes.
    pub retention_bytes: Option<u64>,
    /// `spec.log.retention.time` in milliseconds.
    pub retention_ms: Option<i64>,
    /// `spec.log.maxBatchSize` and `spec.log.maxRecordSize`.
    pub record_sizes: RecordSizes,
    /// `spec.storage.size` in bytes.
    pub disk_bytes: u64,
    /// Lifetimes of certificates.
    pub certificate_lifetimes: CertificateLifetimes,
    /// `spec.update.drainTimeout` in seconds.
    pub drain_max_seconds: i64,
    /// `spec.update.progressDeadline` in seconds.
    pub progress_max_seconds: i64,
    /// `spec.update.maintenanceWindows`.
    pub windows: Vec<Window>,
    /// Its rollouts.
    pub rollout: RolloutRecord,
}

/// Lifetimes in `spec.tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "names end in their unit")]
pub struct CertificateLifetimes {
    /// Lifetime of the CA.
    pub ca_seconds: i64,
    /// Lifetime of the certificates that it issues.
    pub leaf_seconds: i64,
    /// Time before its end at which a certificate is renewed; a third of its lifetime if none.
    pub renew_before_seconds: Option<i64>,
}

impl ValidCluster {
    /// Checks all fields that plans depend on. It fails on the first invalid one; a retry helps
    /// only after a change of the object.
    pub fn new(cluster: &LogCluster) -> Result<Self, ValidationError> {
        let LogCluster {
            metadata,
            spec,
            status,
        } = cluster;
        let name = required(metadata.name.as_ref(), "metadata.name")?;
        check_name(&name)?;
        check_counts(spec)?;
        check_sizes(spec)?;
        check_pods(spec)?;
        check_discovery(spec)?;
        http::check(spec)?;
        let bootstrapped = status.as_ref().is_some_and(|s| s.bootstrapped);
        // A new cluster is not created without a requested feature. A bootstrapped one is still
        // reconciled: its certificates would expire.
        let unsupported = check_supported(spec).err();
        if let Some(error) = unsupported.clone().filter(|_| !bootstrapped) {
            return Err(error);
        }
        let kept = &spec.log.retention;
        Ok(Self {
            name,
            namespace: required(metadata.namespace.as_ref(), "metadata.namespace")?,
            uid: required(metadata.uid.as_ref(), "metadata.uid")?,
            cluster_id: status.as_ref().and_then(|s| s.cluster_id.clone()),
            spec: spec.clone(),
            bootstrap_ordinal: status.as_ref().and_then(|s| s.bootstrap_ordinal),
            bootstrapped,
            restart_at: annotation(cluster, ANNOTATION_RESTART_AT).cloned(),
            gossip_key_request: annotation(cluster, ANNOTATION_ROTATE_GOSSIP_KEY)
                .map(|text| hash_text(text)),
            gossip_key_seconds: gossip_key_seconds(spec)?,
            dead_node_after_seconds: dead_node_after_seconds(spec)?,
            image: status.as_ref().and_then(|s| s.image.clone()),
            default_version: status.as_ref().and_then(|s| s.default_version.clone()),
            // `from > to` while there are two.
            lowest_version: status.as_ref().and_then(|s| {
                let first = s.version.as_ref()?.split(" > ").next()?;
                Some(first.to_owned())
            }),
            finalized_level: status.as_ref().and_then(finalized_level),
            authorization: ValidAuthorization::new(&spec.authorization, status.as_ref()),
            stable_nodes: status.as_ref().and_then(stable_nodes),
            members_count: status.as_ref().map_or(0, members_count),
            zones: status.as_ref().map_or_else(BTreeMap::new, last_zones),
            unsupported,
            certificates_only: false,
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
            record_sizes: record_sizes(spec)?,
            disk_bytes: bytes("spec.storage.size", &spec.storage.size)?,
            certificate_lifetimes: certificate_lifetimes(spec)?,
            drain_max_seconds: seconds("spec.update.drainTimeout", &spec.update.drain_timeout)?,
            progress_max_seconds: seconds(
                "spec.update.progressDeadline",
                &spec.update.progress_deadline,
            )?,
            windows: rollout::windows(&spec.update.maintenance_windows)?,
            rollout: RolloutRecord::new(cluster)?,
        })
    }
}

fn annotation<'a>(cluster: &'a LogCluster, name: &str) -> Option<&'a String> {
    cluster.metadata.annotations.as_ref()?.get(name)
}

fn members_count(status: &LogClusterStatus) -> i32 {
    i32::try_from(status.members.len()).unwrap_or(i32::MAX)
}

fn last_zones(status: &LogClusterStatus) -> BTreeMap<String, String> {
    let members = status.members.iter();
    members
        .filter_map(|member| Some((member.name.clone(), member.zone.clone()?)))
        .collect()
}

fn finalized_level(status: &LogClusterStatus) -> Option<FeatureLevel> {
    let level = status.feature_level.as_ref()?.finalized;
    Some(FeatureLevel(u32::try_from(level).unwrap_or(0)))
}

fn stable_nodes(status: &LogClusterStatus) -> Option<StableNodes> {
    let level = status.feature_level.as_ref()?;
    Some(StableNodes {
        version: level.stable_version.clone()?,
        since_unix_seconds: level.stable_since.as_ref()?.0.as_second(),
    })
}

fn check_name(name: &str) -> Result<(), ValidationError> {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let ends = name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_own = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if starts && ends && name.chars().all(is_own) && name.len() <= CLUSTER_NAME_MAX_BYTES {
        return Ok(());
    }
    let bound = format!(
        "a lower-case letter followed by lower-case letters, digits and '-', at most \
         {CLUSTER_NAME_MAX_BYTES} characters"
    );
    Err(out_of_bounds("metadata.name", &name, &bound))
}

fn check_counts(spec: &LogClusterSpec) -> Result<(), ValidationError> {
    within("spec.replicas", spec.replicas, REPLICAS_MAX_COUNT)?;
    within(
        "spec.log.partitions",
        spec.log.partitions,
        PARTITIONS_MAX_COUNT,
    )?;
    let after = spec.update.finalize_after_seconds;
    if !(0..=FINALIZE_AFTER_MAX_SECONDS).contains(&after) {
        let bound = format!("between 0 and {FINALIZE_AFTER_MAX_SECONDS}");
        return Err(out_of_bounds(
            "spec.update.finalizeAfterSeconds",
            &after,
            &bound,
        ));
    }
    if let Some(factor) = spec.log.replication_factor {
        let max = REPLICATION_FACTOR_MAX_COUNT.min(spec.replicas);
        within("spec.log.replicationFactor", factor, max)?;
    }
    Ok(())
}

fn certificate_lifetimes(spec: &LogClusterSpec) -> Result<CertificateLifetimes, ValidationError> {
    let tls = &spec.tls;
    let lifetimes = CertificateLifetimes {
        ca_seconds: seconds("spec.tls.caValidity", &tls.ca_validity)?,
        leaf_seconds: seconds("spec.tls.leafValidity", &tls.leaf_validity)?,
        renew_before_seconds: (tls.renew_before.as_ref())
            .map(|period| seconds("spec.tls.renewBefore", period))
            .transpose()?,
    };
    if lifetimes.leaf_seconds >= lifetimes.ca_seconds {
        let bound = "below spec.tls.caValidity";
        return Err(out_of_bounds(
            "spec.tls.leafValidity",
            &tls.leaf_validity.0,
            &bound,
        ));
    }
    match &tls.renew_before {
        Some(text) if lifetimes.renew_before_seconds >= Some(lifetimes.leaf_seconds) => {
            let bound = "below spec.tls.leafValidity";
            Err(out_of_bounds("spec.tls.renewBefore", &text.0, &bound))
        }
        _ => Ok(lifetimes),
    }
}

fn gossip_key_seconds(spec: &LogClusterSpec) -> Result<i64, ValidationError> {
    let field = "spec.discovery.gossip.keyValidity";
    let validity = &spec.discovery.gossip.key_validity;
    let found = seconds(field, validity)?;
    if found < GOSSIP_KEY_VALIDITY_MIN_SECONDS {
        let bound = format!("at least {GOSSIP_KEY_VALIDITY_MIN_SECONDS} s");
        return Err(out_of_bounds(field, &validity.0, &bound));
    }
    Ok(found)
}

fn dead_node_after_seconds(spec: &LogClusterSpec) -> Result<i64, ValidationError> {
    let field = "spec.recovery.deadNodeAfter";
    let after = &spec.recovery.dead_node_after;
    let found = seconds(field, after)?;
    if !(DEAD_NODE_AFTER_MIN_SECONDS..=DEAD_NODE_AFTER_MAX_SECONDS).contains(&found) {
        let bound =
            format!("{DEAD_NODE_AFTER_MIN_SECONDS} to {DEAD_NODE_AFTER_MAX_SECONDS} seconds");
        return Err(out_of_bounds(field, &after.0, &bound));
    }
    Ok(found)
}

/// Without any of the three a node would find nobody.
fn check_discovery(spec: &LogClusterSpec) -> Result<(), ValidationError> {
    let discovery = &spec.discovery;
    if discovery.seeds != Seeds::None || discovery.endpoints || discovery.gossip.enabled {
        return Ok(());
    }
    let bound = "Pods or Service without endpoints and gossip";
    Err(out_of_bounds("spec.discovery.seeds", &"None", &bound))
}

fn check_sizes(spec: &LogClusterSpec) -> Result<(), ValidationError> {
    let disk = bytes("spec.storage.size", &spec.storage.size)?;
    if disk < DISK_MIN_BYTES {
        let bound = format!("at least {DISK_MIN_BYTES} bytes");
        return Err(out_of_bounds(
            "spec.storage.size",
            &spec.storage.size.0,
            &bound,
        ));
    }
    if let Some(grow) = &spec.storage.auto_grow {
        let field = "spec.storage.autoGrow.maxSize";
        if bytes(field, &grow.max_size)? < disk {
            return Err(out_of_bounds(
                field,
                &grow.max_size.0,
                &"at least spec.storage.size",
            ));
        }
    }
    let segment = bytes("spec.log.segmentSize", &spec.log.segment_size)?;
    if !(SEGMENT_MIN_BYTES..=SEGMENT_MAX_BYTES).contains(&segment) {
        let bound = format!("between {SEGMENT_MIN_BYTES} and {SEGMENT_MAX_BYTES} bytes");
        return Err(out_of_bounds(
            "spec.log.segmentSize",
            &spec.log.segment_size.0,
            &bound,
        ));
    }
    record_sizes(spec).map(drop)
}

fn record_sizes(spec: &LogClusterSpec) -> Result<RecordSizes, ValidationError> {
    RecordSizes::new(
        ("spec.log.maxBatchSize", &spec.log.max_batch_size),
        ("spec.log.maxRecordSize", &spec.log.max_record_size),
    )
}

/// User-defined metadata must not replace the operator's own: without its labels a pod would not be
/// found by the StatefulSet and the Services.
fn check_pods(spec: &LogClusterSpec) -> Result<(), ValidationError> {
    let pods = &spec.pod_template;
    let own = |key: &&String| OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
    if let Some(key) = pods.labels.keys().find(own) {
        return Err(out_of_bounds(
            "spec.podTemplate.labels",
            key,
            &"a key that the operator does not use",
        ));
    }
    let of_lograft = |key: &&String| key.starts_with("lograft.io/");
    if let Some(key) = pods.annotations.keys().find(of_lograft) {
        return Err(out_of_bounds(
            "spec.podTemplate.annotations",
            key,
            &"a key that the operator does not use",
        ));
    }
    let taken = |name: &str| name.starts_with("LOGRAFT_") || name == "POD_NAME";
    if let Some(env) = pods.env.iter().find(|env| taken(&env.name)) {
        return Err(out_of_bounds(
            "spec.podTemplate.env",
            &env.name,
            &"a key that the operator does not use",
        ));
    }
    Ok(())
}

fn check_supported(spec: &LogClusterSpec) -> Result<(), ValidationError> {
    authorization::check(spec)?;
    let requested = [
        (
            spec.listeners.external.is_some(),
            "spec.listeners.external",
            "external listener",
        ),
        (
            spec.observability.otlp_endpoint.is_some(),
            "spec.observability.otlpEndpoint",
            "trace export",
        ),
        (
            spec.observability.service_monitor,
            "spec.observability.serviceMonitor",
            "ServiceMonitor",
        ),
        (
            spec.tls.mode == TlsMode::CertManager,
            "spec.tls.mode certManager",
            "certificates from cert-manager",
        ),
    ];
    match requested
        .into_iter()
        .find(|(is_requested, ..)| *is_requested)
    {
        Some((_, field, what)) => Err(ValidationError::Unsupported { field, what }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
