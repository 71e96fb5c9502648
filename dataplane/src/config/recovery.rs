//! When nodes count as lost for good. Read again when the file changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lograft_core::limits::{DEAD_NODE_AFTER_DEFAULT, DEAD_NODE_AFTER_MAX, DEAD_NODE_AFTER_MIN};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{ConfigError, NodeConfig, field, within};

/// When nodes count as lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverySettings {
    /// Silence after which a node counts as lost and its replicas are replaced, milliseconds; 0 for
    /// never. The node that leads the meta group uses its own value.
    pub dead_node_after_ms: u64,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            dead_node_after_ms: ms(DEAD_NODE_AFTER_DEFAULT),
        }
    }
}

impl RecoverySettings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let name = "recovery.dead_node_after_ms";
        let (least, most) = (ms(DEAD_NODE_AFTER_MIN), ms(DEAD_NODE_AFTER_MAX));
        match self.dead_node_after_ms {
            0 => Ok(()),
            after if after < least => {
                let bound = format!("0, or at least {least} ms");
                Err(field(name, &format!("{after} ms"), bound))
            }
            after => within(name, after, least, most, "ms"),
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The settings as they are now. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CurrentRecovery(Arc<AtomicU64>);

impl CurrentRecovery {
    /// The silence after which a node counts as lost; `None` for never.
    pub(crate) fn dead_node_after(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(Duration::from_millis(ms)),
        }
    }

    /// The settings of this configuration.
    pub(super) fn new(config: &NodeConfig) -> Self {
        Self(Arc::new(AtomicU64::new(config.recovery.dead_node_after_ms)))
    }

    /// Takes over the settings of a newer file.
    pub(super) fn follow(&self, new: &RecoverySettings) {
        let after_ms = new.dead_node_after_ms;
        if self.0.swap(after_ms, Ordering::Relaxed) != after_ms {
            info!(
                after_ms,
                "silence after which a node counts as lost changed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_never_and_bounds_are_checked() {
        for (dead_node_after_ms, is_refused) in [
            (0, false),
            (1, true),
            (999, true),
            (1000, false),
            (600_000, false),
            (31_536_000_000, false),
            (31_536_000_001, true),
        ] {
            let settings = RecoverySettings { dead_node_after_ms };
            assert_eq!(
                settings.check().is_err(),
                is_refused,
                "{dead_node_after_ms}"
            );
        }
        let current = CurrentRecovery(Arc::default());
        assert_eq!(current.dead_node_after(), None);
        current.follow(&RecoverySettings::default());
        assert_eq!(current.dead_node_after(), Some(DEAD_NODE_AFTER_DEFAULT));
    }
}
