//! Connections of clients: section `connections` of the configuration.

use std::time::Duration;

use lograft_core::limits::{
    CONNECTION_AGE_DEFAULT, CONNECTION_AGE_MAX, CONNECTION_AGE_MIN,
    CONNECTIONS_PER_ADDRESS_DEFAULT_PERCENT, CONNECTIONS_PER_USER_DEFAULT_PERCENT,
};
use serde::{Deserialize, Serialize};

use super::{ConfigError, within};

/// Connections to the client port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionSettings {
    /// Age at which a connection has closed, milliseconds. Each closes up to a quarter earlier.
    pub max_age_ms: u64,
    /// Share of the connections that one address may have, percent.
    pub per_address_percent: u32,
    /// Share of the connections that one user may have, percent.
    pub per_user_percent: u32,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            max_age_ms: millis(CONNECTION_AGE_DEFAULT),
            per_address_percent: CONNECTIONS_PER_ADDRESS_DEFAULT_PERCENT,
            per_user_percent: CONNECTIONS_PER_USER_DEFAULT_PERCENT,
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
        let Self {
            max_age_ms,
            per_address_percent,
            per_user_percent,
        } = self;
        let percents = [
            ("connections.per_address_percent", per_address_percent),
            ("connections.per_user_percent", per_user_percent),
        ];
        for (name, percent) in percents {
            within(name, *percent, 1, 100, "percent")?;
        }
        let (min, max) = (millis(CONNECTION_AGE_MIN), millis(CONNECTION_AGE_MAX));
        within("connections.max_age_ms", *max_age_ms, min, max, "ms")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
