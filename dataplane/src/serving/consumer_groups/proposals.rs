//! Proposals of a coordinator's leader.

use lograft_core::consumer_group::{Applied, GroupCommand, GroupOutcome};
use lograft_core::limits::{
    COMMITS_ENTRY_MAX_BYTES, COORDINATOR_ENTRY_MAX_BYTES, ENTRY_LEVEL_1_MAX_BYTES,
    PRODUCE_TIMEOUT_DEFAULT,
};
use lograft_core::{EntryKind, Proposal, Reason, Term};
use lograft_raft::{ProposeError, RaftGroup, Response};
use tokio::time::timeout;

use crate::error::ApiError;

/// Commits a command in the leader's term. A TIMEOUT error means that the outcome is unknown.
pub(super) async fn propose(
    raft: &RaftGroup,
    (command, term): (&GroupCommand, Term),
    now_ms: i64,
) -> Result<GroupOutcome, ApiError> {
    let payload = command.encode();
    let payload =
        payload.map_err(|error| ApiError::internal("encode a group's command", &error))?;
    // A log that refuses an entry for its size ends the raft group.
    if payload.len() > COORDINATOR_ENTRY_MAX_BYTES {
        let text = format!(
            "change of the group must be at most {COORDINATOR_ENTRY_MAX_BYTES} bytes, got {}",
            payload.len()
        );
        return Err(ApiError::new(Reason::LimitExceeded, text));
    }
    let proposal = Proposal::control(EntryKind::Command, now_ms, payload.into());
    let committed = async { raft.propose(proposal, term).await?.await };
    let committed = tokio::select! {
        committed = timeout(PRODUCE_TIMEOUT_DEFAULT, committed) => {
            committed.map_err(|_| unknown())?
        }
        // Raft does not answer while it waits for a disk that hangs.
        () = raft.disk_hangs() => return Err(unknown()),
    };
    match committed {
        Ok(committed) => match committed.response {
            Response::Command(bytes) => Applied::decode(&bytes).map_err(|error| {
                ApiError::internal("read the outcome of a group's command", &error)
            }),
            // Voided: another leader's entry has its place.
            Response::None | Response::Records { .. } => Err(ApiError::not_leader(None)),
        },
        // Whether or not another leader has the entry: the call may be repeated there.
        Err(ProposeError::NotLeader { .. } | ProposeError::Discarded { .. }) => {
            Err(ApiError::not_leader(None))
        }
        Err(ProposeError::Stopped) => Err(ApiError::replica_closing()),
    }
}

fn unknown() -> ApiError {
    let text = "not acknowledged in time: the change of the group may or may not be made";
    ApiError::new(Reason::Timeout, text)
}

/// The offsets of an entry, and those of one call that are taken although they do not fit beside
/// the others.
const _: () = assert!(COMMITS_ENTRY_MAX_BYTES * 2 <= COORDINATOR_ENTRY_MAX_BYTES);
/// Every log takes such an entry.
const _: () = assert!(COORDINATOR_ENTRY_MAX_BYTES <= ENTRY_LEVEL_1_MAX_BYTES);
