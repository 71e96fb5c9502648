//! What can go wrong, in one line: what failed, why, and what to do next.

use std::error::Error;
use std::io;

use lograft_client::{ClientError, Reason};

use crate::contexts_file::ContextError;
use crate::dev::{DevError, LayoutError, PortError};
use crate::exit::Exit;
use crate::node::NodeError;
use crate::produce::InputError;
use crate::connect::ReachError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Dev(#[from] DevError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("{action}")]
    Call { action: String, source: ClientError },
    #[error("after {acked} records were acknowledged")]
    Partly {
        acked: String,
        source: Box<CliError>,
    },
    #[error("after {read} records were read")]
    PartlyRead { read: String, source: Box<CliError> },
    #[error("writing the output")]
    Output { source: io::Error },
    #[error("encoding the output")]
    Encode { source: serde_json::Error },
    #[error("no partition of {topic:?} has the number {partition}; it has {count}, from 0")]
    NoPartition {
        topic: String,
        partition: u32,
        count: usize,
    },
    #[error("no node at work is called {name:?}")]
    NoNode { name: String },
    #[error("the cluster is not healthy")]
    NotHealthy,
    #[error("interrupted: {done}")]
    Interrupted { done: String },
    #[error("node {node} still holds {left} replicas after {after}")]
    StillDraining { node: u64, left: u32, after: String },
    #[error("starting the runtime")]
    Runtime { source: io::Error },
    #[error("a worker of the benchmark failed")]
    Worker { source: tokio::task::JoinError },
    #[error("{failed} records were not stored, the last")]
    NotStored { failed: String, source: ClientError },
    #[error("--{option}: {text}")]
    Option { option: &'static str, text: String },
    #[error("{text}")]
    Damaged { text: String },
    #[error("nothing to read: topic {topic:?} is empty")]
    NothingToRead { topic: String },
}

impl CliError {
    /// A failed call, with what it was about.
    pub(crate) fn call(action: impl Into<String>) -> impl FnOnce(ClientError) -> Self {
        move |source| Self::Call {
            action: action.into(),
            source,
        }
    }

    /// The client's error in here, if it is one.
    fn client_error(&self) -> Option<&ClientError> {
        match self {
            Self::Call { source, .. }
            | Self::NotStored { source, .. }
            | Self::Reach(ReachError { source, .. })
            | Self::Dev(DevError::Bootstrap { source }) => Some(source),
            Self::Partly { source, .. } | Self::PartlyRead { source, .. } => source.client_error(),
            _ => None,
        }
    }

    /// The process's exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotHealthy
            | Self::NoPartition { .. }
            | Self::NoNode { .. }
            | Self::StillDraining { .. }
            | Self::NothingToRead { .. }
            | Self::Context(ContextError::Unknown { .. } | ContextError::NoCurrent { .. }) => {
                Exit::NotThere
            }
            Self::Interrupted { .. } => Exit::Interrupted,
            _ => match self.client_error() {
                Some(error) => exit_of(error),
                None => Exit::Failure,
            },
        }
    }

    /// Error and causes in one line, and what to do next. Nothing for what needs no words.
    pub(crate) fn line(&self) -> Option<String> {
        if self.is_closed_pipe() || matches!(self, Self::NotHealthy) {
            return None;
        }
        let mut text = with_causes(self);
        if let Some(hint) = self.hint() {
            text.push_str("; ");
            text.push_str(&hint);
        }
        Some(text)
    }

    /// Whether the reader of our output went away, which is its right.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output { source } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Context(ContextError::Unknown { .. }) => "`lograft context list` shows them",
            Self::Context(ContextError::NoCurrent { .. }) => {
                "`lograft dev` starts a cluster and makes its context the current one, \
                 `lograft context set` names one that runs elsewhere"
            }
            Self::Dev(DevError::Layout(LayoutError::InUse { .. })) => {
                "stop it, or give another --data-dir and --base-port"
            }
            Self::Dev(DevError::Ports(PortError::InUse { .. })) => {
                "stop that program, or choose other ports with --base-port (0 looks for free ones)"
            }
            Self::Dev(DevError::FewerNodes { .. }) => {
                "start as many, and `lograft cluster decommission` those to be gone"
            }
            Self::NoNode { .. } => "`lograft cluster status` shows the nodes",
            Self::StillDraining { .. } => "it goes on by itself; the same command waits again",
            _ => return self.client_error().and_then(hint_of),
        };
        Some(text.into())
    }
}

