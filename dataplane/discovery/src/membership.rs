//! The membership view: which nodes there are, where, since when, and which source says so.
//!
//! It says where to dial and how well a node is. It never says who votes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::SIGHTINGS_MAX_COUNT;

use crate::facts::NodeName;
use crate::gossip_member::GossipMember;
use crate::source::{Sighting, Sightings, SourceKind};

/// Identifies a node among the sightings of a source: by name, or else by address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Name(NodeName),
    Address(Arc<str>),
}

impl Key {
    fn of(sighting: &Sighting) -> Option<Self> {
        let first = sighting.addresses.first().cloned();
        let name = sighting.name.clone().map(Self::Name);
        first.and_then(|address| name.or(Some(Self::Address(address))))
    }
}

/// A sighting and its age.
#[derive(Clone, Debug)]
struct Seen {
    sighting: Sighting,
    since: Duration,
}

/// The sightings of all sources, merged. Time is an argument.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    sources: BTreeMap<SourceKind, BTreeMap<Key, Seen>>,
    errors: BTreeMap<SourceKind, String>,
}

/// The sighting of a node by one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenBy {
    /// The source.
    pub source: SourceKind,
    /// Peer addresses (`host:port`), the most likely one first.
    pub addresses: Vec<Arc<str>>,
    /// Since when the source sees it without interruption.
    pub since: Duration,
}

/// A node, or an address whose node is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView {
    /// The node's name; `None` if only an address is known.
    pub name: Option<NodeName>,
    /// The sources that see it, in the order in which their addresses are dialed.
    pub seen: Vec<SeenBy>,
    /// What gossip knows of the node.
    pub gossip: Option<GossipMember>,
}

impl MemberView {
    /// The addresses to dial, the most likely one first, without duplicates.
    pub fn addresses(&self) -> Vec<Arc<str>> {
        let mut out: Vec<Arc<str>> = Vec::new();
        for address in self.seen.iter().flat_map(|seen| &seen.addresses) {
            if !out.contains(address) {
                out.push(Arc::clone(address));
            }
        }
        out
    }
}

/// The merged view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MembershipView {
    /// The nodes by name, then the addresses without a known node.
    pub members: Vec<MemberView>,
    /// The sources that cannot be read now, and why.
    pub errors: BTreeMap<SourceKind, String>,
}

impl Membership {
    /// Replaces the sightings of a source. Above the maximum number, the last ones are ignored.
    pub fn update(&mut self, kind: SourceKind, sightings: &Sightings, now: Duration) {
        let former = self.sources.remove(&kind).unwrap_or_default();
        let mut seen = BTreeMap::new();
        for sighting in sightings.items.iter().take(SIGHTINGS_MAX_COUNT) {
            let Some(key) = Key::of(sighting) else {
                continue;
            };
            let since = former.get(&key).map_or(now, |former| former.since);
            let sighting = sighting.clone();
            seen.insert(key, Seen { sighting, since });
        }
        self.sources.insert(kind, seen);
        match &sightings.error {
            Some(error) => self.errors.insert(kind, error.clone()),
            None => self.errors.remove(&kind),
        };
    }

