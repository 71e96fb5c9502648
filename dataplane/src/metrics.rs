//! The metrics of a node for Prometheus: names `lograft_*`, base units, few labels.
//!
//! Counters and histograms are updated where things happen; current values (roles,
//! offsets, free disk) is asked of a [`Sampler`] when somebody scrapes.

use std::sync::{Arc, OnceLock};

use lograft_core::FeatureLevel;
use lograft_core::check::{CheckName, CheckScope, NodeChecks};
use lograft_core::limits::METRICS_PARTITIONS_MAX_COUNT;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub mod connections;
pub mod disk;
mod gossip;
pub mod groups;
pub mod http;
mod lost_nodes;
mod process;
pub mod reads;
pub mod sample;
pub mod storage;

use connections::ConnectionMetrics;
use gossip::GossipMetrics;
use groups::GroupMetrics;
use http::HttpMetrics;
use lost_nodes::LostNodeMetrics;
use reads::ReadMetrics;
pub use sample::{MemberCounts, PartitionSample, Sample, Sampler};
use storage::StorageMetrics;

/// Seconds, from a tenth of a millisecond to ten seconds.
const LATENCY_BUCKETS_S: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// A metric that cannot be made or registered: a mistake in this file.
#[derive(Debug, thiserror::Error)]
#[error("cannot register the metrics")]
pub struct MetricsError(#[from] prometheus::Error);

/// All of a node's metrics.
pub struct Metrics {
    registry: Registry,
    sampler: OnceLock<Arc<dyn Sampler>>,
    sampled: Sampled,
    /// Connections to the gRPC ports.
    pub connections: ConnectionMetrics,
    /// Requests over HTTP.
    pub http: HttpMetrics,
    /// Attempts to connect to a peer, by result.
    pub peer_connects: IntCounterVec,
    /// Produce requests, by result: `OK` or the reason.
    pub produce_requests: IntCounterVec,
    /// Records acknowledged.
    pub produce_records: IntCounter,
    /// Batch bytes acknowledged.
    pub produce_bytes: IntCounter,
    /// From a batch's arrival to its acknowledgement, seconds.
    pub produce_seconds: Histogram,
    /// Fetch requests and consume streams, by result: `OK` or the reason.
    pub fetch_requests: IntCounterVec,
    /// Batch bytes read for consumers.
    pub fetch_bytes: IntCounter,
    /// Records read for consumers, whole batches counted.
    pub fetch_records: IntCounter,
    /// Reads by replica.
    pub reads: ReadMetrics,
    /// Consumer groups.
    pub groups: GroupMetrics,
    /// Bytes of replies that clients have not taken yet.
    pub replies_held_bytes: IntGauge,
    /// Requests forwarded to a leader, by result: `OK` or the reason.
    pub forwards: IntCounterVec,
    /// Requests that the authorization rules refuse, by result: `refused`, or `reported` if they
    /// were executed.
    pub authorization_refusals: IntCounterVec,
    /// Writes to and reads from the disk.
    pub storage: StorageMetrics,
}

struct Sampled {
    finalized_level: IntGauge,
    replicas_fenced: IntGauge,
    lost: LostNodeMetrics,
    recoveries: RecoveryGauges,
    replicas: IntGaugeVec,
    term: IntGaugeVec,
    leads: IntGaugeVec,
    high_watermark: IntGaugeVec,
    log_start: IntGaugeVec,
    bytes: IntGaugeVec,
    lag: IntGaugeVec,
    disk_free: IntGauge,
    disk_total: IntGauge,
    disk_low: IntGauge,
    checks: IntGaugeVec,
    gossip: GossipMetrics,
    certificate_expiry: Gauge,
    process: ProcessGauges,
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let r = &registry;
        register_build_info(r)?;
        Ok(Self {
            connections: ConnectionMetrics::new(r)?,
            http: HttpMetrics::new(r)?,
            peer_connects: counters(
                r,
                "lograft_peer_connects_total",
                "Attempts to connect to a peer.",
                "result",
            )?,
            produce_requests: counters(
                r,
                "lograft_produce_requests_total",
                "Produce requests.",
                "result",
            )?,
            produce_records: counter(r, "lograft_produce_records_total", "Records acknowledged.")?,
            produce_bytes: counter(r, "lograft_produce_bytes_total", "Bytes acknowledged.")?,
            produce_seconds: histogram(
                r,
                "lograft_produce_duration_seconds",
                "Time from the arrival of a batch to its acknowledgement.",
            )?,
            fetch_requests: counters(
                r,
                "lograft_fetch_requests_total",
                "Fetch requests and consume streams.",
                "result",
            )?,
            fetch_bytes: counter(r, "lograft_fetch_bytes_total", "Bytes read for consumers.")?,
            fetch_records: counter(r, "lograft_fetch_records_total", "Records consumed.")?,
            reads: ReadMetrics::new(r)?,
            groups: GroupMetrics::new(r)?,
            replies_held_bytes: gauge(
                r,
                "lograft_replies_held_bytes",
                "Bytes of replies that clients have not taken yet.",
            )?,
            forwards: counters(
                r,
                "lograft_forwarded_requests_total",
                "Requests forwarded to a leader.",
                "result",
            )?,
            authorization_refusals: counters(
                r,
                "lograft_authorization_refusals_total",
                "Requests that the authorization rules refuse, executed ones included.",
                "result",
            )?,
            storage: StorageMetrics::new(r)?,
            sampled: Sampled::new(r)?,
            sampler: OnceLock::new(),
            registry,
        })
    }

    /// Sets the source of current values; only the first call has an effect.
    pub fn set_sampler(&self, sampler: Arc<dyn Sampler>) {
        // A second sampler is a second node in one registry: the first stays.
        let _ = self.sampler.set(sampler);
    }

    /// Everything, in Prometheus's text format.
    pub fn encode(&self) -> Result<String, MetricsError> {
        if let Some(sampler) = self.sampler.get() {
            self.sampled.take(&sampler.sample());
        }
        self.sampled.take_process();
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

/// The version of this program, as labels of a gauge that is always 1.
fn register_build_info(registry: &Registry) -> Result<(), MetricsError> {
    let info = gauges(
        registry,
        "lograft_build_info",
        "Version of the program, and the newest feature level that it knows; always 1.",
        &["version", "feature_level"],
    )?;
    let level = FeatureLevel::CURRENT.to_string();
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), level.as_str()])
        .set(1);
    Ok(())
}

