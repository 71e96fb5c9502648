//! Whether replicas and preferred leaders are being balanced.

use serde::{Deserialize, Serialize};

use crate::feature_level::FeatureLevel;

/// The state of the balancing. Its steps are not stored: they follow from the metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebalancing {
    /// Number of requests until now: by an administrator, or because the nodes have changed.
    pub requests: u64,
    /// Whether the last request has not ended.
    pub is_wanted: bool,
    /// Whether it is paused. Requests are kept meanwhile.
    pub is_paused: bool,
}

impl Rebalancing {
    /// The feature level from which on replicas are balanced.
    pub const LEVEL: FeatureLevel = FeatureLevel(2);

    /// Whether steps are made.
    pub const fn is_running(self) -> bool {
        self.is_wanted && !self.is_paused
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
