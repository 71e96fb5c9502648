//! Log lines on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

/// Why log lines cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("cannot parse the log filter {filter:?}")]
    Filter {
        /// The filter.
        filter: String,
        /// Where it goes wrong.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else has set them up.
    #[error("cannot install the log subscriber")]
    Install(#[source] TryInitError),
}

/// Directives in front of the configured filter, which may replace them by its own for the same
/// target. openraft logs each step of an election and each change of a group's state at INFO, in
/// its own terms.
const DEFAULT_DIRECTIVES: &str = "openraft=warn";

/// Sets up log lines for the whole process, once. `LOGRAFT_LOG` goes before the settings' filter.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let text = std::env::var("LOGRAFT_LOG").unwrap_or_else(|_| settings.level.clone());
    let filter = filter(text)?;
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

/// The filter of a text from the environment or the settings, with [`DEFAULT_DIRECTIVES`].
fn filter(text: String) -> Result<EnvFilter, TelemetryError> {
    // An empty filter turns logging off, and must stay empty to do so.
    let directives = if text.is_empty() {
        String::new()
    } else {
        format!("{DEFAULT_DIRECTIVES},{text}")
    };
    EnvFilter::try_new(directives).map_err(|source| TelemetryError::Filter {
        filter: text,
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The messages that a filter lets through.
    fn logged(text: &str) -> Vec<&'static str> {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(text.to_owned()).unwrap())
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "openraft::engine", "raft-info");
            tracing::warn!(target: "openraft::engine", "raft-warn");
            tracing::info!(target: "lograft_raft::group", "group-info");
            tracing::error!(target: "lograft_raft::group", "group-error");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let names = ["raft-info", "raft-warn", "group-info", "group-error"];
        names
            .into_iter()
            .filter(|name| text.contains(name))
            .collect()
    }

    #[test]
    fn openraft_info_lines_are_off_by_default_and_on_when_asked_for() {
        let own = ["group-info", "group-error"];
        for text in ["info", "debug"] {
            assert_eq!(logged(text), [&["raft-warn"], &own[..]].concat(), "{text}");
        }
        for text in ["info,openraft=info", "openraft=debug,info"] {
            assert_eq!(
                logged(text),
                [&["raft-info", "raft-warn"], &own[..]].concat(),
                "{text}"
            );
        }
        assert_eq!(logged("info,openraft=off"), own);
        assert!(logged("").is_empty());
    }

    #[test]
    fn an_invalid_filter_is_reported_as_written() {
        let error = filter("lograft=loud".to_owned()).unwrap_err();
        assert!(error.to_string().contains("\"lograft=loud\""), "{error}");
    }
}
