//! The config maps: the configuration of each node, and the addresses of the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use lograft_crds::limits::{BATCH_LEVEL_1_MAX_BYTES, SEEDS_MAX_COUNT};
use lograft_crds::log_cluster::{LogFormat, LostPolicy, Recovery, Seeds};
use lograft_crds::names::{PORT_CLIENT, PORT_GOSSIP, PORT_HEALTH, PORT_HTTP, PORT_PEER};

use super::newer_fields::{self, NEWER_FIELDS};
use super::node_config::{
    Advertise, AuthorizationConfig, DiscoveryConfig, EndpointsConfig, GossipConfig, HttpConfig,
    Listen, LogConfig, NodeConfig, RecoveryConfig, RestartConfig, StorageConfig, TlsFiles,
    TopicDefaults,
};
use super::{BuildError, BuildInput};
use crate::cluster::gossip_keys::GOSSIP_KEYS_FIELD;
use crate::cluster::view::FeatureLevel;

/// The level from which on nodes know record batches above `BATCH_LEVEL_1_MAX_BYTES`.
const LARGE_BATCHES_LEVEL: FeatureLevel = FeatureLevel(2);

/// Mount path of the disk.
pub(super) const DISK_PATH: &str = "/var/lib/lograft";
/// Mount path of the configurations, one file per pod, `<pod>.yaml`.
pub(super) const CONFIG_PATH: &str = "/etc/lograft/config";
/// Mount path of the certificates: `<pod>.crt`, `<pod>.key`, `ca.crt`.
pub(super) const TLS_PATH: &str = "/etc/lograft/tls";

/// Mount path of the gossip keys.
pub(super) const GOSSIP_PATH: &str = "/etc/lograft/gossip";

/// The configuration of each node, in the field `<pod>.yaml`.
pub(super) fn nodes(input: &BuildInput<'_>) -> Result<ConfigMap, BuildError> {
    let finalized = input.lowest_level();
    let mut data = BTreeMap::new();
    for ordinal in 0..input.pods {
        let pod = input.names().pod(ordinal);
        let text = newer_fields::text(&node(input, ordinal), finalized, NEWER_FIELDS);
        let text = text.map_err(|source| BuildError::Config {
            pod: pod.clone(),
            source,
        })?;
        data.insert(format!("{pod}.yaml"), text);
    }
    Ok(ConfigMap {
        metadata: input.metadata(input.names().config()),
        data: Some(data),
        ..ConfigMap::default()
    })
}

