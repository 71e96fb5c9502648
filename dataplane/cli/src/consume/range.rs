//! The end of the range to read, and the progress towards it.

use std::collections::BTreeMap;

use lograft_client::{Client, ClientError, Offset, PartitionId, StartAt};

use super::start::parse_start;

/// The position at which reading ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EndAt {
    /// The end of the log when the command starts.
    #[default]
    Now,
    /// This offset (exclusive).
    Offset(Offset),
    /// The first record whose timestamp is at or after this time (exclusive). `--from` with this
    /// time starts at it.
    Timestamp(i64),
}

#[derive(Debug, thiserror::Error)]
#[error("end must be now, an offset, a time (2026-01-31T08:00:00Z) or an age (15m)")]
pub(crate) struct EndError;

/// Parses `now`, an offset, an RFC 3339 time, or a duration before now.
pub(crate) fn parse_end(text: &str) -> Result<EndAt, EndError> {
    if text == "now" {
        return Ok(EndAt::Now);
    }
    match parse_start(text) {
        Ok(StartAt::Offset(offset)) => Ok(EndAt::Offset(offset)),
        Ok(StartAt::Timestamp(time)) => Ok(EndAt::Timestamp(time)),
        Ok(StartAt::Latest) => Ok(EndAt::Now),
        Ok(StartAt::Earliest) | Err(_) => Err(EndError),
    }
}

/// The partitions that are not read to their end yet, with their ends (exclusive).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    ends: BTreeMap<PartitionId, Offset>,
    total_records: u64,
}

impl Range {
    /// The ranges from the positions of a consumer to `end`. Fails like
    /// [`Client::list_offsets`], so a retry may succeed.
    pub(crate) async fn resolve(
        client: &Client,
        topic: &str,
        positions: &[(PartitionId, Offset)],
        end: EndAt,
    ) -> Result<Self, ClientError> {
        let partitions: Vec<PartitionId> =
            positions.iter().map(|(partition, _)| *partition).collect();
        let time = match end {
            EndAt::Timestamp(time) => Some(time),
            EndAt::Now | EndAt::Offset(_) => None,
        };
        let mut range = Self::default();
        for found in client.list_offsets(topic, &partitions, time).await? {
            let log_end = found.high_watermark;
            let end = match end {
                EndAt::Now => log_end,
                EndAt::Offset(offset) => offset.min(log_end),
                EndAt::Timestamp(_) => found.offset_at_timestamp.unwrap_or(log_end),
            };
            let mut starts = positions.iter().filter(|(p, _)| *p == found.partition);
            let start = starts.next().map_or(found.log_start_offset, |(_, at)| *at);
            range.add(found.partition, start, end, log_end);
        }
        Ok(range)
    }

    fn add(&mut self, partition: PartitionId, start: Offset, end: Offset, log_end: Offset) {
        // A start beyond the log is kept: reading from it fails and names the valid range.
        if start < end || start > log_end {
            self.ends.insert(partition, end);
            self.total_records += end.get().saturating_sub(start.get());
        }
    }

    /// Whether the record is in the range.
    pub(crate) fn contains(&self, partition: PartitionId, offset: Offset) -> bool {
        self.ends.get(&partition).is_some_and(|end| offset < *end)
    }

    /// The partition has been read up to `next` (exclusive).
    pub(crate) fn advance(&mut self, partition: PartitionId, next: Offset) {
        if !self.contains(partition, next) {
            self.ends.remove(&partition);
        }
    }

    /// Whether all partitions have been read to their ends.
    pub(crate) fn is_done(&self) -> bool {
        self.ends.is_empty()
    }

    /// Records in the range at the start.
    pub(crate) const fn total_records(&self) -> u64 {
        self.total_records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_an_end_are_parsed() {
        assert_eq!(parse_end("now").unwrap(), EndAt::Now);
        assert_eq!(parse_end("latest").unwrap(), EndAt::Now);
        assert_eq!(parse_end("7").unwrap(), EndAt::Offset(Offset(7)));
        let time = parse_end("1970-01-01T00:00:01Z").unwrap();
        assert_eq!(time, EndAt::Timestamp(1000));
        assert!(matches!(parse_end("2h").unwrap(), EndAt::Timestamp(_)));
        assert!(parse_end("earliest").is_err());
        assert!(parse_end("tomorrow").is_err());
    }

    #[test]
    fn a_range_is_done_when_all_partitions_are_at_their_ends() {
        let (a, b, empty) = (PartitionId(0), PartitionId(1), PartitionId(2));
        let mut range = Range::default();
        range.add(a, Offset(3), Offset(5), Offset(9));
        range.add(b, Offset(0), Offset(9), Offset(9));
        range.add(empty, Offset(5), Offset(5), Offset(9));
        assert_eq!(range.total_records(), 11);
        assert!(range.contains(a, Offset(4)) && !range.contains(a, Offset(5)));
        assert!(!range.contains(empty, Offset(4)));
        range.advance(a, Offset(4));
        range.advance(b, Offset(12));
        assert!(!range.is_done());
        range.advance(a, Offset(5));
        assert!(range.is_done());
    }

    #[test]
    fn a_start_beyond_the_log_is_left_to_the_node_to_refuse() {
        let mut range = Range::default();
        range.add(PartitionId(0), Offset(10), Offset(9), Offset(9));
        assert!(!range.is_done());
    }
}
