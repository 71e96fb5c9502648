//! Connections of clients: section `connections` of the configuration.

use std::time::Duration;

use lograft_core::limits::{CONNECTION_AGE_DEFAULT, CONNECTION_AGE_MAX, CONNECTION_AGE_MIN};
use serde::{Deserialize, Serialize};

use super::{ConfigError, within};

/// Connections to the client port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionSettings {
    /// Age at which a connection has closed, milliseconds. Each closes up to a quarter earlier.
    pub max_age_ms: u64,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            max_age_ms: millis(CONNECTION_AGE_DEFAULT),
        }
    }
}

impl ConnectionSettings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The maximum age.
    pub const fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { max_age_ms } = self;
        let (min, max) = (millis(CONNECTION_AGE_MIN), millis(CONNECTION_AGE_MAX));
        within("connections.max_age_ms", *max_age_ms, min, max, "ms")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
