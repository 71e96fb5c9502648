//! Failures of benchmarks.

use lograft_client::ClientError;
use tokio::task::JoinError;

use crate::call_error::{exit_for, hint_for};
use crate::error::CommandError;
use crate::exit::Exit;

/// A benchmark failed for a reason other than a failed call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("benchmark task failed")]
    Task { source: JoinError },
    #[error("{failed} records were not stored, last error")]
    NotStored { failed: String, source: ClientError },
    #[error("--{option} {text}")]
    Option { option: &'static str, text: String },
    #[error("verification failed: {text}")]
    Verification { text: String },
    #[error("topic {topic} must have records to read, but it is empty")]
    EmptyTopic { topic: String },
}

impl CommandError for BenchError {
    fn exit(&self) -> Exit {
        match self {
            Self::EmptyTopic { .. } => Exit::NotFound,
            Self::NotStored { source, .. } => exit_for(source),
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotStored { source, .. } => hint_for(source),
            _ => None,
        }
    }
}
