//! Failed calls to the cluster, with the exit code and the hint for each reason.

use lograft_client::{ClientError, Reason, ReceivedReason};

use crate::error::CommandError;
use crate::exit::Exit;

/// A call to the cluster failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}")]
pub(crate) struct CallError {
    action: String,
    source: ClientError,
}

impl CommandError for CallError {
    fn exit(&self) -> Exit {
        exit_for(&self.source)
    }

    fn hint(&self) -> Option<String> {
        hint_for(&self.source)
    }
}

/// Turns a client error into `cannot <action>: <client error>`. The action is an infinitive, e.g.
/// `list topics`.
pub(crate) fn cannot(action: impl Into<String>) -> impl FnOnce(ClientError) -> CallError {
    move |source| CallError {
        action: action.into(),
        source,
    }
}

/// The user asked for a partition that the topic does not have.
#[derive(Debug, thiserror::Error)]
#[error("partition {topic}/{partition} not found: partitions are numbered 0 to {}", count.saturating_sub(1))]
pub(crate) struct PartitionNotFound {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// Number of partitions of the topic.
    pub(crate) count: usize,
}

impl CommandError for PartitionNotFound {
    fn exit(&self) -> Exit {
        Exit::NotFound
    }
}

/// Exit code for a client error.
pub(crate) fn exit_for(error: &ClientError) -> Exit {
    match error.reason() {
        Some(
            Reason::UnknownTopic
            | Reason::UnknownPartition
            | Reason::UnknownNode
            | Reason::UnknownGroup,
        ) => Exit::NotFound,
        // Retryable by its kind, but a retry with the same certificate fails the same way.
        Some(Reason::Unauthenticated) => Exit::Failure,
        _ if error.is_retryable() => Exit::Unavailable,
        _ => Exit::Failure,
    }
}

/// What the user can do about a client error.
pub(crate) fn hint_for(error: &ClientError) -> Option<String> {
    let Some(reason) = error.reason() else {
        if let Some(ReceivedReason::Newer(_)) = error.received_reason() {
            return Some(
                "this version of `lograft` does not know the reason: use the version of the nodes"
                    .into(),
            );
        }
        let is_unreachable = matches!(error, ClientError::Connect(_) | ClientError::NoEndpoint(_));
        return is_unreachable.then(|| {
            "check that the cluster is running (`lograft dev` starts a local one) and that \
             `lograft context list` shows the right endpoints"
                .into()
        });
    };
    if reason == Reason::OffsetOutOfRange {
        let (start, end) = error.valid_offsets()?;
        return Some(format!(
            "valid offsets are {start} to {end}; use `--from earliest` to start at {start}"
        ));
    }
    let text = match reason {
        Reason::UnknownTopic => "run `lograft topic list` to list topics",
        Reason::UnknownPartition => "run `lograft topic describe TOPIC` to list its partitions",
        Reason::UnknownNode => "run `lograft cluster status` to list nodes",
        Reason::UnknownGroup => "run `lograft group list` to list groups",
        Reason::GroupNotEmpty => {
            "stop the consumers of the group first; `lograft group describe` lists them"
        }
        Reason::MemberReplaced => "another process runs with the same --instance-id",
        Reason::TopicExists => "use --if-not-exists to accept an existing topic",
        Reason::InvalidReplicationFactor => "lower --replication-factor or add nodes",
        Reason::TooFewNodes => "add a node first, or delete topics with that replication factor",
        Reason::Unauthenticated => {
            "run `lograft context show` to see which CA, certificate and key are used"
        }
        Reason::PermissionDenied => {
            "run `lograft acl explain me OPERATION RESOURCE` to see which rules decide"
        }
        Reason::FeatureNotFinalized => {
            "run `lograft cluster finalize` once all nodes have the new version"
        }
        Reason::VersionTooOld => {
            "upgrade that node; `lograft cluster status` lists the versions of all nodes"
        }
        Reason::DiskFull => {
            "free disk space on the nodes or lower the retention of a topic; writes resume by \
             themselves"
        }
        Reason::NoLeader | Reason::NotReady | Reason::Timeout | Reason::NotBootstrapped => {
            "run `lograft cluster status` to see what is missing, then retry"
        }
        _ => return None,
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CliError;

    #[test]
    fn a_failed_call_has_a_hint_and_an_exit_code() {
        let source = ClientError::NoLeader {
            topic: "t".into(),
            partition: lograft_client::PartitionId(2),
        };
        let error = CliError::from(cannot("produce to topic t")(source));
        let line = error.line().unwrap();
        assert!(
            line.starts_with(
                "cannot produce to topic t: partition t/2 has no leader; run `lograft cluster"
            ),
            "{line}"
        );
        assert_eq!(error.exit(), Exit::Unavailable);
    }

    fn newer(retryable: bool) -> CliError {
        let rejection = lograft_client::Rejection {
            endpoint: "n1:9400".into(),
            code: 9.into(),
            reason: ReceivedReason::from_wire("OF_A_LATER_VERSION", 9, Some(retryable)),
            retryable,
            text: "not today".into(),
            metadata: std::collections::BTreeMap::new(),
            retry_delay: None,
        };
        let source = ClientError::Rejected(std::sync::Arc::new(rejection));
        CliError::from(cannot("list topics")(source))
    }

    #[test]
    fn a_newer_reason_is_printed_as_received() {
        let error = newer(true);
        assert_eq!(
            error.line().unwrap(),
            "cannot list topics: not today (OF_A_LATER_VERSION); this version of `lograft` does \
             not know the reason: use the version of the nodes"
        );
        assert_eq!(error.exit(), Exit::Unavailable);
        assert_eq!(newer(false).exit(), Exit::Failure);
    }

    #[test]
    fn a_call_that_an_older_node_does_not_know_is_explained() {
        let source = ClientError::UnknownCall {
            endpoint: "n1:9400".into(),
            action: "list topics",
        };
        let error = CliError::from(cannot("list topics")(source));
        assert_eq!(
            error.line().unwrap(),
            "cannot list topics: node n1:9400 cannot list topics: it runs an older version, without \
             this call; upgrade that node; `lograft cluster status` lists the versions of all nodes"
        );
        assert_eq!(error.exit(), Exit::Failure);
    }

    #[test]
    fn a_missing_partition_names_the_valid_ones() {
        let error = CliError::from(PartitionNotFound {
            topic: "t".into(),
            partition: 4,
            count: 4,
        });
        assert_eq!(
            error.line().unwrap(),
            "partition t/4 not found: partitions are numbered 0 to 3"
        );
        assert_eq!(error.exit(), Exit::NotFound);
    }
}
