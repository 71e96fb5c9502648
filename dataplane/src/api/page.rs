//! Pages of long lists: each reply says where the next one goes on.

use lograft_core::PartitionId;
use lograft_core::limits::PAGE_MAX_COUNT;

use crate::error::ApiError;

/// A page of a list, and whether the list goes on after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) has_more: bool,
}

impl<T> Page<T> {
    /// The first `max_count` of the items, up to `PAGE_MAX_COUNT`; 0 asks for all.
    pub(crate) fn of(mut items: impl Iterator<Item = T>, max_count: u32) -> Self {
        if max_count == 0 {
            return Self {
                items: items.collect(),
                has_more: false,
            };
        }
        let max_count = max_count.min(PAGE_MAX_COUNT) as usize;
        Self {
            items: items.by_ref().take(max_count).collect(),
            has_more: items.next().is_some(),
        }
    }

    /// Where the next page starts; empty if this is the last one.
    pub(crate) fn next(&self, key: impl FnOnce(&T) -> String) -> String {
        let last = self.items.last().filter(|_| self.has_more);
        last.map(key).unwrap_or_default()
    }
}

/// A partition in the order of a list: its topic and number.
pub(crate) type PartitionKey = (String, PartitionId);

/// Reads the key of a partition, topic/number; `None` if it is empty: the first page.
pub(crate) fn partition_key(text: &str) -> Result<Option<PartitionKey>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let key = text
        .rsplit_once('/')
        .and_then(|(topic, number)| Some((topic.to_owned(), PartitionId(number.parse().ok()?))));
    let bound = "next_partition of a former reply";
    key.map(Some)
        .ok_or_else(|| ApiError::invalid("after_partition", bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_every_item_once() {
        let all: Vec<u32> = (0..25).collect();
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let left = all.iter().filter(|n| match after.parse::<u32>() {
                Ok(after) => **n > after,
                Err(_) => true,
            });
            let page = Page::of(left, 10);
            after = page.next(ToString::to_string);
            found.extend(page.items.into_iter().copied());
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(found, all);
        let whole = Page::of(all.iter(), 0);
        assert_eq!((whole.items.len(), whole.has_more), (25, false));
        let exact = Page::of(all.iter(), 25);
        assert!(!exact.has_more);
        assert_eq!(exact.next(ToString::to_string), "");
    }

    #[test]
    fn keys_of_partitions_are_read_back() {
        assert_eq!(partition_key("").unwrap(), None);
        let key = partition_key("a.b/12").unwrap();
        assert_eq!(key, Some(("a.b".to_owned(), PartitionId(12))));
        for bad in ["a", "a/", "a/-1", "a/4294967296", "/"] {
            let error = partition_key(bad).unwrap_err();
            assert!(error.details().any(|d| d == ("field", "after_partition")));
        }
    }
}
