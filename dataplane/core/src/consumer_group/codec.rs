//! The encoding of commands, outcomes and the state of a coordinator:
//!
//! ```text
//! byte 0     version: 1
//! byte 1..   postcard (https://postcard.jamesmunns.com/wire-format); fields and variants in the
//!            order of their types
//! ```
//!
//! Postcard does not name fields, so a field that is added, removed or changed needs a new version
//! byte, and a variant may only be added at the end of its type.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version byte.
const VERSION: u8 = 1;

/// The failure to encode or decode commands, outcomes or the state of a coordinator.
#[derive(Debug, thiserror::Error)]
pub enum GroupCodecError {
    /// There are no bytes.
    #[error("cannot decode groups: it is empty")]
    Empty,
    /// A newer version of the program has written it.
    #[error("version of groups must be at most {VERSION}, got {found}: a newer version wrote it")]
    UnknownVersion {
        /// The version byte.
        found: u8,
    },
    /// The bytes are invalid, or have a variant that this version does not know.
    #[error("cannot decode groups")]
    Malformed(#[source] postcard::Error),
    /// There are bytes after the end.
    #[error("cannot decode groups: {count} bytes after the end")]
    TrailingBytes {
        /// The number of bytes.
        count: usize,
    },
    /// The value cannot be encoded.
    #[error("cannot encode groups")]
    Encode(#[source] postcard::Error),
    /// Two groups have the same name.
    #[error("names of groups must be unique")]
    Inconsistent,
}

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, GroupCodecError> {
    postcard::to_extend(value, vec![VERSION]).map_err(GroupCodecError::Encode)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, GroupCodecError> {
    match bytes {
        [] => Err(GroupCodecError::Empty),
        [VERSION, content @ ..] => {
            let (value, rest) =
                postcard::take_from_bytes(content).map_err(GroupCodecError::Malformed)?;
            if rest.is_empty() {
                return Ok(value);
            }
            let count = rest.len();
            Err(GroupCodecError::TrailingBytes { count })
        }
        [found, ..] => Err(GroupCodecError::UnknownVersion { found: *found }),
    }
}
