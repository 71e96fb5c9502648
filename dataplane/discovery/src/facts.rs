//! The facts that a node gossips about itself.
//!
//! ```text
//! presence u8 | node id, if any | incarnation | peer address | client address | gossip address |
//! zone | version | feature level | ready u8 | leaders | disk free | disk total
//! ```
//!
//! The client address has no host if it is that of the peer address. Numbers are varints, texts a
//! varint length and UTF-8. Fields are only ever added at the end, and a reader ignores those that
//! it does not know.

use std::net::SocketAddr;
use std::sync::Arc;

use lograft_core::limits::{
    GOSSIP_FACTS_MAX_BYTES, NODE_ADDRESS_MAX_BYTES, NODE_NAME_MAX_BYTES, NODE_VERSION_MAX_BYTES,
};
use lograft_core::varint;
use lograft_core::{FeatureLevel, NodeId};

/// The name of a node.
pub type NodeName = Arc<str>;

/// The facts about a node, as the node itself states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The id, once the node is a member of the cluster.
    pub node: Option<NodeId>,
    /// Number of starts of the node on its data directory.
    pub incarnation: u64,
    /// `host:port` of the peer port.
    pub peer_address: Arc<str>,
    /// `host:port` of the client port.
    pub client_address: Arc<str>,
    /// The address of the gossip socket, if the node knows it.
    pub gossip_address: Option<SocketAddr>,
    /// The failure zone; empty if there are none.
    pub zone: Arc<str>,
    /// The version of the program.
    pub version: Arc<str>,
    /// The newest feature level that the node knows.
    pub level: FeatureLevel,
    /// Whether the node serves.
    pub is_ready: bool,
    /// Number of partitions that the node leads.
    pub leaders_count: u32,
    /// Free space of the data disk, in bytes.
    pub disk_free_bytes: u64,
    /// Size of the data disk, in bytes; 0 if it was not measured.
    pub disk_total_bytes: u64,
}

impl Default for NodeFacts {
    fn default() -> Self {
        let empty: Arc<str> = Arc::from("");
        Self {
            node: None,
            incarnation: 0,
            peer_address: Arc::clone(&empty),
            client_address: Arc::clone(&empty),
            gossip_address: None,
            zone: Arc::clone(&empty),
            version: empty,
            level: FeatureLevel::ZERO,
            is_ready: false,
            leaders_count: 0,
            disk_free_bytes: 0,
            disk_total_bytes: 0,
        }
    }
}

/// Facts with more bytes than a datagram can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "zone and advertised addresses must be at most {GOSSIP_FACTS_MAX_BYTES} bytes together with \
     the other facts of a node, got {found_bytes} bytes"
)]
pub struct FactsTooLarge {
    /// The encoded size.
    pub found_bytes: usize,
}

impl NodeFacts {
    /// The encoded facts.
    pub fn encode(&self) -> Result<Arc<[u8]>, FactsTooLarge> {
        let mut out = Vec::with_capacity(256);
        out.push(u8::from(self.node.is_some()));
        if let Some(node) = self.node {
            varint::put(&mut out, node.get());
        }
        varint::put(&mut out, self.incarnation);
        let gossip = self.gossip_address.map(|address| address.to_string());
        let texts = [
            &*self.peer_address,
            self.short_client_address(),
            gossip.as_deref().unwrap_or_default(),
            &*self.zone,
            &*self.version,
        ];
        for text in texts {
            put_text(&mut out, text);
        }
        let numbers = [
            u64::from(self.level.get()),
            u64::from(self.is_ready),
            u64::from(self.leaders_count),
            self.disk_free_bytes,
            self.disk_total_bytes,
        ];
        for number in numbers {
            varint::put(&mut out, number);
        }
        if out.len() > GOSSIP_FACTS_MAX_BYTES {
            let found_bytes = out.len();
            return Err(FactsTooLarge { found_bytes });
        }
        Ok(out.into())
    }

    /// The client address, without its host if that is the host of the peer address.
    fn short_client_address(&self) -> &str {
        let (peer, client) = (host(&self.peer_address), host(&self.client_address));
        let port = &self.client_address[client.len()..];
        let is_short = peer == client && port.starts_with(':');
        if is_short { port } else { &self.client_address }
    }

