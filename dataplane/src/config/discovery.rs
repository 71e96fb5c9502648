//! How the node finds the others: section `discovery` of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use lograft_core::limits::{KUBERNETES_NAME_MAX_BYTES, SEEDS_MAX_COUNT};
use serde::{Deserialize, Serialize};

use super::{ConfigError, check_address, field, within};

/// How the node finds the others, beside the seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverySettings {
    /// Gossip; off if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gossip: Option<GossipSettings>,
    /// EndpointSlices of Kubernetes; not watched if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointSettings>,
}

/// The Service in Kubernetes whose EndpointSlices have the pods of the cluster. The node itself
/// runs in a pod, named as the node is, with a token that may list and watch them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSettings {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service. The port for the other nodes is named `peer` there.
    pub service: String,
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
        let Self { gossip, endpoints } = self;
        if let Some(gossip) = gossip {
            gossip.check()?;
        }
        endpoints.as_ref().map_or(Ok(()), EndpointSettings::check)
    }
}

impl EndpointSettings {
    fn check(&self) -> Result<(), ConfigError> {
        let Self { namespace, service } = self;
        check_dns_label("discovery.endpoints.namespace", namespace)?;
        check_dns_label("discovery.endpoints.service", service)
    }
}

/// A name that is part of a URL of the API server: nothing else must get there.
fn check_dns_label(name: &'static str, label: &str) -> Result<(), ConfigError> {
    within(name, label.len(), 1, KUBERNETES_NAME_MAX_BYTES, "bytes")?;
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_valid = label.bytes().all(is_part) && !label.starts_with('-') && !label.ends_with('-');
    if is_valid {
        return Ok(());
    }
    let bound = "a name of a-z, 0-9 and '-', without '-' at its ends".to_owned();
    Err(field(name, &format!("{label:?}"), bound))
}

impl GossipSettings {
    fn check(&self) -> Result<(), ConfigError> {
        let Self {
            listen: _,
            key_file,
            seeds,
        } = self;
        if key_file.as_os_str().is_empty() {
            let bound = "a file".to_owned();
            return Err(field("discovery.gossip.key_file", &"empty", bound));
        }
        let name = "discovery.gossip.seeds";
        within(name, seeds.len(), 0, SEEDS_MAX_COUNT, "addresses")?;
        seeds.iter().try_for_each(|seed| check_address(name, seed))
    }

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