/// The addresses of the cluster, one per line, and its ID once it has one.
pub(super) fn peers(input: &BuildInput<'_>) -> ConfigMap {
    let addresses = |port| {
        let lines = (0..input.pods).map(|ordinal| address(input, ordinal, port) + "\n");
        lines.collect::<String>()
    };
    let mut data = BTreeMap::from([
        ("client-addresses".to_owned(), addresses(PORT_CLIENT)),
        ("peer-addresses".to_owned(), addresses(PORT_PEER)),
    ]);
    if let Some(id) = &input.cluster.cluster_id {
        data.insert("cluster-id".to_owned(), id.clone());
    }
    ConfigMap {
        metadata: input.metadata(input.names().peers()),
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// The part of the configuration that takes effect by a restart.
fn restart_config(input: &BuildInput<'_>) -> RestartConfig {
    let spec = &input.cluster.spec;
    let listen = |port: i32| format!("0.0.0.0:{port}");
    RestartConfig {
        // Not the root of the disk: a file system may have a lost+found directory there.
        data_dir: format!("{DISK_PATH}/node"),
        listen: Listen {
            client: listen(PORT_CLIENT),
            peer: listen(PORT_PEER),
            health: listen(PORT_HEALTH),
            http: input.serves_http().then(|| listen(PORT_HTTP)),
        },
        storage: StorageConfig {
            segment_max_bytes: input.cluster.segment_bytes,
        },
        log: LogConfig {
            level: spec.observability.log_level.clone(),
            format: match spec.observability.log_format {
                LogFormat::Json => "json",
                LogFormat::Text => "text",
            },
        },
        discovery: discovery(input),
        http: http(input),
    }
}

/// The same part as it is written: without fields that the cluster cannot have yet. Fails if it
/// cannot be encoded.
pub(super) fn written_restart_config(
    input: &BuildInput<'_>,
) -> Result<serde_yaml::Value, serde_yaml::Error> {
    let finalized = input.lowest_level();
    newer_fields::written(&restart_config(input), finalized, NEWER_FIELDS)
}

fn node(input: &BuildInput<'_>, ordinal: i32) -> NodeConfig {
    let pod = input.names().pod(ordinal);
    NodeConfig {
        zone: input
            .observed
            .zone(input.cluster, ordinal)
            .cloned()
            .unwrap_or_default(),
        advertise: Advertise {
            client: address(input, ordinal, PORT_CLIENT),
            peer: address(input, ordinal, PORT_PEER),
        },
        tls: TlsFiles {
            cert: format!("{TLS_PATH}/{pod}.crt"),
            key: format!("{TLS_PATH}/{pod}.key"),
            ca: format!("{TLS_PATH}/ca.crt"),
        },
        seeds: seeds(input, ordinal),
        topics: topics(input),
        authorization: AuthorizationConfig {
            mode: input.cluster.authorization.mode.name(),
            super_users: input.cluster.authorization.super_users.clone(),
        },
        recovery: recovery(input),
        restart: restart_config(input),
        name: pod,
    }
}

fn seeds(input: &BuildInput<'_>, ordinal: i32) -> Vec<String> {
    match input.cluster.spec.discovery.seeds {
        Seeds::Pods => {
            let seeds = (0..input.pods.min(SEEDS_MAX_COUNT)).filter(|seed| *seed != ordinal);
            seeds.map(|seed| address(input, seed, PORT_PEER)).collect()
        }
        Seeds::Service => vec![service_address(input, PORT_PEER)],
        Seeds::None => Vec::new(),
    }
}

/// Gossip starts from all pods, also those that are not ready.
fn discovery(input: &BuildInput<'_>) -> Option<DiscoveryConfig> {
    let spec = &input.cluster.spec.discovery;
    let gossip = spec.gossip.enabled.then(|| GossipConfig {
        listen: format!("0.0.0.0:{PORT_GOSSIP}"),
        key_file: format!("{GOSSIP_PATH}/{GOSSIP_KEYS_FIELD}"),
        seeds: vec![service_address(input, PORT_GOSSIP)],
    });
    let endpoints = spec.endpoints.then(|| EndpointsConfig {
        namespace: input.cluster.namespace.clone(),
        service: input.names().nodes_service(),
    });
    let is_any = gossip.is_some() || endpoints.is_some();
    is_any.then_some(DiscoveryConfig { gossip, endpoints })
}

/// The default of the nodes is that of the spec: the section is left out then.
fn recovery(input: &BuildInput<'_>) -> Option<RecoveryConfig> {
    let spec = &input.cluster.spec.recovery;
    let is_default = |it: &Recovery| {
        let default = Recovery::default();
        it.dead_nodes == default.dead_nodes && it.dead_node_after == default.dead_node_after
    };
    let dead_node_after_ms = match spec.dead_nodes {
        LostPolicy::Replace => input.cluster.dead_node_after_seconds.saturating_mul(1000),
        LostPolicy::Keep => 0,
    };
    (!is_default(spec)).then_some(RecoveryConfig { dead_node_after_ms })
}

/// Without origins the section is left out: it has its defaults then.
fn http(input: &BuildInput<'_>) -> Option<HttpConfig> {
    let listener = input.cluster.spec.listeners.http.as_ref();
    let listener = listener.filter(|_| input.serves_http())?;
    let allowed_origins = listener.cors_allowed_origins.clone();
    (!allowed_origins.is_empty()).then_some(HttpConfig { allowed_origins })
}

fn service_address(input: &BuildInput<'_>, port: i32) -> String {
    let service = input.names().nodes_service();
    format!("{service}.{}.svc:{port}", input.cluster.namespace)
}

fn topics(input: &BuildInput<'_>) -> TopicDefaults {
    let log = &input.cluster.spec.log;
    let sizes = input.cluster.record_sizes;
    // A node of level 1 refuses a configuration with a larger value, and could not use it.
    let knows_large = input.lowest_level() >= LARGE_BATCHES_LEVEL;
    let fits = |bytes: &u64| knows_large || *bytes <= BATCH_LEVEL_1_MAX_BYTES;
    TopicDefaults {
        partitions: log.partitions,
        replication_factor: log.replication_factor,
        retention_bytes: input.cluster.retention_bytes,
        retention_ms: input.cluster.retention_ms,
        batch_max_bytes: sizes.batch_max_bytes.filter(fits),
        record_max_bytes: sizes.record_max_bytes,
    }
}

fn address(input: &BuildInput<'_>, ordinal: i32, port: i32) -> String {
    let host = input.names().pod_host(ordinal, &input.cluster.namespace);
    format!("{host}:{port}")
}
