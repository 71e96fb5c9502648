//! Checks of single fields, for all resources.

use std::fmt::Display;

use lograft_crds::{ByteSize, Period, QuantityError};

/// Why an object is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// It has no name, namespace or UID.
    #[error("{field} is missing: the object must be read from the API server")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is out of its bounds.
    #[error("{field} must be {bound}, got {found}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// Its bounds.
        bound: String,
    },
    /// A size or a time could not be parsed.
    #[error("cannot parse {field}")]
    Quantity {
        /// The field.
        field: &'static str,
        /// Cause.
        #[source]
        source: QuantityError,
    },
    /// The data plane does not support a field. To ignore it would be worse than an error: somebody
    /// who enables authorization must not believe that it is on.
    #[error("{field} is not supported in this version ({what}); remove it")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// The missing feature.
        what: &'static str,
    },
}

impl ValidationError {
    /// The error with its cause, for status.
    pub(crate) fn sentence(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// The value of a field that must not be empty.
pub(crate) fn required(
    value: Option<&String>,
    field: &'static str,
) -> Result<String, ValidationError> {
    let value = value.filter(|text| !text.is_empty());
    value.cloned().ok_or(ValidationError::Missing { field })
}

/// The error for a field that is not within its bounds.
pub(crate) fn out_of_bounds(
    field: &'static str,
    found: &dyn Display,
    bound: &dyn Display,
) -> ValidationError {
    ValidationError::Field {
        field,
        found: found.to_string(),
        bound: bound.to_string(),
    }
}

/// Checks that a number is between 1 and `max`.
pub(crate) fn within(field: &'static str, found: i32, max: i32) -> Result<(), ValidationError> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(out_of_bounds(
        field,
        &found,
        &format!("between 1 and {max}"),
    ))
}

/// The bytes of a size.
pub(crate) fn bytes(field: &'static str, size: &ByteSize) -> Result<u64, ValidationError> {
    size.bytes()
        .map_err(|source| ValidationError::Quantity { field, source })
}

/// The seconds of a duration.
pub(crate) fn seconds(field: &'static str, period: &Period) -> Result<i64, ValidationError> {
    let seconds = period
        .seconds()
        .map_err(|source| ValidationError::Quantity { field, source })?;
    i64::try_from(seconds).map_err(|_| out_of_bounds(field, &period.0, &"shorter"))
}
