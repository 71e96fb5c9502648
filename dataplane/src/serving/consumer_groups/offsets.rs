//! Offsets between clients, who name topics, and the state, which has their ids: a topic that is
//! made again under its name starts without committed offsets.

use lograft_core::consumer_group::{CommittedOffset, TopicPartition};
use lograft_core::limits::OFFSET_METADATA_MAX_BYTES;
use lograft_core::metadata::{Metadata, TopicId};
use lograft_core::{PartitionId, Reason};

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

/// The offsets of these topics, of all that exist if none are named, by topic and partition. Fails
/// with NOT_READY if the metadata lag behind them.
pub(super) fn stored<'a>(
    metadata: &Metadata,
    topics: &[String],
    offsets: impl Iterator<Item = (&'a TopicPartition, &'a CommittedOffset)>,
) -> Result<Vec<StoredOffset>, ApiError> {
    let name_of = |id: TopicId| {
        let named = metadata.topics().find(|topic| topic.id == id)?;
        let is_asked = topics.is_empty() || topics.contains(&named.name);
        is_asked.then(|| named.name.clone())
    };
    let mut last: Option<(TopicId, Option<String>)> = None;
    let mut stored = Vec::new();
    for (at, committed) in offsets {
        // Without it, offsets that are committed would be missing in the answer.
        if at.topic >= metadata.next_ids().topic {
            let text = "this node has not received the metadata of all topics yet";
            return Err(ApiError::new(Reason::NotReady, text));
        }
        // Offsets are sorted by topic.
        let (_, name) = match last.take() {
            Some(known) if known.0 == at.topic => last.insert(known),
            _ => last.insert((at.topic, name_of(at.topic))),
        };
        let Some(name) = name else { continue };
        stored.push(StoredOffset {
            topic: name.clone(),
            topic_id: at.topic,
            partition: at.partition,
            offset: committed.offset,
            metadata: committed.metadata.clone(),
            committed_at_ms: committed.committed_at_ms,
        });
    }
    stored.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(stored)
}
