//! How far a group has read each partition.

use std::collections::{BTreeMap, BTreeSet};

use lograft_client::group_wire::DescribeGroupReply;
use lograft_client::{Client, ClientError, PartitionOffsets, Reason};

/// A partition: topic name and number.
pub(super) type Place = (String, u32);

/// The progress of a group in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) committed: Option<u64>,
    pub(super) metadata: String,
    pub(super) committed_at_ms: Option<i64>,
    /// Bounds of the log; unset if the topic does not exist any more, or has no leader.
    pub(super) log_start: Option<u64>,
    pub(super) log_end: Option<u64>,
    /// The member that has the partition.
    pub(super) member: Option<String>,
    pub(super) is_revoking: bool,
}

impl Progress {
    /// Records from the committed offset to the end of the log; from the start of the log if
    /// retention has deleted the next ones. Unset without a committed offset.
    pub(super) fn lag(&self) -> Option<u64> {
        let from = self.committed?.max(self.log_start.unwrap_or(0));
        Some(self.log_end?.saturating_sub(from))
    }
}

/// The progress in all partitions that have a committed offset or a member.
pub(super) async fn progress(
    client: &Client,
    group: &DescribeGroupReply,
) -> Result<BTreeMap<Place, Progress>, ClientError> {
    let mut all = of_group(group);
    let topics: BTreeSet<String> = all.keys().map(|(topic, _)| topic.clone()).collect();
    for topic in topics {
        for offsets in log_bounds(client, &topic).await? {
            let place = (topic.clone(), offsets.partition.get());
            if let Some(progress) = all.get_mut(&place) {
                progress.log_start = Some(offsets.log_start_offset.get());
                progress.log_end = Some(offsets.high_watermark.get());
            }
        }
    }
    Ok(all)
}

/// The same without the bounds of the log.
fn of_group(group: &DescribeGroupReply) -> BTreeMap<Place, Progress> {
    let mut all: BTreeMap<Place, Progress> = BTreeMap::new();
    for offset in &group.offsets {
        let progress = all
            .entry((offset.topic.clone(), offset.partition))
            .or_default();
        progress.committed = Some(offset.offset);
        progress.metadata.clone_from(&offset.metadata);
        progress.committed_at_ms = Some(offset.committed_at_ms);
    }
    for member in &group.members {
        for partition in &member.partitions {
            let progress = all
                .entry((partition.topic.clone(), partition.partition))
                .or_default();
            progress.member = Some(member.member_id.clone());
            progress.is_revoking = partition.is_revoking;
        }
    }
    all
}

/// The bounds of a topic's partitions; none if the topic does not exist any more, or the caller may
/// not read it.
async fn log_bounds(client: &Client, topic: &str) -> Result<Vec<PartitionOffsets>, ClientError> {
    match client.list_offsets(topic, &[], None).await {
        Err(error)
            if matches!(
                error.reason(),
                Some(Reason::UnknownTopic | Reason::PermissionDenied)
            ) =>
        {
            Ok(Vec::new())
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_the_records_that_are_still_in_the_log() {
        let progress = |committed, log_start| Progress {
            committed,
            log_start: Some(log_start),
            log_end: Some(100),
            ..Progress::default()
        };
        assert_eq!(progress(Some(60), 0).lag(), Some(40));
        assert_eq!(progress(Some(60), 90).lag(), Some(10));
        assert_eq!(progress(Some(100), 0).lag(), Some(0));
        assert_eq!(progress(None, 0).lag(), None);
        let unknown_end = Progress {
            log_end: None,
            ..progress(Some(60), 0)
        };
        assert_eq!(unknown_end.lag(), None);
    }
}
