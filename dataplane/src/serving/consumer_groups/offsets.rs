//! Offsets between clients, who name topics, and the state, which has their ids: a topic that is
//! made again under its name starts without committed offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use lograft_core::consumer_group::{CommittedOffset, Group, TopicPartition};
use lograft_core::limits::OFFSET_METADATA_MAX_BYTES;
use lograft_core::metadata::{Metadata, TopicId};
use lograft_core::{PartitionId, Reason};

use super::page::{OFFSET_BYTES, PageRequest, Room};
use super::request::{OffsetToCommit, StoredOffset};
use crate::error::ApiError;

/// The partition of an offset to commit. Fails if there is none, or the offset's text is too long.
pub(super) fn place(
    metadata: &Metadata,
    offset: &OffsetToCommit,
) -> Result<TopicPartition, ApiError> {
    let OffsetToCommit {
        topic: name,
        topic_id,
        partition,
        offset: _,
        metadata: text,
    } = offset;
    if text.len() > OFFSET_METADATA_MAX_BYTES {
        let bound = format_args!(
            "at most {OFFSET_METADATA_MAX_BYTES} bytes, got {}",
            text.len()
        );
        return Err(ApiError::invalid("metadata", bound));
    }
    let topic = metadata.topic_with_id(name, *topic_id)?;
    if *partition >= topic.partition_count() {
        let count = topic.partition_count();
        return Err(ApiError::unknown_partition(name, *partition, count));
    }
    Ok(TopicPartition {
        topic: topic.id,
        partition: PartitionId(*partition),
    })
}

/// A committed offset with its partition.
pub(super) type Row = (TopicPartition, CommittedOffset);

/// A page of a group's offsets, by topic id and partition, and the place of the last one if others
/// follow.
pub(super) fn page(
    group: Option<&Group>,
    topics: Option<&BTreeSet<TopicId>>,
    request: &PageRequest<TopicPartition>,
) -> (Vec<Row>, Option<TopicPartition>) {
    let mut room = Room::new(request.max_count);
    let mut rows: Vec<Row> = Vec::new();
    let start = request.after.map_or(Bound::Unbounded, Bound::Excluded);
    let behind = group.into_iter().flat_map(|group| {
        let offsets = group.offsets();
        offsets.range((start, Bound::Unbounded))
    });
    let is_asked = |at: &TopicPartition| topics.is_none_or(|asked| asked.contains(&at.topic));
    for (at, committed) in behind.filter(|(at, _)| is_asked(at)) {
        if !room.take(OFFSET_BYTES + committed.metadata.len()) {
            let last = rows.last().map(|(at, _)| *at);
            return (rows, last);
        }
        rows.push((*at, committed.clone()));
    }
    (rows, None)
}

/// The ids of these topics, those that exist; `None` if none are named, which means all.
pub(super) fn ids_of(metadata: &Metadata, topics: &[String]) -> Option<BTreeSet<TopicId>> {
    let known = topics.iter().filter_map(|name| metadata.topic(name));
    (!topics.is_empty()).then(|| known.map(|topic| topic.id).collect())
}

/// Offsets with the names of their topics; those of deleted topics are left out. Fails with
/// NOT_READY if the metadata lag behind them.
pub(super) fn named(metadata: &Metadata, rows: Vec<Row>) -> Result<Vec<StoredOffset>, ApiError> {
    let ids: BTreeSet<TopicId> = rows.iter().map(|(at, _)| at.topic).collect();
    // Without it, offsets that are committed would be missing in the answer.
    if ids
        .last()
        .is_some_and(|id| *id >= metadata.next_ids().topic)
    {
        let text = "this node has not received the metadata of all topics yet";
        return Err(ApiError::new(Reason::NotReady, text));
    }
    let topics = metadata.topics().filter(|topic| ids.contains(&topic.id));
    let names: BTreeMap<TopicId, &str> = topics.map(|topic| (topic.id, &*topic.name)).collect();
    let stored = rows.into_iter().filter_map(|(at, committed)| {
        Some(StoredOffset {
            topic: (*names.get(&at.topic)?).to_owned(),
            topic_id: at.topic,
            partition: at.partition,
            offset: committed.offset,
            metadata: committed.metadata,
            committed_at_ms: committed.committed_at_ms,
        })
    });
    Ok(stored.collect())
}

#[cfg(test)]
mod tests {
    use lograft_core::consumer_group::{
        CommitSequence, CoordinatorState, GroupCommand, OffsetCommit,
    };
    use lograft_core::limits::{
        CLIENT_MESSAGE_DEFAULT_BYTES, GROUP_PAGE_MAX_COUNT, TOPIC_NAME_MAX_BYTES,
    };

    use super::*;

    /// A group with the longest texts in these partitions of two topics.
    fn committed(partitions: u32) -> CoordinatorState {
        let mut state = CoordinatorState::default();
        for (topic, partition) in (1..=2).flat_map(|t| (0..partitions).map(move |p| (t, p))) {
            let commits = vec![OffsetCommit {
                group: "g".to_owned(),
                member: None,
                sequence: CommitSequence::NONE,
                partition: TopicPartition {
                    topic: TopicId(topic),
                    partition: PartitionId(partition),
                },
                offset: u64::from(partition),
                metadata: "x".repeat(OFFSET_METADATA_MAX_BYTES),
                committed_at_ms: 0,
            }];
            state.apply(&GroupCommand::Commit { commits }).unwrap();
        }
        state
    }

    fn pages(
        state: &CoordinatorState,
        topics: Option<&BTreeSet<TopicId>>,
        max_count: usize,
    ) -> Vec<Vec<Row>> {
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let request = PageRequest { after, max_count };
            let (rows, next) = page(state.group("g"), topics, &request);
            pages.push(rows);
            if next.is_none() {
                return pages;
            }
            after = next;
        }
    }

    #[test]
    fn pages_have_every_offset_once_and_fit_into_a_message() {
        let state = committed(800);
        let found = pages(&state, None, GROUP_PAGE_MAX_COUNT);
        assert!(found.len() > 2, "{}", found.len());
        for rows in &found {
            let texts = rows.iter().map(|(_, committed)| committed.metadata.len());
            let bytes = texts.sum::<usize>() + rows.len() * (TOPIC_NAME_MAX_BYTES + 64);
            assert!(bytes <= CLIENT_MESSAGE_DEFAULT_BYTES, "{bytes}");
        }
        let all: Vec<_> = found.concat().into_iter().map(|(at, _)| at).collect();
        let stored: Vec<_> = state
            .group("g")
            .unwrap()
            .offsets()
            .keys()
            .copied()
            .collect();
        assert_eq!(all, stored);
    }

    #[test]
    fn pages_have_only_the_topics_that_are_asked_for() {
        let state = committed(5);
        let second = BTreeSet::from([TopicId(2)]);
        let found = pages(&state, Some(&second), 2);
        let sizes: Vec<_> = found.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert!(found.concat().iter().all(|(at, _)| at.topic == TopicId(2)));
        assert_eq!(pages(&state, Some(&BTreeSet::new()), 2), [vec![]]);
        assert_eq!(pages(&CoordinatorState::default(), None, 2), [vec![]]);
    }
}
