//! What the node says about itself: log lines on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

/// Why log lines cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("parsing the log filter {filter:?}")]
    Filter {
        /// The filter.
        filter: String,
        /// Where it goes wrong.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else has set them up.
    #[error("installing the log subscriber")]
    Install(#[source] TryInitError),
}

/// Sets up log lines for the whole process, once. `LOGRAFT_LOG` goes before the settings' filter.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let text = std::env::var("LOGRAFT_LOG").unwrap_or_else(|_| settings.level.clone());
    let filter = EnvFilter::try_new(&text).map_err(|source| TelemetryError::Filter {
        filter: text,
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match settings.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().finish().try_init(),
    }
    .map_err(TelemetryError::Install)
}
