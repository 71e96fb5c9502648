//! Start and end offsets of each partition.

use lograft_core::{Offset, PartitionId};
use lograft_proto::log::v1 as wire;

use super::config::{ConsumerConfig, StartAt};
use crate::cluster::node_pool::NodePool;
use crate::error::ClientError;

/// The range of a partition to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartPosition {
    pub(crate) partition: PartitionId,
    pub(crate) at: StartAt,
    /// End offset (exclusive) of a consumer that does not follow.
    pub(crate) end: Option<Offset>,
}

/// Resolves `Latest`, timestamps and end positions to offsets.
///
/// This happens once, at the start. If each new stream resolved `Latest` again, the records that
/// were written between a failure and the next stream would be skipped. A partition without a
/// leader keeps its symbolic position until a stream resolves it.
pub(crate) async fn resolve(
    pool: &NodePool,
    (config, topic_id): (&ConsumerConfig, Option<u64>),
    partitions: &[PartitionId],
) -> Result<Vec<StartPosition>, ClientError> {
    let topic = (config.topic.as_str(), topic_id);
    let mut starts: Vec<StartPosition> = partitions
        .iter()
        .map(|&partition| {
            let at = config
                .start_overrides
                .get(&partition)
                .copied()
                .unwrap_or(config.start);
            StartPosition {
                partition,
                at,
                end: None,
            }
        })
        .collect();
    if !config.follow || starts.iter().any(|s| s.at == StartAt::Latest) {
        let reply = pool.list_offsets(topic, partitions, None).await?;
        for start in &mut starts {
            start.resolve(&reply, false, config.follow)?;
        }
    }
    let mut times: Vec<i64> = starts.iter().filter_map(StartPosition::time).collect();
    times.sort_unstable();
    times.dedup();
    for time in times {
        let with_time = starts.iter().filter(|s| s.time() == Some(time));
        let partitions: Vec<PartitionId> = with_time.map(|s| s.partition).collect();
        let reply = pool.list_offsets(topic, &partitions, Some(time)).await?;
        for start in starts.iter_mut().filter(|s| s.time() == Some(time)) {
            start.resolve(&reply, true, config.follow)?;
        }
    }
    Ok(starts)
}

impl StartPosition {
    const fn time(&self) -> Option<i64> {
        match self.at {
            StartAt::Timestamp(time) => Some(time),
            _ => None,
        }
    }

    /// Applies the offset bounds of the partition. `with_time` if the request had its timestamp.
    fn resolve(
        &mut self,
        reply: &wire::ListOffsetsReply,
        with_time: bool,
        follow: bool,
    ) -> Result<(), ClientError> {
        let found = reply
            .partitions
            .iter()
            .find(|p| p.partition == self.partition.get());
        let Some(found) = found else { return Ok(()) };
        if let Some(error) = &found.error {
            let error = ClientError::from_wire("", error.clone());
            return if error.is_retryable() {
                Ok(())
            } else {
                Err(error)
            };
        }
        let high_watermark = Offset(found.high_watermark);
        self.at = match self.at {
            StartAt::Latest => StartAt::Offset(high_watermark),
            StartAt::Earliest => StartAt::Offset(Offset(found.log_start_offset)),
            StartAt::Timestamp(_) if with_time => {
                let at = found.offset_at_timestamp.map(Offset);
                StartAt::Offset(at.unwrap_or(high_watermark))
            }
            at @ (StartAt::Timestamp(_) | StartAt::Offset(_)) => at,
        };
        // A start beyond the end is sent as it is: the node rejects it and names the valid range.
        let is_beyond = matches!(self.at, StartAt::Offset(at) if at > high_watermark);
        if !follow && self.end.is_none() && !is_beyond {
            self.end = Some(high_watermark);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::Reason;

    use super::*;

    fn reply(at_time: Option<u64>) -> wire::ListOffsetsReply {
        wire::ListOffsetsReply {
            partitions: vec![wire::PartitionOffsets {
                partition: 3,
                log_start_offset: 10,
                high_watermark: 50,
                offset_at_timestamp: at_time,
                ..wire::PartitionOffsets::default()
            }],
        }
    }

    fn resolved(at: StartAt, with_time: bool, reply: &wire::ListOffsetsReply) -> StartPosition {
        let mut start = StartPosition {
            partition: PartitionId(3),
            at,
            end: None,
        };
        start.resolve(reply, with_time, false).unwrap();
        start
    }

    #[test]
    fn symbolic_starts_are_resolved_to_offsets() {
        for (at, offset) in [(StartAt::Latest, 50), (StartAt::Earliest, 10)] {
            let start = resolved(at, false, &reply(None));
            assert_eq!(start.at, StartAt::Offset(Offset(offset)));
            assert_eq!(start.end, Some(Offset(50)));
        }
    }

    #[test]
    fn a_timestamp_is_resolved_only_by_a_request_with_it() {
        let at = StartAt::Timestamp(7);
        assert_eq!(resolved(at, false, &reply(None)).at, at);
        assert_eq!(
            resolved(at, true, &reply(Some(20))).at,
            StartAt::Offset(Offset(20))
        );
        assert_eq!(
            resolved(at, true, &reply(None)).at,
            StartAt::Offset(Offset(50))
        );
    }

    #[test]
    fn a_partition_without_leader_stays_symbolic_and_other_errors_fail() {
        let mut failing = reply(None);
        let error = |reason: Reason| wire::Error {
            reason: reason.as_str().into(),
            ..wire::Error::default()
        };
        failing.partitions[0].error = Some(error(Reason::NoLeader));
        assert_eq!(
            resolved(StartAt::Latest, false, &failing).at,
            StartAt::Latest
        );
        failing.partitions[0].error = Some(error(Reason::PermissionDenied));
        let mut start = StartPosition {
            partition: PartitionId(3),
            at: StartAt::Latest,
            end: None,
        };
        assert!(start.resolve(&failing, false, true).is_err());
    }
}
