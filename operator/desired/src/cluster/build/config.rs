//! The ConfigMaps: each node's configuration, and the addresses of the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use lograft_crds::limits::SEEDS_MAX_COUNT;
use lograft_crds::log_cluster::LogFormat;
use lograft_crds::names::{PORT_CLIENT, PORT_HEALTH, PORT_PEER};

use super::{BuildError, World};
use super::node_config::{
    Advertise, Listen, LogConfig, NodeConfig, SharedConfig, StorageConfig, TlsFiles, TopicDefaults,
};

/// Where the disk is mounted.
pub(super) const DISK_PATH: &str = "/var/lib/lograft";
/// Where the configurations are mounted, one file per pod, `<pod>.yaml`.
pub(super) const CONFIG_PATH: &str = "/etc/lograft/config";
/// Where certificates are mounted: `<pod>.crt`, `<pod>.key`, `ca.crt`.
pub(super) const TLS_PATH: &str = "/etc/lograft/tls";

/// Each node's configuration, under `<pod>.yaml`.
pub(super) fn nodes(world: &World<'_>) -> Result<ConfigMap, BuildError> {
    let mut data = BTreeMap::new();
    for ordinal in 0..world.pods {
        let pod = world.names().pod(ordinal);
        let text = serde_yaml::to_string(&node(world, ordinal));
        let text = text.map_err(|source| BuildError::Config {
            pod: pod.clone(),
            source,
        })?;
        data.insert(format!("{pod}.yaml"), text);
    }
    Ok(ConfigMap {
        metadata: world.metadata(world.names().config()),
        data: Some(data),
        ..ConfigMap::default()
    })
}

/// The addresses of the cluster, a line each, and its id once it has one.
pub(super) fn peers(world: &World<'_>) -> ConfigMap {
    let addresses = |port| {
        let lines = (0..world.pods).map(|ordinal| address(world, ordinal, port) + "\n");
        lines.collect::<String>()
    };
    let mut data = BTreeMap::from([
        ("client-addresses".to_owned(), addresses(PORT_CLIENT)),
        ("peer-addresses".to_owned(), addresses(PORT_PEER)),
    ]);
    if let Some(id) = &world.cluster.cluster_id {
        data.insert("cluster-id".to_owned(), id.clone());
    }
    ConfigMap {
        metadata: world.metadata(world.names().peers()),
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// What all nodes have alike.
pub(super) fn shared(world: &World<'_>) -> SharedConfig {
    let spec = &world.cluster.spec;
    let listen = |port: i32| format!("0.0.0.0:{port}");
    SharedConfig {
        // Not the disk's root: that may hold a lost+found of root's.
        data_dir: format!("{DISK_PATH}/node"),
        listen: Listen {
            client: listen(PORT_CLIENT),
            peer: listen(PORT_PEER),
            health: listen(PORT_HEALTH),
        },
        storage: StorageConfig {
            segment_max_bytes: world.cluster.segment_bytes,
        },
        log: LogConfig {
            level: spec.observability.log_level.clone(),
            format: match spec.observability.log_format {
                LogFormat::Json => "json",
                LogFormat::Text => "text",
            },
        },
    }
}

fn node(world: &World<'_>, ordinal: i32) -> NodeConfig {
    let pod = world.names().pod(ordinal);
    let seeds = (0..world.pods.min(SEEDS_MAX_COUNT)).filter(|seed| *seed != ordinal);
    NodeConfig {
        zone: world
            .observed
            .zones
            .get(&ordinal)
            .cloned()
            .unwrap_or_default(),
        advertise: Advertise {
            client: address(world, ordinal, PORT_CLIENT),
            peer: address(world, ordinal, PORT_PEER),
        },
        tls: TlsFiles {
            cert: format!("{TLS_PATH}/{pod}.crt"),
            key: format!("{TLS_PATH}/{pod}.key"),
            ca: format!("{TLS_PATH}/ca.crt"),
        },
        seeds: seeds.map(|seed| address(world, seed, PORT_PEER)).collect(),
        topics: topics(world),
        shared: shared(world),
        name: pod,
    }
}

fn topics(world: &World<'_>) -> TopicDefaults {
    let log = &world.cluster.spec.log;
    TopicDefaults {
        partitions: log.partitions,
        replication_factor: log.replication_factor,
        retention_bytes: world.cluster.retention_bytes,
        retention_ms: world.cluster.retention_ms,
    }
}

fn address(world: &World<'_>, ordinal: i32, port: i32) -> String {
    let host = world.names().pod_host(ordinal, &world.cluster.namespace);
    format!("{host}:{port}")
}