    /// Decodes facts; `None` if they are malformed or a text is longer than any of its kind.
    pub fn decode(mut input: &[u8]) -> Option<Self> {
        let input = &mut input;
        let node = match take_byte(input)? {
            0 => None,
            _ => Some(NodeId(varint::take(input)?)),
        };
        let incarnation = varint::take(input)?;
        let peer_address = take_text(input, NODE_ADDRESS_MAX_BYTES)?;
        let client_address = take_text(input, NODE_ADDRESS_MAX_BYTES)?;
        let client_address: Arc<str> = match client_address.strip_prefix(':') {
            Some(port) => format!("{}:{port}", host(peer_address)).into(),
            None => client_address.into(),
        };
        let gossip = take_text(input, NODE_ADDRESS_MAX_BYTES)?;
        Some(Self {
            node,
            incarnation,
            peer_address: peer_address.into(),
            client_address,
            gossip_address: gossip.parse().ok(),
            zone: take_text(input, NODE_NAME_MAX_BYTES)?.into(),
            version: take_text(input, NODE_VERSION_MAX_BYTES)?.into(),
            level: FeatureLevel(u32::try_from(varint::take(input)?).ok()?),
            is_ready: varint::take(input)? != 0,
            leaders_count: u32::try_from(varint::take(input)?).ok()?,
            disk_free_bytes: varint::take(input)?,
            disk_total_bytes: varint::take(input)?,
        })
    }
}

/// The host of `host:port`.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Appends a text with its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Splits a text off the front of `input`; `None` if it is truncated, longer than `max_bytes`, or
/// has characters that a name or address cannot have: it is shown to people and in log lines.
pub(crate) fn take_text<'a>(input: &mut &'a [u8], max_bytes: usize) -> Option<&'a str> {
    let len = usize::try_from(varint::take(input)?).ok()?;
    if len > max_bytes {
        return None;
    }
    let (text, rest) = input.split_at_checked(len)?;
    *input = rest;
    let text = std::str::from_utf8(text).ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_graphic())
        .then_some(text)
}

/// Splits a byte off the front of `input`.
pub(crate) fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> NodeFacts {
        NodeFacts {
            node: Some(NodeId(3)),
            incarnation: 7,
            peer_address: "node-3.ns.svc:9401".into(),
            client_address: "node-3.ns.svc:9400".into(),
            gossip_address: Some("[fd00::3]:9404".parse().unwrap()),
            zone: "eu-1a".into(),
            version: "0.3.0".into(),
            level: FeatureLevel(2),
            is_ready: true,
            leaders_count: 12,
            disk_free_bytes: 1 << 40,
            disk_total_bytes: 1 << 41,
        }
    }

    #[test]
    fn facts_survive_encoding_and_ignore_fields_of_a_newer_version() {
        for facts in [NodeFacts::default(), facts()] {
            let mut bytes = facts.encode().unwrap().to_vec();
            assert_eq!(NodeFacts::decode(&bytes), Some(facts.clone()));
            bytes.extend([1, 2, 3]);
            assert_eq!(NodeFacts::decode(&bytes), Some(facts));
        }
    }

    #[test]
    fn truncated_facts_and_control_characters_are_refused() {
        let bytes = facts().encode().unwrap();
        for len in 0..bytes.len() {
            assert_eq!(NodeFacts::decode(&bytes[..len]), None, "{len} bytes");
        }
        let zone = "a\nb".into();
        let bytes = NodeFacts { zone, ..facts() }.encode().unwrap();
        assert_eq!(NodeFacts::decode(&bytes), None);
    }

    #[test]
    fn facts_that_no_datagram_can_carry_are_refused_with_the_bound() {
        let peer_address = "a".repeat(GOSSIP_FACTS_MAX_BYTES).into();
        let error = NodeFacts {
            peer_address,
            ..facts()
        }
        .encode()
        .unwrap_err();
        assert!(error.to_string().contains("at most 480 bytes"), "{error}");
    }
}
