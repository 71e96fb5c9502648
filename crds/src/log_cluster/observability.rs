//! Logs, traces and metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::TEXT_MAX_BYTES;

/// Logs, traces and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Observability {
    /// Log filter of the nodes: a level, or levels by module, e.g. `lograft_node=debug,info`.
    #[schemars(length(min = 1, max = TEXT_MAX_BYTES))]
    pub log_level: String,
    /// Log format of the nodes.
    pub log_format: LogFormat,
    /// Endpoint for traces, OTLP over gRPC. Default: no traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = TEXT_MAX_BYTES), regex(pattern = "^https?://.+$"))]
    pub otlp_endpoint: Option<String>,
    /// Whether to create a ServiceMonitor for the Prometheus operator.
    pub service_monitor: bool,
}

/// Log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For machines: one JSON object per line.
    #[default]
    Json,
    /// For people.
    Text,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            log_level: "info".to_owned(),
            log_format: LogFormat::default(),
            otlp_endpoint: None,
            service_monitor: false,
        }
    }
}
