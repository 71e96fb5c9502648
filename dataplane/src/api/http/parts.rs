//! What the handlers use.

use std::sync::{Arc, OnceLock};

use super::body::BodyBudget;
use crate::access::Access;
use crate::api::caller::not_entered;
use crate::config::HttpSettings;
use crate::control::Control;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::serving::consumer_groups::GroupEngine;
use crate::serving::engine::LogEngine;
use crate::serving::partitioning::KeylessTurn;

/// The parts of an [`HttpApi`].
pub(crate) struct HttpParts {
    /// The engine of the log; none before the node belongs to a cluster.
    pub(crate) engine: Arc<OnceLock<Arc<LogEngine>>>,
    /// The engine of consumer groups; none before that either.
    pub(crate) groups: Arc<OnceLock<Arc<GroupEngine>>>,
    pub(crate) control: Control,
    pub(crate) access: Access,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: HttpSettings,
}

/// The HTTP API of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HttpApi {
    parts: Arc<HttpParts>,
    /// The memory for bodies that arrive.
    pub(super) bodies: BodyBudget,
    /// Spreads records without a key.
    pub(super) keyless: Arc<KeylessTurn>,
}

impl HttpApi {
    pub(crate) fn new(parts: HttpParts) -> Self {
        Self {
            parts: Arc::new(parts),
            bodies: BodyBudget::default(),
            keyless: Arc::default(),
        }
    }

    /// The engine of the log. Before there is one, fails with NOT_BOOTSTRAPPED, or with NOT_READY
    /// if the node has data of a cluster.
    pub(super) fn engine(&self) -> Result<&Arc<LogEngine>, ApiError> {
        let engine = self.parts.engine.get();
        engine.ok_or_else(|| not_entered(&self.parts.control))
    }

    /// The engine of consumer groups. Fails as [`Self::engine`] does.
    pub(super) fn groups(&self) -> Result<&Arc<GroupEngine>, ApiError> {
        let groups = self.parts.groups.get();
        groups.ok_or_else(|| not_entered(&self.parts.control))
    }

    pub(super) fn control(&self) -> &Control {
        &self.parts.control
    }

    pub(super) fn access(&self) -> &Access {
        &self.parts.access
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    pub(super) fn settings(&self) -> &HttpSettings {
        &self.parts.settings
    }
}
