//! Sticky: as even as subscriptions allow, and partitions move only if they must.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use super::{Candidate, Division};
use crate::consumer_group::ids::TopicPartition;
use crate::limits::GROUP_DIVISION_VISITS_MAX_COUNT;
use crate::metadata::TopicId;

/// A partition of a topic that moves from one member to another.
#[derive(Clone, Copy)]
struct Hop {
    topic: TopicId,
    giver: usize,
    getter: usize,
}

impl Division<'_> {
    /// Members keep what they were to have before, as far as that is even. The other partitions go
    /// to the members with the fewest.
    pub(super) fn divide_sticky(&self) -> Vec<BTreeSet<TopicPartition>> {
        let mut targets = self.kept();
        let topics = self.candidates.first().map(|first| &first.topics);
        let is_uniform = |candidate: &Candidate<'_>| Some(&candidate.topics) == topics;
        if self.candidates.iter().all(is_uniform) {
            self.release_above_quota(&mut targets);
            self.fill(&mut targets);
        } else {
            self.fill(&mut targets);
            self.even_out(&mut targets);
        }
        targets
    }

    /// The former targets, without partitions that the member does not read any more.
    fn kept(&self) -> Vec<BTreeSet<TopicPartition>> {
        let kept = self.candidates.iter().map(|candidate| {
            let target = candidate.member.target.iter().copied();
            target
                .filter(|p| candidate.topics.contains(&p.topic) && self.has(*p))
                .collect()
        });
        kept.collect()
    }

    /// Whether the partition is one of those to divide.
    fn has(&self, partition: TopicPartition) -> bool {
        let topic = self.topics.get(&partition.topic);
        topic.is_some_and(|topic| partition.partition.get() < topic.partition_count)
    }

    /// Takes from each member what it has above its share, which is the same for all but for the
    /// remainder of the division. Those that have the most keep one more.
    fn release_above_quota(&self, targets: &mut [BTreeSet<TopicPartition>]) {
        let counts = self
            .topics
            .values()
            .map(|topic| topic.partitions().size_hint().0);
        let total: usize = counts.sum();
        let members = targets.len().max(1);
        let (quota, mut remainder) = (total / members, total % members);
        for (target, candidate) in targets.iter_mut().zip(&self.candidates) {
            if target.len() <= quota {
                continue;
            }
            let may_keep = quota + remainder.min(1);
            remainder = remainder.saturating_sub(1);
            let surplus = target.len().saturating_sub(may_keep);
            // The ones that others still have move for nobody.
            let awaited = target.iter().rev().filter(|p| !candidate.reads(**p));
            let read = target.iter().rev().filter(|p| candidate.reads(**p));
            let released: Vec<_> = awaited.chain(read).take(surplus).copied().collect();
            for partition in released {
                target.remove(&partition);
            }
        }
    }

    /// Gives each partition without a member to the one with the fewest of its topic's readers, and
    /// among those to one that has it still. Partitions with the fewest readers are given first.
    fn fill(&self, targets: &mut [BTreeSet<TopicPartition>]) {
        let given: BTreeSet<TopicPartition> = targets.iter().flatten().copied().collect();
        let holders = self.holders();
        let mut loads: Vec<usize> = targets.iter().map(BTreeSet::len).collect();
        let mut topics: Vec<_> = self
            .readers
            .iter()
            .filter_map(|(id, readers)| Some((readers, self.topics.get(id)?)))
            .collect();
        topics.sort_by_key(|(readers, topic)| (readers.len(), topic.id));
        for (readers, topic) in topics {
            for partition in topic.partitions().filter(|p| !given.contains(p)) {
                let holder = holders.get(&partition).copied();
                let rank = |at: &usize| (loads.get(*at).copied(), holder != Some(*at));
                let chosen = readers.iter().copied().min_by_key(rank);
                if let Some(chosen) = chosen
                    && let Some(target) = targets.get_mut(chosen)
                    && let Some(load) = loads.get_mut(chosen)
                {
                    target.insert(partition);
                    *load += 1;
                }
            }
        }
    }

    /// The member that has each partition at present.
    fn holders(&self) -> BTreeMap<TopicPartition, usize> {
        let mut holders = BTreeMap::new();
        for (at, candidate) in self.candidates.iter().enumerate() {
            let member = candidate.member;
            let held = member.assigned.keys().chain(member.revoking.keys());
            holders.extend(held.map(|partition| (*partition, at)));
        }
        holders
    }

    /// Moves partitions from members with more to members with fewer, over members between them if
    /// no topic is read by both, until no such way is left. Then no other division is more even.
    fn even_out(&self, targets: &mut [BTreeSet<TopicPartition>]) {
        let mut visits_left = GROUP_DIVISION_VISITS_MAX_COUNT;
        loop {
            let loads = targets.iter().map(BTreeSet::len);
            let mut by_load: Vec<(usize, usize)> = loads.zip(0..).collect();
            by_load.sort_unstable();
            let least = by_load.first().map_or(0, |(load, _)| *load);
            let above = by_load
                .iter()
                .rev()
                .take_while(|(load, _)| *load >= least + 2);
            let path = above
                .map(|(_, from)| self.path(*from, targets, &mut visits_left))
                .find_map(|path| path);
            match path {
                Some(path) => self.shift(&path, targets),
                None => return,
            }
        }
    }

    /// The shortest way from a member to one that has at least two partitions fewer, its last hop
    /// first. `None` if there is none, or if the visits are used up.
    fn path(
        &self,
        from: usize,
        targets: &[BTreeSet<TopicPartition>],
        visits_left: &mut usize,
    ) -> Option<Vec<Hop>> {
        let load = |at: usize| targets.get(at).map_or(usize::MAX, BTreeSet::len);
        let mut arrivals: Vec<Option<Hop>> = vec![None; targets.len()];
        let mut visited_topics: BTreeSet<TopicId> = BTreeSet::new();
        let mut open = VecDeque::from([from]);
        while let Some(at) = open.pop_front() {
            for topic in held_topics(targets.get(at)?) {
                if !visited_topics.insert(topic) {
                    continue;
                }
                let readers = self.readers.get(&topic).map_or(&[][..], Vec::as_slice);
                *visits_left = visits_left.checked_sub(readers.len())?;
                for reader in readers {
                    let arrival = arrivals.get_mut(*reader)?;
                    if *reader != from && arrival.is_none() {
                        *arrival = Some(Hop {
                            topic,
                            giver: at,
                            getter: *reader,
                        });
                        open.push_back(*reader);
                    }
                }
                let least = readers.iter().copied().min_by_key(|reader| load(*reader))?;
                if load(least).saturating_add(2) <= load(from) {
                    return way_back(from, least, &arrivals);
                }
            }
        }
        None
    }

    /// Moves a partition along each hop of a path.
    fn shift(&self, path: &[Hop], targets: &mut [BTreeSet<TopicPartition>]) {
        for hop in path {
            let Some(candidate) = self.candidates.get(hop.giver) else {
                return;
            };
            let Some(giver) = targets.get_mut(hop.giver) else {
                return;
            };
            let of_topic = || giver.range(TopicPartition::range_of(hop.topic)).rev();
            let awaited = of_topic().find(|p| !candidate.reads(**p));
            let Some(partition) = awaited.or_else(|| of_topic().next()).copied() else {
                return;
            };
            giver.remove(&partition);
            if let Some(getter) = targets.get_mut(hop.getter) {
                getter.insert(partition);
            }
        }
    }
}

/// The topics of these partitions.
fn held_topics(partitions: &BTreeSet<TopicPartition>) -> Vec<TopicId> {
    let mut topics = Vec::new();
    let mut next = partitions.first();
    while let Some(partition) = next {
        topics.push(partition.topic);
        let (_, last) = TopicPartition::range_of(partition.topic).into_inner();
        next = partitions
            .range((Bound::Excluded(last), Bound::Unbounded))
            .next();
    }
    topics
}

/// The hops from `from` to `to`, the last one first, of the hops by which each member was reached.
fn way_back(from: usize, to: usize, arrivals: &[Option<Hop>]) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    let mut at = to;
    while at != from {
        let hop = arrivals.get(at).copied().flatten()?;
        hops.push(hop);
        at = hop.giver;
    }
    Some(hops)
}
