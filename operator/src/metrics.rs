//! Metrics for Prometheus.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// The operator's metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Reconciles by `outcome`: ok or failed.
    pub(crate) reconciles: IntCounterVec,
    /// Duration of reconciles.
    pub(crate) reconcile_seconds: Histogram,
    /// Writes to the API server by `kind`.
    pub(crate) writes: IntCounterVec,
    /// Failed watches.
    pub(crate) watch_errors: IntCounter,
    /// Clusters that are left to other operators.
    pub(crate) conceded: IntGauge,
    /// Clusters by the state of their rollout: rolling, stuck or waiting.
    pub(crate) rollouts: IntGaugeVec,
    /// 1 while this operator is the leader.
    pub(crate) leads: IntGauge,
    /// Reconciles of LogUsers by `outcome`: ok or failed.
    pub(crate) user_reconciles: IntCounterVec,
    /// Those of LogTopics.
    pub(crate) topics: TopicMetrics,
}

/// Metrics of LogTopics.
#[derive(Clone)]
pub(crate) struct TopicMetrics {
    /// Reconciles by `outcome`: rest (nothing was to be done), ok or failed.
    pub(crate) reconciles: IntCounterVec,
    /// Calls of nodes by `call`: list, create, alter or delete; those for LogUsers are
    /// `list_access`, `change_rules` and `change_revocations`.
    pub(crate) calls: IntCounterVec,
}

impl TopicMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reconciles = IntCounterVec::new(
            Opts::new(
                "lograft_operator_topic_reconciles_total",
                "Reconciles of LogTopics by outcome",
            ),
            &["outcome"],
        )?;
        let calls = IntCounterVec::new(
            Opts::new(
                "lograft_operator_topic_calls_total",
                "Calls of nodes for LogTopics and LogUsers by call",
            ),
            &["call"],
        )?;
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(calls.clone()))?;
        Ok(Self { reconciles, calls })
    }
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reconciles = IntCounterVec::new(
            Opts::new(
                "lograft_operator_reconciles_total",
                "Reconciles of LogClusters by outcome",
            ),
            &["outcome"],
        )?;
        let user_reconciles = IntCounterVec::new(
            Opts::new(
                "lograft_operator_user_reconciles_total",
                "Reconciles of LogUsers by outcome",
            ),
            &["outcome"],
        )?;
        let buckets = vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
        let reconcile_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "lograft_operator_reconcile_duration_seconds",
                "Duration of a reconcile in seconds",
            )
            .buckets(buckets),
        )?;
        let writes = IntCounterVec::new(
            Opts::new(
                "lograft_operator_writes_total",
                "Writes to the API server by kind",
            ),
            &["kind"],
        )?;
        let watch_errors = IntCounter::new(
            "lograft_operator_watch_errors_total",
            "Watches of the API server that failed and were restarted",
        )?;
        let conceded = IntGauge::new(
            "lograft_operator_conceded_clusters",
            "LogClusters in watched namespaces that another operator manages",
        )?;
        let rollouts = IntGaugeVec::new(
            Opts::new(
                "lograft_operator_rollouts",
                "LogClusters by the state of their rollout: rolling, stuck or waiting",
            ),
            &["state"],
        )?;
        let leads = IntGauge::new(
            "lograft_operator_leader",
            "1 while this operator is the leader, else 0",
        )?;
        registry.register(Box::new(reconciles.clone()))?;
        registry.register(Box::new(user_reconciles.clone()))?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(watch_errors.clone()))?;
        registry.register(Box::new(conceded.clone()))?;
        registry.register(Box::new(rollouts.clone()))?;
        registry.register(Box::new(leads.clone()))?;
        Ok(Self {
            topics: TopicMetrics::new(&registry)?,
            user_reconciles,
            registry,
            reconciles,
            reconcile_seconds,
            writes,
            watch_errors,
            conceded,
            rollouts,
            leads,
        })
    }

    /// All metrics in the Prometheus text format.
    pub(crate) fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
