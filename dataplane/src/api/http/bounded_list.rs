//! Lists in JSON with a bound on the number of their items, held while they are read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Error, SeqAccess, Visitor};

/// Reads a list of at most so many items; more are an error before they take memory.
pub(super) struct BoundedList<T> {
    field: &'static str,
    what: &'static str,
    max_count: usize,
    items: PhantomData<T>,
}

impl<T> BoundedList<T> {
    /// Of a field of this name; `what` says in an error what its items are.
    pub(super) const fn new((field, what): (&'static str, &'static str), max_count: usize) -> Self {
        Self {
            field,
            what,
            max_count,
            items: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedList<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            what,
            max_count,
            items: _,
        } = self;
        write!(f, "{field}: at most {max_count} {what}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == self.max_count {
                return Err(A::Error::invalid_length(items.len() + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}
