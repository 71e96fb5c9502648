//! Pages of a group's offsets and members: an answer with all of them could be larger than what
//! clients take.

use lograft_core::PartitionId;
use lograft_core::consumer_group::{MemberId, TopicPartition};
use lograft_core::limits::{
    CLIENT_MESSAGE_DEFAULT_BYTES, GROUP_PAGE_MAX_BYTES, GROUP_PAGE_MAX_COUNT,
    OFFSET_METADATA_MAX_BYTES, TOPIC_NAME_MAX_BYTES,
};
use lograft_core::metadata::TopicId;

use crate::error::ApiError;

/// A question for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest<P> {
    /// The place behind which the page starts; `None`: at the first one.
    pub(crate) after: Option<P>,
    pub(crate) max_count: usize,
}

/// A place in a list, which clients get as a token for the next page.
pub(crate) trait Place: Sized {
    /// The token.
    fn token(&self) -> String;

    /// The place of a token; none if it is no token.
    fn of_token(token: &str) -> Option<Self>;
}

/// A place in the description of a group: its members, then its offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DescribedPlace {
    Member(MemberId),
    Offset(TopicPartition),
}

impl<P: Place> PageRequest<P> {
    /// The page behind a token. Fails with INVALID_ARGUMENT if `field` has no token; empty is the
    /// first page.
    pub(crate) fn new(
        (field, token): (&'static str, &str),
        max_count: usize,
    ) -> Result<Self, ApiError> {
        let after = P::of_token(token);
        if after.is_none() && !token.is_empty() {
            return Err(ApiError::invalid(field, "that of the former page"));
        }
        Ok(Self { after, max_count })
    }

    /// The token of the page, empty for the first one.
    pub(crate) fn token(&self) -> String {
        self.after.as_ref().map(P::token).unwrap_or_default()
    }
}

/// The number of items that a page of a request has at most, 0 being as many as possible.
pub(crate) fn page_limit(limit: u32) -> usize {
    match limit as usize {
        0 => GROUP_PAGE_MAX_COUNT,
        limit => limit.min(GROUP_PAGE_MAX_COUNT),
    }
}

impl Place for TopicPartition {
    // By id: the name of a topic that is left out of the page must not be seen.
    fn token(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }

    fn of_token(token: &str) -> Option<Self> {
        let (topic, partition) = token.split_once('/')?;
        Some(Self {
            topic: TopicId(topic.parse().ok()?),
            partition: PartitionId(partition.parse().ok()?),
        })
    }
}

impl Place for DescribedPlace {
    fn token(&self) -> String {
        match self {
            Self::Member(id) => format!("member/{id}"),
            Self::Offset(at) => format!("offset/{}", at.token()),
        }
    }

    fn of_token(token: &str) -> Option<Self> {
        match token.split_once('/')? {
            ("member", id) => Some(Self::Member(MemberId::new(id).ok()?)),
            ("offset", at) => Some(Self::Offset(TopicPartition::of_token(at)?)),
            _ => None,
        }
    }
}

/// The room that is left on a page.
#[derive(Debug)]
pub(super) struct Room {
    count: usize,
    bytes: usize,
    is_empty: bool,
}

impl Room {
    pub(super) const fn new(max_count: usize) -> Self {
        Self {
            count: max_count,
            bytes: GROUP_PAGE_MAX_BYTES,
            is_empty: true,
        }
    }

    /// Whether an item has room, which is then taken. The first one always has: without it there
    /// would be no next page.
    pub(super) const fn take(&mut self, bytes: usize) -> bool {
        let has_room = self.is_empty || (self.count > 0 && self.bytes >= bytes);
        if has_room {
            self.is_empty = false;
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        has_room
    }
}

/// Size of an offset in a message, besides its metadata, in bytes; less for most topics.
pub(super) const OFFSET_BYTES: usize = TOPIC_NAME_MAX_BYTES + 64;

/// Clients take a page that has room for one more offset.
const _: () = assert!(
    GROUP_PAGE_MAX_BYTES + OFFSET_BYTES + OFFSET_METADATA_MAX_BYTES <= CLIENT_MESSAGE_DEFAULT_BYTES
);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: u64, partition: u32) -> TopicPartition {
        TopicPartition {
            topic: TopicId(topic),
            partition: PartitionId(partition),
        }
    }

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let places = [
            DescribedPlace::Member("a.b-1".parse().unwrap()),
            DescribedPlace::Offset(at(u64::MAX, u32::MAX)),
            DescribedPlace::Offset(at(0, 0)),
        ];
        for place in places {
            let token = place.token();
            let read = PageRequest::<DescribedPlace>::new(("after", &token), 1).unwrap();
            assert_eq!((read.token(), read.after), (token, Some(place)));
        }
        let first = PageRequest::<TopicPartition>::new(("after", ""), 1).unwrap();
        assert_eq!((first.after, first.max_count), (None, 1));
        for bad in ["1", "1/", "/1", "1/2/3", "-1/0", "1/4294967296", "member/a"] {
            let refused = PageRequest::<TopicPartition>::new(("after", bad), 1);
            let error = refused.unwrap_err();
            assert!(error.text().contains("after"), "{bad}: {error}");
        }
        for bad in ["member/a/b", "member/", "offset/1", "x/1/2", "1/2"] {
            let refused = PageRequest::<DescribedPlace>::new(("after", bad), 1);
            assert!(refused.is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_ends_at_its_count_or_its_size_and_has_at_least_one_item() {
        let mut few = Room::new(2);
        assert_eq!([1, 1, 1].map(|bytes| few.take(bytes)), [true, true, false]);
        let mut large = Room::new(10);
        assert!(large.take(GROUP_PAGE_MAX_BYTES + 1));
        assert!(!large.take(1));
        let mut room = Room::new(10);
        let half = GROUP_PAGE_MAX_BYTES / 2;
        assert_eq!([half, half, 1].map(|b| room.take(b)), [true, true, false]);
    }
}
