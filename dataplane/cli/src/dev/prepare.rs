//! Preparation before processes are started: number of nodes, ports and configuration files.

use lograft_node::config::{
    AdvertiseConfig, AuthorizationMode, AuthorizationSettings, ConnectionSettings,
    DiscoverySettings, GossipSettings, HttpSettings, ListenConfig, LogSettings, NodeConfig,
    RaftSettings, RecoverySettings, RuntimeSettings, StorageSettings, TlsConfig, TopicDefaults,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::args::DevArgs;
use super::error::DevError;
use super::layout::{DevState, Layout};
use super::pki::{ADMIN, Pki};
use super::ports::{self, NodePorts, node_name};

/// openraft logs every step at `info`, which would hide the messages of the node.
const LOG_LEVEL: &str = "info,openraft=warn";
/// Number of nodes of a new cluster.
const DEFAULT_NODES_COUNT: u32 = 3;

/// Creates a temporary directory that is deleted when dropped.
pub(crate) fn create_temporary() -> Result<TempDir, DevError> {
    let created = tempfile::Builder::new().prefix("lograft-dev-").tempdir();
    created.map_err(|source| DevError::Temporary { source })
}

/// Desired state of the cluster: the existing one, with more nodes if requested, or a new one.
pub(crate) fn plan_state(layout: &Layout, args: &DevArgs) -> Result<DevState, DevError> {
    let found = layout.load_state()?;
    let held = found.as_ref().map(|state| state.node_numbers().len());
    let held = held.and_then(|held| u32::try_from(held).ok());
    let nodes = args.nodes.or(held).unwrap_or(DEFAULT_NODES_COUNT);
    if let Some(held) = held.filter(|held| nodes < *held) {
        let path = layout.root().to_owned();
        return Err(DevError::FewerNodes {
            requested: nodes,
            held,
            path,
        });
    }
    let mut state = found.unwrap_or_else(|| DevState {
        format: 1,
        cluster_id: Uuid::new_v4().to_string(),
        base_port: ports::DEFAULT_BASE_PORT,
        nodes: 0,
        removed: Vec::new(),
        bootstrapped: false,
    });
    state.nodes += nodes - held.unwrap_or(0);
    state.base_port = match args.base_port {
        Some(0) => ports::find_free(&state.node_numbers())?,
        Some(port) => port,
        None => state.base_port,
    };
    Ok(state)
}

/// Writes the configuration and the certificates of a node.
pub(crate) fn write_config(
    layout: &Layout,
    pki: &Pki,
    ports: NodePorts,
    plan: &[NodePorts],
) -> Result<(), DevError> {
    let name = node_name(ports.number);
    let identity = pki.node(&name)?;
    let others = plan.iter().filter(|other| **other != ports);
    let config = NodeConfig {
        name: name.clone(),
        data_dir: layout.node_data(&name),
        zone: String::new(),
        listen: ListenConfig {
            client: ports.client,
            peer: ports.peer,
            health: ports.health,
            http: Some(ports.http),
        },
        advertise: AdvertiseConfig {
            client: Some(ports.client.to_string()),
            peer: Some(ports.peer.to_string()),
        },
        tls: TlsConfig {
            cert: identity.cert,
            key: identity.key,
            ca: pki.ca_cert(),
        },
        connections: ConnectionSettings::default(),
        http: HttpSettings::default(),
        seeds: others.clone().map(|other| other.peer.to_string()).collect(),
        discovery: DiscoverySettings {
            gossip: Some(GossipSettings {
                listen: ports.gossip,
                key_file: pki.gossip_keys()?,
                seeds: others.map(|other| other.gossip.to_string()).collect(),
            }),
            endpoints: None,
        },
        runtime: RuntimeSettings {
            worker_threads_count: Some(worker_threads(plan.len())),
            replicas_max_count: None,
        },
        storage: StorageSettings::default(),
        raft: RaftSettings::default(),
        topics: TopicDefaults::default(),
        authorization: AuthorizationSettings {
            mode: AuthorizationMode::Enforced,
            super_users: vec![format!("user/{ADMIN}")],
            ..AuthorizationSettings::default()
        },
        recovery: RecoverySettings::default(),
        ignore_if_unknown: Vec::new(),
        ignored: Vec::new(),
        file: None,
        is_zone_fixed: false,
        log: LogSettings {
            level: LOG_LEVEL.into(),
            ..LogSettings::default()
        },
    };
    config.check().map_err(|source| DevError::NodeConfig {
        name: name.clone(),
        source,
    })?;
    let text = serde_yaml::to_string(&config).map_err(|source| DevError::Encode {
        name: name.clone(),
        source,
    })?;
    layout.write_config(&name, &text)?;
    Ok(())
}

/// The share of the CPU cores for each node.
fn worker_threads(nodes: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / nodes.max(1)).max(1)
}
