//! Maximum sizes of records and record batches, in a LogCluster and in a LogTopic.

use lograft_crds::ByteSize;
use lograft_crds::limits::{
    BATCH_MAX_BYTES, BATCH_MIN_BYTES, BATCH_OVERHEAD_MAX_BYTES, RECORD_MAX_BYTES, RECORD_MIN_BYTES,
};

use crate::validation::{ValidationError, bytes, out_of_bounds};

/// A field and its value.
type SizeField<'a> = (&'static str, &'a Option<ByteSize>);

/// Sizes within their bounds, bytes; none that is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSizes {
    /// Maximum size of a record batch.
    pub batch_max_bytes: Option<u64>,
    /// Maximum size of a record.
    pub record_max_bytes: Option<u64>,
}

impl RecordSizes {
    /// Checks the sizes, each by itself and together. Fails on the first that is out of bounds.
    pub(crate) fn new(
        batch: SizeField<'_>,
        record: SizeField<'_>,
    ) -> Result<Self, ValidationError> {
        let batch_max_bytes = checked(batch, BATCH_MIN_BYTES, BATCH_MAX_BYTES)?;
        let record_max_bytes = checked(record, RECORD_MIN_BYTES, RECORD_MAX_BYTES)?;
        if let (Some(batch_bytes), Some(record_bytes)) = (batch_max_bytes, record_max_bytes)
            && record_bytes + BATCH_OVERHEAD_MAX_BYTES > batch_bytes
        {
            let (field, size) = record;
            let found = size.as_ref().map_or("", |size| &size.0);
            let bound = format!(
                "at least {BATCH_OVERHEAD_MAX_BYTES} bytes below {}",
                batch.0
            );
            return Err(out_of_bounds(field, &found, &bound));
        }
        Ok(Self {
            batch_max_bytes,
            record_max_bytes,
        })
    }
}

fn checked(
    (field, size): SizeField<'_>,
    min: u64,
    max: u64,
) -> Result<Option<u64>, ValidationError> {
    let Some(size) = size else {
        return Ok(None);
    };
    let found = bytes(field, size)?;
    if !(min..=max).contains(&found) {
        let bound = format!("between {min} and {max} bytes");
        return Err(out_of_bounds(field, &size.0, &bound));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(batch: Option<&str>, record: Option<&str>) -> Result<RecordSizes, ValidationError> {
        let size = |text: Option<&str>| text.map(ByteSize::from);
        RecordSizes::new(("batch", &size(batch)), ("record", &size(record)))
    }

    #[test]
    fn a_batch_of_the_largest_record_fits() {
        let found = sizes(Some("3076Ki"), Some("3Mi")).unwrap();
        assert_eq!(found.batch_max_bytes, Some(BATCH_MAX_BYTES));
        assert_eq!(found.record_max_bytes, Some(RECORD_MAX_BYTES));
        assert_eq!(sizes(None, None).unwrap(), RecordSizes::default());
        assert!(sizes(None, Some("3Mi")).is_ok());
        assert!(sizes(Some("1Ki"), None).is_ok());
        let error = sizes(Some("3Mi"), Some("3Mi")).unwrap_err().to_string();
        assert!(error.contains("at least 4096 bytes below batch"), "{error}");
        for (batch, record) in [
            (Some("3077Ki"), None),
            (Some("1023"), None),
            (None, Some("3073Ki")),
            (None, Some("1023")),
        ] {
            assert!(sizes(batch, record).is_err(), "{batch:?} {record:?}");
        }
    }
}
