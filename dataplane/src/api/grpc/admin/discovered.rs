//! The nodes that discovery has found, as messages.

use lograft_discovery::{GossipMember, MemberView, MembershipReader, SeenBy};
use lograft_proto::admin::v1 as proto;

/// Adds the membership view to the description of the cluster.
pub(super) fn add(reply: &mut proto::DescribeClusterReply, membership: &MembershipReader) {
    let view = membership.load();
    let members = view.members.iter();
    reply.discovered = members.map(|member| encode(member, membership)).collect();
    let errors = view
        .errors
        .iter()
        .map(|(source, text)| proto::DiscoveryError {
            source: source.name().to_owned(),
            text: text.clone(),
        });
    reply.discovery_errors = errors.collect();
}

fn encode(member: &MemberView, membership: &MembershipReader) -> proto::DiscoveredMember {
    let MemberView { name, seen, gossip } = member;
    let sighting = |seen: &SeenBy| {
        let age = membership.age(seen.since).as_millis();
        proto::Sighting {
            source: seen.source.name().to_owned(),
            addresses: seen.addresses.iter().map(ToString::to_string).collect(),
            seen_for_ms: u64::try_from(age).unwrap_or(u64::MAX),
        }
    };
    proto::DiscoveredMember {
        name: name.as_deref().unwrap_or_default().to_owned(),
        sightings: seen.iter().map(sighting).collect(),
        gossip: gossip.as_ref().map(gossiped),
    }
}

fn gossiped(member: &GossipMember) -> proto::GossipedNode {
    let facts = &member.facts;
    let gossip_address = member.gossip_address.map(|address| address.to_string());
    proto::GossipedNode {
        node_id: facts.node.map(lograft_core::NodeId::get),
        incarnation: facts.incarnation,
        phi_milli: member.phi_milli,
        reachable: member.is_alive,
        ready: facts.is_ready,
        client_address: (*facts.client_address).to_owned(),
        gossip_address: gossip_address.unwrap_or_default(),
        zone: (*facts.zone).to_owned(),
        version: (*facts.version).to_owned(),
        feature_level: facts.level.get(),
        leaders: facts.leaders_count,
        disk_free_bytes: facts.disk_free_bytes,
        disk_total_bytes: facts.disk_total_bytes,
    }
}
