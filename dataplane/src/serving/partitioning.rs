//! The partitions of records that arrive without one: by their key as every client chooses it, and
//! without a key all those of a request in one, so that they share a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lograft_core::PartitionId;
use lograft_core::acl::Principal;
use lograft_core::metadata::TopicId;
use lograft_core::partitioner::partition_for_key;

use super::engine::LogEngine;
use super::request::Target;
use crate::error::ApiError;

/// Which partition gets the records without a key of the next request.
#[derive(Debug, Default)]
pub(crate) struct KeylessTurn(AtomicU32);

/// The partitions of a topic, for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicPartitions {
    pub(crate) topic_id: TopicId,
    pub(crate) count: u32,
    /// Maximum size of a batch, bytes.
    pub(crate) batch_max_bytes: usize,
    keyless: u32,
}

impl TopicPartitions {
    /// Those of a topic by this node's metadata. A topic that was just created may not have reached
    /// this node yet: waits a moment for it. Fails with UNKNOWN_TOPIC.
    pub(crate) async fn of(
        engine: &LogEngine,
        (topic, principal): (&str, &Arc<Principal>),
        turn: &KeylessTurn,
    ) -> Result<Self, ApiError> {
        let target = Target {
            topic: topic.to_owned(),
            topic_id: None,
            partition: 0,
            is_forwarded: false,
            principal: Arc::clone(principal),
        };
        engine.locator.group(&target).await?;
        let metadata = engine.locator.meta.load();
        let found = metadata
            .topic(topic)
            .ok_or_else(|| ApiError::unknown_topic(topic))?;
        let count = found.partition_count();
        let sizes = found.settings.size_limits(metadata.finalized_level());
        Ok(Self {
            topic_id: found.id,
            count,
            batch_max_bytes: sizes.batch_max_bytes,
            keyless: turn.0.fetch_add(1, Ordering::Relaxed) % count.max(1),
        })
    }

    /// The partition of a record: the given one, that of the key, or the one for records without.
    pub(crate) fn select(
        &self,
        topic: &str,
        (partition, key): (Option<u32>, Option<&[u8]>),
    ) -> Result<u32, ApiError> {
        match (partition, key) {
            (Some(partition), _) if partition < self.count => Ok(partition),
            (Some(partition), _) => Err(ApiError::unknown_partition(topic, partition, self.count)),
            (None, Some(key)) => {
                let PartitionId(partition) = partition_for_key(key, self.count);
                Ok(partition)
            }
            (None, None) => Ok(self.keyless),
        }
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::Reason;

    use super::*;

    #[test]
    fn partitions_are_chosen_as_clients_choose_them() {
        let partitions = TopicPartitions {
            topic_id: TopicId(1),
            count: 7,
            batch_max_bytes: 1024,
            keyless: 5,
        };
        let select = |partition, key: Option<&str>| {
            partitions.select("t", (partition, key.map(str::as_bytes)))
        };
        assert_eq!(select(Some(6), Some("a")), Ok(6));
        assert_eq!(select(None, None), Ok(5));
        let PartitionId(of_key) = partition_for_key(b"a", 7);
        assert_eq!(select(None, Some("a")), Ok(of_key));
        let refused = select(Some(7), None).unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::UnknownPartition));
    }
}
