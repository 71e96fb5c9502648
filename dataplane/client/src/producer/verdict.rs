//! The meaning of a leader's reply for a batch.

use lograft_core::{Reason, Term};
use lograft_proto::log::v1::Durability;

use super::outcome::Ack;
use crate::error::ClientError;

/// The meaning of a leader's reply for a batch.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The batch is in the log.
    Stored(Ack),
    /// The send failed and must be repeated. With `maybe_appended` the batch may be in the log.
    Retry {
        error: ClientError,
        maybe_appended: bool,
    },
    /// The sequence does not follow the last one in the log. With `producer_forgotten` the leader
    /// knows no batch of this producer's epoch.
    Gap {
        error: ClientError,
        producer_forgotten: bool,
    },
    /// The batch can never be stored.
    Refused(ClientError),
}

impl Verdict {
    /// Classifies an error in a leader's reply.
    pub(crate) fn from_error(error: ClientError) -> Self {
        match error.reason() {
            // A leader before 0.3.0 reports a batch so that is in the log, applied by a majority,
            // and whose offset it has forgotten.
            Some(Reason::DuplicateSequence) => Self::Stored(Ack {
                base_offset: None,
                leader_epoch: Term(0),
                durability: Durability::MajorityFsync,
                append_time_ms: 0,
                duplicate: true,
            }),
            Some(Reason::OutOfOrderSequence) => {
                let producer_forgotten = error.metadata("expected_sequence") == Some("0");
                Self::Gap {
                    error,
                    producer_forgotten,
                }
            }
            // The node's metadata may lag behind. The supervisor fails the batch if refreshed
            // metadata confirms that the topic or the partition does not exist.
            Some(Reason::UnknownTopic | Reason::UnknownPartition) => Self::Retry {
                error,
                maybe_appended: false,
            },
            reason if error.is_retryable() => {
                // These are returned before a batch is proposed. All others, for example TIMEOUT or
                // NOT_LEADER after a lost leadership, can also follow a proposal that may still
                // commit: treated as "not appended", the records could be stored twice.
                let not_appended = matches!(
                    reason,
                    Some(
                        Reason::NoLeader
                            | Reason::NotReady
                            | Reason::DiskFull
                            | Reason::DiskSlow
                            | Reason::BatchCorrupt
                    )
                );
                Self::Retry {
                    error,
                    maybe_appended: !not_appended,
                }
            }
            _ => Self::Refused(error),
        }
    }
}