fn exit_of(error: &ClientError) -> Exit {
    match error.reason() {
        Some(Reason::UnknownTopic | Reason::UnknownPartition | Reason::UnknownNode) => {
            Exit::NotThere
        }
        Some(Reason::Unauthenticated) => Exit::Failure,
        _ if error.is_retryable() => Exit::Unreachable,
        _ => Exit::Failure,
    }
}

fn hint_of(error: &ClientError) -> Option<String> {
    let Some(reason) = error.reason() else {
        let unreachable = matches!(error, ClientError::Connect(_) | ClientError::NoEndpoint(_));
        return unreachable.then(|| {
            "is the cluster running? `lograft dev` starts one, `lograft context list` shows where \
             this command looked"
                .into()
        });
    };
    if reason == Reason::OffsetOutOfRange {
        let (start, end) = error.valid_offsets()?;
        return Some(format!(
            "offsets {start} to {end} can be asked for: `--from earliest` begins at {start}"
        ));
    }
    let text = match reason {
        Reason::UnknownTopic => "`lograft topic list` shows those that are there",
        Reason::UnknownPartition => "`lograft topic describe` shows those that are there",
        Reason::UnknownNode => "`lograft cluster status` shows those that are there",
        Reason::TopicExists => "--if-not-exists takes it as it is",
        Reason::InvalidReplicationFactor => "lower --replication-factor or add nodes",
        Reason::TooFewNodes => "add a node first, or delete topics with so many replicas",
        Reason::Unauthenticated => {
            "`lograft context show` tells which CA, certificate and key were used"
        }
        Reason::DiskFull => {
            "free space on the nodes' disks or lower a topic's retention: writes then go on"
        }
        Reason::NoLeader | Reason::NotReady | Reason::Timeout | Reason::NotBootstrapped => {
            "`lograft cluster status` shows what is missing; then try again"
        }
        _ => return None,
    };
    Some(text.into())
}

/// An error and its causes, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some causes stand in their effect's text already.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(kind: io::ErrorKind) -> CliError {
        CliError::Output {
            source: kind.into(),
        }
    }

    #[test]
    fn a_closed_pipe_needs_no_words() {
        assert_eq!(output(io::ErrorKind::BrokenPipe).line(), None);
        let line = output(io::ErrorKind::StorageFull).line().unwrap();
        assert_eq!(line, "writing the output: no storage space");
    }

    #[test]
    fn what_to_do_next_ends_the_line() {
        let error = CliError::from(ContextError::NoCurrent {
            path: "/c.yaml".into(),
        });
        let line = error.line().unwrap();
        assert!(
            line.starts_with("no context is chosen in /c.yaml; `lograft dev` starts"),
            "{line}"
        );
        assert_eq!(error.exit(), Exit::NotThere);
    }

    #[test]
    fn causes_stand_once() {
        let topic = "t".into();
        let source = ClientError::NoLeader {
            topic,
            partition: lograft_client::PartitionId(2),
        };
        let error = CliError::Partly {
            acked: "7".into(),
            source: Box::new(CliError::call("producing to \"t\"")(source)),
        };
        let line = error.line().unwrap();
        assert!(
            line.starts_with(
                "after 7 records were acknowledged: producing to \"t\": t/2 has no leader; "
            ),
            "{line}"
        );
        assert_eq!(error.exit(), Exit::Unreachable);
    }
}
