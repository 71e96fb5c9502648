//! Where a read starts.

use std::collections::BTreeMap;

use http::HeaderValue;
use lograft_core::Offset;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::serving::request::Position;

/// An end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Boundary {
    Earliest,
    Latest,
}

/// The start of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// In every partition at this position.
    At(Position),
    /// Behind the last event of a stream, by partition. A partition without one had no record.
    After(BTreeMap<u32, Offset>),
}

impl Start {
    /// The start that a query asks for.
    pub(super) fn new(
        at: Option<Boundary>,
        offset: Option<u64>,
        timestamp_ms: Option<i64>,
    ) -> Result<Self, ApiError> {
        Ok(Self::At(match (at, offset, timestamp_ms) {
            (None | Some(Boundary::Earliest), None, None) => Position::Earliest,
            (Some(Boundary::Latest), None, None) => Position::Latest,
            (None, Some(offset), None) => Position::Offset(Offset(offset)),
            (None, None, Some(time_ms)) => Position::Timestamp(time_ms),
            _ => {
                let bound = "set alone: one of at, offset and timestamp_ms";
                return Err(ApiError::invalid("at", bound));
            }
        }))
    }

    /// Behind an event: `offset` in a stream of one partition, `partition:offset,...` in one of a
    /// topic. -1 is before the first record.
    pub(super) fn after_event(id: &HeaderValue, partition: Option<u32>) -> Result<Self, ApiError> {
        let text = id.to_str().unwrap_or_default().trim();
        let next = |offset: &str| {
            let offset: i64 = offset.parse().ok().filter(|offset| *offset >= -1)?;
            u64::try_from(offset.checked_add(1)?).ok().map(Offset)
        };
        let one = |part: &str| {
            let (partition, offset) = part.split_once(':')?;
            Some((partition.parse().ok()?, next(offset)?))
        };
        let found = match partition {
            Some(partition) => next(text).map(|next| BTreeMap::from([(partition, next)])),
            None => text
                .split(',')
                .filter(|part| !part.is_empty())
                .map(one)
                .collect(),
        };
        let bound = "the id of an event of this stream";
        found
            .map(Self::After)
            .ok_or_else(|| ApiError::invalid("Last-Event-ID", bound))
    }

    /// Where a partition starts.
    pub(super) fn of(&self, partition: u32) -> Position {
        match self {
            Self::At(position) => *position,
            Self::After(offsets) => offsets
                .get(&partition)
                .map_or(Position::Earliest, |offset| Position::Offset(*offset)),
        }
    }
}

/// The id of an event: the last offset of each partition, as [`Start::after_event`] reads it.
pub(super) fn event_id(next: &BTreeMap<u32, Offset>, partition: Option<u32>) -> String {
    let last = |offset: &Offset| i128::from(offset.get()) - 1;
    if let Some(partition) = partition {
        return next.get(&partition).map_or(-1, last).to_string();
    }
    let parts = next
        .iter()
        .map(|(at, offset)| format!("{at}:{}", last(offset)));
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_resumed_behind_itself() {
        for (next, partition, id) in [
            (vec![(3, 8)], Some(3), "7"),
            (vec![(0, 0)], Some(0), "-1"),
            (vec![(0, 8), (2, 0)], None, "0:7,2:-1"),
            (vec![], None, ""),
        ] {
            let next: BTreeMap<u32, Offset> = next
                .into_iter()
                .map(|(at, offset)| (at, Offset(offset)))
                .collect();
            assert_eq!(event_id(&next, partition), id);
            let read = Start::after_event(&id.parse().unwrap(), partition).unwrap();
            assert_eq!(read, Start::After(next));
        }
        for (id, partition) in [
            ("x", Some(0)),
            ("-2", Some(0)),
            ("7", None),
            ("0:7,", Some(0)),
            ("a:1", None),
        ] {
            assert!(
                Start::after_event(&id.parse().unwrap(), partition).is_err(),
                "{id}"
            );
        }
    }

    #[test]
    fn a_read_has_one_start() {
        let start = |at, offset, time| Start::new(at, offset, time).ok();
        assert_eq!(start(None, None, None), Some(Start::At(Position::Earliest)));
        assert_eq!(
            start(None, Some(7), None),
            Some(Start::At(Position::Offset(Offset(7))))
        );
        assert_eq!(
            start(None, None, Some(-1)),
            Some(Start::At(Position::Timestamp(-1)))
        );
        assert_eq!(start(Some(Boundary::Latest), Some(7), None), None);
        assert_eq!(start(None, Some(7), Some(1)), None);
    }
}
