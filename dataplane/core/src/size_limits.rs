//! The limits of a topic's records and batches, with the names of the fields that errors have.

use crate::limits::{
    BATCH_DEFAULT_BYTES, BATCH_LEVEL_1_MAX_BYTES, BATCH_OVERHEAD_MAX_BYTES, RECORD_DEFAULT_BYTES,
};
use crate::record_batch::{BatchError, BatchLimits, RECORD_FIELD};

/// The key of the maximum size of batches.
pub(crate) const BATCH_KEY: &str = "batch.max.bytes";
/// The key of the maximum size of records.
pub(crate) const RECORD_KEY: &str = "record.max.bytes";
/// The field of the errors about batches of topics without a limit of their own.
const BATCH_FIELD: &str = "batch bytes";

/// The limits of a topic's records and batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Maximum size of a batch, as encoded, bytes.
    pub batch_max_bytes: usize,
    /// Maximum size of a record: its key, value and headers together, bytes.
    pub record_max_bytes: usize,
    /// The field of an error about `batch_max_bytes`: the key, if the topic sets it.
    batch_field: &'static str,
    record_field: &'static str,
}

impl SizeLimits {
    /// The limits of a topic with these settings. Without `batch.max.bytes` a batch has the default
    /// size, or that of the largest record, if it needs more.
    // Before their level is finalized no settings allow more than level 1 can read, because none
    // can be set. That the result is bounded too does not rely on the metadata.
    pub(crate) fn new(
        batch_max_bytes: Option<u32>,
        record_max_bytes: Option<u32>,
        may_be_large: bool,
    ) -> Self {
        let needed = record_max_bytes.map_or(0, Self::batch_of);
        let batch = batch_max_bytes.map_or(BATCH_DEFAULT_BYTES.max(needed), |bytes| bytes as usize);
        let most = if may_be_large {
            usize::MAX
        } else {
            BATCH_LEVEL_1_MAX_BYTES
        };
        let field = |set: Option<u32>, key, without| set.map_or(without, |_| key);
        Self {
            batch_max_bytes: batch.min(most),
            record_max_bytes: record_max_bytes.map_or(RECORD_DEFAULT_BYTES, |bytes| bytes as usize),
            batch_field: field(batch_max_bytes, BATCH_KEY, BATCH_FIELD),
            record_field: field(record_max_bytes, RECORD_KEY, RECORD_FIELD),
        }
    }

    /// The size of the batches that hold any record of `record_bytes`.
    pub(crate) const fn batch_of(record_bytes: u32) -> usize {
        record_bytes as usize + BATCH_OVERHEAD_MAX_BYTES
    }

    /// Checks the size of an encoded batch.
    pub fn check_batch(&self, found: usize) -> Result<(), BatchError> {
        BatchError::check(self.batch_field, found, self.batch_max_bytes)
    }

    /// Checks the size of a record.
    pub fn check_record(&self, found: usize) -> Result<(), BatchError> {
        BatchError::check(self.record_field, found, self.record_max_bytes)
    }

    /// The limits by which a batch of the topic is validated.
    pub fn of_batches(&self) -> BatchLimits {
        BatchLimits {
            record_max_bytes: self.record_max_bytes,
            record_field: self.record_field,
            ..BatchLimits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BATCH_MAX_BYTES, RECORD_MAX_BYTES};

    fn limits(record: Option<usize>, batch: Option<usize>, level: u32) -> SizeLimits {
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap();
        SizeLimits::new(batch.map(bytes), record.map(bytes), level >= 2)
    }

    #[test]
    fn a_topic_without_settings_has_the_limits_of_level_1() {
        for level in [0, 1, 2] {
            let found = limits(None, None, level);
            assert_eq!(found.batch_max_bytes, BATCH_LEVEL_1_MAX_BYTES);
            assert_eq!(found.record_max_bytes, 1024 * 1024);
            let error = found.check_batch(found.batch_max_bytes + 1).unwrap_err();
            assert_eq!(error.bound(), Some(("batch bytes", 2 * 1024 * 1024)));
            let error = found.check_record(found.record_max_bytes + 1).unwrap_err();
            assert_eq!(error.bound(), Some(("record bytes", 1024 * 1024)));
        }
    }

    #[test]
    fn batches_grow_with_the_largest_record() {
        let found = limits(Some(RECORD_MAX_BYTES), None, 2);
        assert_eq!(found.batch_max_bytes, BATCH_MAX_BYTES);
        assert_eq!(found.record_max_bytes, RECORD_MAX_BYTES);
        let error = found.check_record(RECORD_MAX_BYTES + 1).unwrap_err();
        assert_eq!(error.bound(), Some(("record.max.bytes", RECORD_MAX_BYTES)));
        assert_eq!(found.of_batches().record_field, "record.max.bytes");
        let small = limits(Some(1024), None, 2);
        assert_eq!(small.batch_max_bytes, BATCH_DEFAULT_BYTES);
        let both = limits(Some(1024), Some(8192), 2);
        assert_eq!((both.record_max_bytes, both.batch_max_bytes), (1024, 8192));
        let error = both.check_batch(8193).unwrap_err();
        assert_eq!(error.bound(), Some(("batch.max.bytes", 8192)));
    }

    #[test]
    fn nothing_is_larger_than_level_1_can_read_before_level_2() {
        for level in [0, 1] {
            let found = limits(Some(RECORD_MAX_BYTES), Some(BATCH_MAX_BYTES), level);
            assert_eq!(found.batch_max_bytes, BATCH_LEVEL_1_MAX_BYTES);
        }
    }
}
