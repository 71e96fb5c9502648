//! Where each partition is to be read from, and up to where.

use lograft_core::{Offset, PartitionId};
use lograft_proto::log::v1 as wire;

use super::{ConsumerConfig, StartAt};
use crate::client::reach::{Reach, Retry};
use crate::error::ClientError;

/// A partition and what to read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) partition: PartitionId,
    pub(crate) at: StartAt,
    /// The end (exclusive), where the consumer does not follow.
    pub(crate) end: Option<Offset>,
}

/// Turns `Latest`, times and ends into offsets, once: a stream that is opened again must not begin
/// at a later "latest". A partition that has no leader now begins where it is when it has one.
pub(crate) async fn resolve(
    reach: &Reach,
    config: &ConsumerConfig,
    partitions: &[PartitionId],
) -> Result<Vec<Start>, ClientError> {
    let mut starts: Vec<Start> = partitions
        .iter()
        .map(|&partition| {
            let at = config
                .start_overrides
                .get(&partition)
                .copied()
                .unwrap_or(config.start);
            Start {
                partition,
                at,
                end: None,
            }
        })
        .collect();
    if !config.follow || starts.iter().any(|s| s.at == StartAt::Latest) {
        let reply = offsets(reach, config, partitions, None).await?;
        for start in &mut starts {
            start.resolve(&reply, false, config.follow)?;
        }
    }
    let mut times: Vec<i64> = starts.iter().filter_map(Start::time).collect();
    times.sort_unstable();
    times.dedup();
    for time in times {
        let asked = starts.iter().filter(|s| s.time() == Some(time));
        let partitions: Vec<PartitionId> = asked.map(|s| s.partition).collect();
        let reply = offsets(reach, config, &partitions, Some(time)).await?;
        for start in starts.iter_mut().filter(|s| s.time() == Some(time)) {
            start.resolve(&reply, true, config.follow)?;
        }
    }
    Ok(starts)
}

impl Start {
    const fn time(&self) -> Option<i64> {
        match self.at {
            StartAt::Timestamp(time) => Some(time),
            _ => None,
        }
    }

    /// Takes the partition's bounds in; `with_time` if its own time was asked for.
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
        // A start beyond the end is the node's to refuse: it names the valid range.
        let is_beyond = matches!(self.at, StartAt::Offset(at) if at > high_watermark);
        if !follow && self.end.is_none() && !is_beyond {
            self.end = Some(high_watermark);
        }
        Ok(())
    }
}

async fn offsets(
    reach: &Reach,
    config: &ConsumerConfig,
    partitions: &[PartitionId],
    timestamp_ms: Option<i64>,
) -> Result<wire::ListOffsetsReply, ClientError> {
    let request = wire::ListOffsetsRequest {
        topic: config.topic.clone(),
        partitions: partitions.iter().map(|p| p.get()).collect(),
        timestamp_ms,
        forwarded: false,
    };
    reach
        .call("listing offsets", Retry::Always, |node| {
            let request = request.clone();
            async move { node.log().list_offsets(request).await }
        })
        .await
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

    fn resolved(at: StartAt, with_time: bool, reply: &wire::ListOffsetsReply) -> Start {
        let mut start = Start {
            partition: PartitionId(3),
            at,
            end: None,
        };
        start.resolve(reply, with_time, false).unwrap();
        start
    }

    #[test]
    fn moving_starts_become_offsets() {
        for (at, offset) in [(StartAt::Latest, 50), (StartAt::Earliest, 10)] {
            let start = resolved(at, false, &reply(None));
            assert_eq!(start.at, StartAt::Offset(Offset(offset)));
            assert_eq!(start.end, Some(Offset(50)));
        }
    }

    #[test]
    fn a_time_waits_for_its_own_answer() {
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
    fn a_partition_without_a_leader_waits_and_a_refusal_fails() {
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
        let mut start = Start {
            partition: PartitionId(3),
            at: StartAt::Latest,
            end: None,
        };
        assert!(start.resolve(&failing, false, true).is_err());
    }
}