    /// The merged view. An address without a name belongs to the node that another source sees
    /// there.
    pub fn view(&self) -> MembershipView {
        let mut named: BTreeMap<NodeName, MemberView> = BTreeMap::new();
        let mut nameless: BTreeMap<Arc<str>, MemberView> = BTreeMap::new();
        for (source, key, seen) in self.iter() {
            if let Key::Name(name) = key {
                let member = named.entry(Arc::clone(name)).or_insert_with(|| MemberView {
                    name: Some(Arc::clone(name)),
                    seen: Vec::new(),
                    gossip: None,
                });
                member.seen.push(seen_by(source, seen));
                let gossip = seen.sighting.gossip.as_deref().cloned();
                member.gossip = member.gossip.take().or(gossip);
            }
        }
        for (source, key, seen) in self.iter() {
            let Key::Address(address) = key else {
                continue;
            };
            let mut members = named.values_mut();
            let at = members.find(|member| member.addresses().contains(address));
            let member = at.unwrap_or_else(|| {
                nameless.entry(Arc::clone(address)).or_insert(MemberView {
                    name: None,
                    seen: Vec::new(),
                    gossip: None,
                })
            });
            member.seen.push(seen_by(source, seen));
        }
        MembershipView {
            members: named.into_values().chain(nameless.into_values()).collect(),
            errors: self.errors.clone(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (SourceKind, &Key, &Seen)> {
        let sources = self.sources.iter();
        sources.flat_map(|(kind, seen)| seen.iter().map(|(key, seen)| (*kind, key, seen)))
    }
}

fn seen_by(source: SourceKind, seen: &Seen) -> SeenBy {
    SeenBy {
        source,
        addresses: seen.sighting.addresses.clone(),
        since: seen.since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sighting(name: Option<&str>, addresses: &[&str]) -> Sighting {
        Sighting {
            name: name.map(Into::into),
            addresses: addresses.iter().map(|address| (*address).into()).collect(),
            gossip: None,
        }
    }

    fn of(items: Vec<Sighting>) -> Sightings {
        Sightings { items, error: None }
    }

    #[test]
    fn sources_are_merged_by_name_and_then_by_address() {
        let mut membership = Membership::default();
        let gossip = of(vec![sighting(Some("a"), &["10.0.0.1:9401", "a.svc:9401"])]);
        membership.update(SourceKind::Gossip, &gossip, SECOND);
        let seeds = of(vec![
            sighting(None, &["a.svc:9401"]),
            sighting(None, &["10.0.0.2:9401"]),
        ]);
        membership.update(SourceKind::Seeds, &seeds, SECOND * 2);
        let view = membership.view();
        assert_eq!(view.members.len(), 2);
        let [a, other] = &view.members[..] else {
            panic!("{view:?}");
        };
        assert_eq!(a.name.as_deref(), Some("a"));
        let sources: Vec<_> = a.seen.iter().map(|seen| seen.source).collect();
        assert_eq!(sources, [SourceKind::Gossip, SourceKind::Seeds]);
        assert_eq!(a.addresses(), ["10.0.0.1:9401".into(), "a.svc:9401".into()]);
        assert_eq!(other.name, None);
    }

    #[test]
    fn since_counts_from_the_first_of_uninterrupted_sightings() {
        let mut membership = Membership::default();
        let mut seen_since = |addresses: &[&str], now: u32| {
            let items = addresses
                .iter()
                .map(|address| sighting(Some("a"), &[address]));
            membership.update(SourceKind::Gossip, &of(items.collect()), SECOND * now);
            let view = membership.view();
            view.members.first().map(|member| member.seen[0].since)
        };
        assert_eq!(seen_since(&["10.0.0.1:1"], 1), Some(SECOND));
        assert_eq!(seen_since(&["10.0.0.9:1"], 2), Some(SECOND), "it moved");
        assert_eq!(seen_since(&[], 3), None);
        assert_eq!(seen_since(&["10.0.0.9:1"], 4), Some(SECOND * 4));
    }

    #[test]
    fn a_source_is_bounded_and_its_error_is_shown_until_it_is_gone() {
        let mut membership = Membership::default();
        let many = (0..5000).map(|at| sighting(None, &[&format!("10.0.0.1:{at}")]));
        let sightings = Sightings {
            items: many.collect(),
            error: Some("the name server is down".to_owned()),
        };
        membership.update(SourceKind::Seeds, &sightings, SECOND);
        let view = membership.view();
        assert_eq!(view.members.len(), SIGHTINGS_MAX_COUNT);
        assert!(view.errors.contains_key(&SourceKind::Seeds));
        membership.update(SourceKind::Seeds, &of(Vec::new()), SECOND);
        assert_eq!(membership.view(), MembershipView::default());
    }
}