fn gauges(
    registry: &Registry,
    name: &str,
    text: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, MetricsError> {
    let made = IntGaugeVec::new(Opts::new(name, text), labels)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn gauge(registry: &Registry, name: &str, text: &str) -> Result<IntGauge, MetricsError> {
    let made = IntGauge::new(name, text)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn counter(registry: &Registry, name: &str, text: &str) -> Result<IntCounter, MetricsError> {
    let made = IntCounter::new(name, text)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn counters(
    registry: &Registry,
    name: &str,
    text: &str,
    label: &str,
) -> Result<IntCounterVec, MetricsError> {
    let made = IntCounterVec::new(Opts::new(name, text), &[label])?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn histogram(registry: &Registry, name: &str, text: &str) -> Result<Histogram, MetricsError> {
    let options = HistogramOpts::new(name, text).buckets(LATENCY_BUCKETS_S.to_vec());
    let made = Histogram::with_opts(options)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn float_gauge(registry: &Registry, name: &str, text: &str) -> Result<Gauge, MetricsError> {
    let made = Gauge::new(name, text)?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

/// Recoveries of groups that lost their majority.
struct RecoveryGauges {
    refused: IntGauge,
    recovered: IntGauge,
}

impl RecoveryGauges {
    fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            refused: gauge(
                r,
                "lograft_recovery_epoch_refused",
                "Raft requests that were refused for another recovery epoch since the start.",
            )?,
            recovered: gauge(
                r,
                "lograft_groups_recovered",
                "Replicas of groups that were recovered after the loss of their majority.",
            )?,
        })
    }
}

/// The process of the node.
struct ProcessGauges {
    resident: Gauge,
    cpu: Gauge,
}

impl ProcessGauges {
    fn new(r: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            resident: float_gauge(
                r,
                "lograft_process_resident_memory_bytes",
                "Resident memory of the process.",
            )?,
            cpu: float_gauge(
                r,
                "lograft_process_cpu_seconds_total",
                "User and system CPU time of the process.",
            )?,
        })
    }
}

impl Sampled {
    fn new(r: &Registry) -> Result<Self, MetricsError> {
        let at = &["topic", "partition"];
        Ok(Self {
            finalized_level: gauge(
                r,
                "lograft_finalized_feature_level",
                "Feature level that the cluster has finalized, as this node knows it.",
            )?,
            replicas_fenced: gauge(
                r,
                "lograft_replicas_fenced",
                "Replicas that do not vote because the disk is older than their votes.",
            )?,
            lost: LostNodeMetrics::new(r)?,
            recoveries: RecoveryGauges::new(r)?,
            replicas: gauges(r, "lograft_replicas", "Replicas on this node.", &["role"])?,
            term: gauges(r, "lograft_raft_term", "Raft term of a replica.", at)?,
            leads: gauges(r, "lograft_raft_leads", "1 if this node leads, else 0.", at)?,
            high_watermark: gauges(
                r,
                "lograft_partition_high_watermark",
                "Offset below which records are committed.",
                at,
            )?,
            log_start: gauges(
                r,
                "lograft_partition_log_start_offset",
                "Oldest offset of the log.",
                at,
            )?,
            bytes: gauges(
                r,
                "lograft_partition_bytes",
                "Bytes on this node's disk.",
                at,
            )?,
            lag: gauges(
                r,
                "lograft_partition_follower_lag_entries",
                "Entries that the slowest follower is behind; on the leader.",
                at,
            )?,
            disk_free: gauge(r, "lograft_disk_free_bytes", "Free space on the data disk.")?,
            disk_total: gauge(r, "lograft_disk_total_bytes", "Size of the data disk.")?,
            disk_low: gauge(
                r,
                "lograft_disk_low",
                "1 while writes are refused because the disk is nearly full.",
            )?,
            checks: gauges(
                r,
                "lograft_check",
                "1 while the check is raised, else 0. Those of topics and of nodes without replicas are the same on all nodes.",
                &["name", "severity"],
            )?,
            gossip: GossipMetrics::new(r)?,
            certificate_expiry: float_gauge(
                r,
                "lograft_certificate_expiry_timestamp_seconds",
                "Expiry of the node's certificate, since the Unix epoch.",
            )?,
            process: ProcessGauges::new(r)?,
        })
    }

    fn take(&self, sample: &Sample) {
        let roles = [
            ("leader", sample.leaders_count),
            ("follower", sample.followers_count),
            ("learner", sample.learners_count),
            ("corrupt", sample.corrupt_count),
        ];
        for (role, count) in roles {
            self.replicas
                .with_label_values(&[role])
                .set(int(count as u64));
        }
        // Otherwise a partition that has left this node would be shown indefinitely.
        for by_partition in [
            &self.term,
            &self.leads,
            &self.high_watermark,
            &self.log_start,
            &self.bytes,
            &self.lag,
        ] {
            by_partition.reset();
        }
        for partition in sample.partitions.iter().take(METRICS_PARTITIONS_MAX_COUNT) {
            self.take_partition(partition);
        }
        self.replicas_fenced.set(int(sample.fenced_count as u64));
        self.lost.take(sample);
        let RecoveryGauges { refused, recovered } = &self.recoveries;
        refused.set(int(sample.other_epoch_count));
        recovered.set(int(sample.recovered_count as u64));
        self.finalized_level
            .set(i64::from(sample.finalized_level.get()));
        self.disk_free.set(int(sample.disk_free_bytes));
        self.disk_total.set(int(sample.disk_total_bytes));
        self.disk_low.set(i64::from(sample.disk_low));
        self.take_checks(&sample.checks);
        if let Some(report) = &sample.gossip {
            self.gossip.take(sample.members, report);
        }
        self.certificate_expiry
            .set(seconds(sample.certificate_expiry_s));
    }

    /// Each check that a node can raise, also those that are not raised: an alert on a series that
    /// does not exist never fires.
    fn take_checks(&self, raised: &NodeChecks) {
        for name in CheckName::ALL {
            let info = name.info();
            if info.scope == CheckScope::Cluster {
                continue;
            }
            let is_raised = raised.iter().any(|check| check.name == info.name);
            self.checks
                .with_label_values(&[info.name, info.severity.as_str()])
                .set(is_raised.into());
        }
    }

    fn take_partition(&self, sample: &PartitionSample) {
        let PartitionSample {
            topic,
            partition,
            term,
            leads,
            high_watermark,
            log_start,
            bytes,
            lag_entries,
        } = sample;
        let partition = partition.to_string();
        let at = &[topic.as_str(), partition.as_str()];
        self.term.with_label_values(at).set(int(*term));
        self.leads.with_label_values(at).set(i64::from(*leads));
        self.high_watermark
            .with_label_values(at)
            .set(int(*high_watermark));
        self.log_start.with_label_values(at).set(int(*log_start));
        self.bytes.with_label_values(at).set(int(*bytes));
        if let Some(lag) = lag_entries {
            self.lag.with_label_values(at).set(int(*lag));
        }
    }

    fn take_process(&self) {
        let Some(usage) = process::usage() else {
            return;
        };
        self.process.resident.set(usage.resident_bytes);
        self.process.cpu.set(usage.cpu_s);
    }
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 seconds")]
const fn seconds(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
