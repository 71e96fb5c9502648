//! What is settled before a process is started: the cluster's shape, its ports, its files.

use lograft_node::config::{
    AdvertiseConfig, ListenConfig, LogSettings, NodeConfig, RaftSettings, RuntimeSettings,
    StorageSettings, TlsConfig, TopicDefaults,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::DevArgs;
use super::error::DevError;
use super::layout::{DevState, Layout};
use super::pki::Pki;
use super::ports::{self, NodePorts, node_name};

/// Raft's own library tells every step at `info`: too much beside what the node itself says.
const LOG_LEVEL: &str = "info,openraft=warn";
/// Nodes of a new cluster.
const DEFAULT_NODES_COUNT: u32 = 3;

/// A directory that is removed when dropped.
pub(crate) fn make_temporary() -> Result<TempDir, DevError> {
    let made = tempfile::Builder::new().prefix("lograft-dev-").tempdir();
    made.map_err(|source| DevError::Temporary { source })
}

/// What the cluster is to be: as found, grown as asked, or new.
pub(crate) fn plan_state(layout: &Layout, args: &DevArgs) -> Result<DevState, DevError> {
    let found = layout.load_state()?;
    let held = found.as_ref().map(|state| state.numbers().len());
    let held = held.and_then(|held| u32::try_from(held).ok());
    let nodes = args.nodes.or(held).unwrap_or(DEFAULT_NODES_COUNT);
    if let Some(held) = held.filter(|held| nodes < *held) {
        let path = layout.root().to_owned();
        return Err(DevError::FewerNodes {
            asked: nodes,
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
        Some(0) => ports::find_free(&state.numbers())?,
        Some(port) => port,
        None => state.base_port,
    };
    Ok(state)
}

/// Writes one node's configuration, with certificates to go with it.
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
        seeds: others.map(|other| other.peer.to_string()).collect(),
        runtime: RuntimeSettings {
            worker_threads_count: Some(worker_threads(plan.len())),
        },
        storage: StorageSettings::default(),
        raft: RaftSettings::default(),
        topics: TopicDefaults::default(),
        file: None,
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

/// A node's share of the cores.
fn worker_threads(nodes: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / nodes.max(1)).max(1)
}
