//! The nodes that discovery has found, as text and JSON.

use std::fmt::Write as _;
use std::time::Duration;

use lograft_client::admin_wire::{DescribeClusterReply, DiscoveredMember, GossipedNode, Sighting};
use serde::Serialize;

use crate::output::{Cell, Paint, Table, Tone};
use crate::units;

/// JSON of `cluster members`.
#[derive(Debug, Serialize)]
pub(crate) struct MembersJson {
    answered_by: u64,
    members: Vec<MemberJson>,
    errors: Vec<ErrorJson>,
}

#[derive(Debug, Serialize)]
struct MemberJson {
    name: Option<String>,
    sightings: Vec<SightingJson>,
    gossip: Option<GossipJson>,
}

#[derive(Debug, Serialize)]
struct SightingJson {
    source: String,
    addresses: Vec<String>,
    seen_for_ms: u64,
}

#[derive(Debug, Serialize)]
struct GossipJson {
    node_id: Option<u64>,
    incarnation: u64,
    phi_milli: u64,
    reachable: bool,
    ready: bool,
    client_address: String,
    gossip_address: String,
    zone: String,
    version: String,
    feature_level: u32,
    leaders: u32,
    disk_free_bytes: u64,
    disk_total_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ErrorJson {
    source: String,
    text: String,
}

/// Converts the discovered members to JSON.
pub(crate) fn json(cluster: &DescribeClusterReply) -> MembersJson {
    let errors = cluster.discovery_errors.iter().map(|error| ErrorJson {
        source: error.source.clone(),
        text: error.text.clone(),
    });
    MembersJson {
        answered_by: cluster.answered_by,
        members: cluster.discovered.iter().map(member_json).collect(),
        errors: errors.collect(),
    }
}

fn member_json(member: &DiscoveredMember) -> MemberJson {
    let sighting = |sighting: &Sighting| SightingJson {
        source: sighting.source.clone(),
        addresses: sighting.addresses.clone(),
        seen_for_ms: sighting.seen_for_ms,
    };
    MemberJson {
        name: Some(member.name.clone()).filter(|name| !name.is_empty()),
        sightings: member.sightings.iter().map(sighting).collect(),
        gossip: member.gossip.as_ref().map(gossip_json),
    }
}

fn gossip_json(node: &GossipedNode) -> GossipJson {
    let node = node.clone();
    GossipJson {
        node_id: node.node_id,
        incarnation: node.incarnation,
        phi_milli: node.phi_milli,
        reachable: node.reachable,
        ready: node.ready,
        client_address: node.client_address,
        gossip_address: node.gossip_address,
        zone: node.zone,
        version: node.version,
        feature_level: node.feature_level,
        leaders: node.leaders,
        disk_free_bytes: node.disk_free_bytes,
        disk_total_bytes: node.disk_total_bytes,
    }
}

/// Text of `cluster members`: the other nodes as the node that answered sees them.
pub(crate) fn text(cluster: &DescribeClusterReply, paint: Paint) -> String {
    let mut table = Table::new(&[
        "NAME",
        ">ID",
        "STATE",
        ">PHI",
        ">INCARNATION",
        "PEER",
        "ZONE",
        "VERSION",
        "SEEN BY",
    ]);
    for member in &cluster.discovered {
        table.row(row(member));
    }
    let mut out = format!("as seen by node {}\n\n", cluster.answered_by);
    out.push_str(&table.render(paint, 0));
    for error in &cluster.discovery_errors {
        let mark = paint.warn("note");
        let _ = writeln!(out, "{mark}: cannot read {}: {}", error.source, error.text);
    }
    out
}

fn row(member: &DiscoveredMember) -> Vec<Cell> {
    let seen = |sighting: &Sighting| {
        let age = units::elapsed(Duration::from_millis(sighting.seen_for_ms));
        format!("{} ({age})", sighting.source)
    };
    let seen: Vec<String> = member.sightings.iter().map(seen).collect();
    let mut addresses = member
        .sightings
        .iter()
        .flat_map(|sighting| &sighting.addresses);
    let gossip = member.gossip.as_ref();
    let state = gossip.map(|node| match (node.reachable, node.ready) {
        (false, _) => Cell::toned("unreachable", Tone::Bad),
        (true, false) => Cell::toned("not ready", Tone::Warn),
        (true, true) => Cell::toned("ready", Tone::Good),
    });
    vec![
        or_unknown(Some(member.name.clone())),
        or_unknown(
            gossip
                .and_then(|node| node.node_id)
                .map(|id| id.to_string()),
        ),
        state.unwrap_or_else(|| "?".into()),
        or_unknown(gossip.map(|node| phi(node.phi_milli))),
        or_unknown(gossip.map(|node| node.incarnation.to_string())),
        or_unknown(addresses.next().cloned()),
        or_unknown(gossip.map(|node| node.zone.clone())),
        or_unknown(gossip.map(|node| node.version.clone())),
        seen.join(", ").into(),
    ]
}

/// Phi with one decimal place.
fn phi(milli: u64) -> String {
    format!("{}.{}", milli / 1000, milli % 1000 / 100)
}

fn or_unknown(text: Option<String>) -> Cell {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "?".to_owned())
        .into()
}

#[cfg(test)]
mod tests {
    use lograft_client::admin_wire::DiscoveryError;

    use super::*;

    #[test]
    fn members_are_shown_with_state_sources_and_errors() {
        let sighting = |source: &str, address: &str| Sighting {
            source: source.to_owned(),
            addresses: vec![address.to_owned()],
            seen_for_ms: 61_000,
        };
        let cluster = DescribeClusterReply {
            answered_by: 1,
            discovered: vec![
                DiscoveredMember {
                    name: "node-2".to_owned(),
                    sightings: vec![sighting("gossip", "10.0.0.2:9401")],
                    gossip: Some(GossipedNode {
                        node_id: Some(2),
                        incarnation: 3,
                        phi_milli: 9250,
                        version: "0.3.0".to_owned(),
                        ..GossipedNode::default()
                    }),
                },
                DiscoveredMember {
                    sightings: vec![sighting("seeds", "10.0.0.9:9401")],
                    ..DiscoveredMember::default()
                },
            ],
            discovery_errors: vec![DiscoveryError {
                source: "seeds".to_owned(),
                text: "cannot look up x:1".to_owned(),
            }],
            ..DescribeClusterReply::default()
        };
        let text = text(&cluster, Paint::plain());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "as seen by node 1");
        assert!(
            lines[3].starts_with("node-2   2  unreachable  9.2"),
            "{text}"
        );
        assert!(
            lines[3].contains("10.0.0.2:9401  ?     0.3.0    gossip ("),
            "{text}"
        );
        assert!(lines[4].starts_with("?        ?  ?"), "{text}");
        assert_eq!(lines[5], "note: cannot read seeds: cannot look up x:1");
        let json = serde_json::to_value(json(&cluster)).unwrap();
        assert_eq!(json["members"][0]["gossip"]["node_id"], 2);
        assert_eq!(json["members"][1]["name"], serde_json::Value::Null);
    }
}
