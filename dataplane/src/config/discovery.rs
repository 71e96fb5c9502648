//! How the node finds the others: section `discovery` of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use lograft_core::limits::SEEDS_MAX_COUNT;
use serde::{Deserialize, Serialize};

use super::{ConfigError, check_address, field, within};

/// How the node finds the others, beside the seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverySettings {
    /// Gossip; off if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gossip: Option<GossipSettings>,
}

/// Gossip: encrypted datagrams between the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipSettings {
    /// The UDP address to listen on; port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The keys: one or two lines of 64 hexadecimal digits. The first one sends, both are
    /// accepted. Read again when it changes.
    pub key_file: PathBuf,
    /// UDP addresses, `host:port`, to start from. Without any: the hosts of the seeds, with the
    /// port of `listen`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<String>,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 9404))
}

impl DiscoverySettings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Some(GossipSettings {
            listen: _,
            key_file,
            seeds,
        }) = &self.gossip
        else {
            return Ok(());
        };
        if key_file.as_os_str().is_empty() {
            let bound = "a file".to_owned();
            return Err(field("discovery.gossip.key_file", &"empty", bound));
        }
        let name = "discovery.gossip.seeds";
        within(name, seeds.len(), 0, SEEDS_MAX_COUNT, "addresses")?;
        seeds.iter().try_for_each(|seed| check_address(name, seed))
    }
}

impl GossipSettings {
    /// The addresses to start from, if the node's other seeds are these.
    pub(crate) fn seeds(&self, peer_seeds: &[String]) -> Vec<String> {
        if !self.seeds.is_empty() {
            return self.seeds.clone();
        }
        let port = self.listen.port();
        if port == 0 {
            return Vec::new();
        }
        let hosts = peer_seeds.iter().filter_map(|seed| seed.rsplit_once(':'));
        hosts.map(|(host, _)| format!("{host}:{port}")).collect()
    }
}
