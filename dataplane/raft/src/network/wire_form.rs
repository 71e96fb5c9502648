//! Conversions between openraft's requests and those of [`crate::wire`].

use openraft::raft::TransferLeaderError;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest,
};

use crate::convert::{
    entry_from_raft, entry_to_raft, log_id_from_raft, log_id_to_raft, vote_from_raft, vote_to_raft,
};
use crate::error::RaftError;
use crate::types::Types;
use crate::wire::{self, AppendReply, TransferReply};

/// The request of a leader, which a majority has acknowledged lately, or not.
pub(crate) fn request_from_raft(
    request: AppendEntriesRequest<Types>,
    isolated: bool,
) -> wire::AppendRequest {
    let AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    } = request;
    wire::AppendRequest {
        vote: vote_from_raft(&vote),
        prev: prev_log_id.as_ref().map(log_id_from_raft),
        entries: entries.into_iter().map(entry_from_raft).collect(),
        leader_commit: leader_commit.as_ref().map(log_id_from_raft),
        isolated,
    }
}

/// Converts a peer's request, after checking the CRC of each payload.
///
/// Fails if an entry's checksum is wrong or its membership does not decode.
pub(crate) fn request_to_raft(
    request: wire::AppendRequest,
) -> Result<AppendEntriesRequest<Types>, RaftError> {
    let wire::AppendRequest {
        vote,
        prev,
        entries,
        leader_commit,
        isolated: _,
    } = request;
    // The only CRC check of a replicated payload on this node. A corrupt entry is rejected before
    // it is in the log: it would be acknowledged towards a majority that does not have the record.
    let entries = entries.into_iter().map(|entry| {
        let index = entry.id.index;
        if crc32c::crc32c(&entry.proposal.payload) != entry.proposal.payload_crc32c {
            return Err(RaftError::EntryCorrupt { index });
        }
        entry_to_raft(entry).map_err(|error| RaftError::EntryMalformed {
            index,
            source: error.into(),
        })
    });
    Ok(AppendEntriesRequest {
        vote: vote_to_raft(vote),
        prev_log_id: prev.map(log_id_to_raft),
        entries: entries.collect::<Result<_, _>>()?,
        leader_commit: leader_commit.map(log_id_to_raft),
    })
}

pub(crate) fn reply_from_raft(result: &StreamAppendResult<Types>) -> AppendReply {
    match result {
        Ok(last) => AppendReply::Accepted(last.as_ref().map(log_id_from_raft)),
        Err(StreamAppendError::Conflict(at)) => AppendReply::Conflict(log_id_from_raft(at)),
        Err(StreamAppendError::HigherVote(vote)) => AppendReply::HigherVote(vote_from_raft(vote)),
    }
}

pub(crate) fn vote_from_request(request: &VoteRequest<Types>, pre_vote: bool) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: vote_from_raft(&request.vote),
        last: request.last_log_id.as_ref().map(log_id_from_raft),
        pre_vote,
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_to_request(request: &wire::VoteRequest) -> VoteRequest<Types> {
    let wire::VoteRequest {
        vote,
        last,
        pre_vote: _,
        leadership_transfer,
    } = *request;
    let mut request = VoteRequest::new(vote_to_raft(vote), last.map(log_id_to_raft));
    request.leadership_transfer = leadership_transfer;
    request
}

pub(crate) fn transfer_from_raft(request: &TransferLeaderRequest<Types>) -> wire::TransferRequest {
    wire::TransferRequest {
        from_leader: vote_from_raft(request.from_leader()),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_from_raft),
    }
}

pub(crate) fn transfer_to_raft(request: wire::TransferRequest) -> TransferLeaderRequest<Types> {
    let wire::TransferRequest {
        from_leader,
        to,
        last,
    } = request;
    TransferLeaderRequest::new(vote_to_raft(from_leader), to, last.map(log_id_to_raft))
}

pub(crate) fn transfer_reply_to_raft(
    reply: TransferReply,
    request: &TransferLeaderRequest<Types>,
) -> TransferLeaderResponse<Types> {
    match reply {
        TransferReply::Accepted => Ok(()),
        TransferReply::VoteChanged(vote) => Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: vote_to_raft(vote),
        }),
        TransferReply::NotFlushed(last) => Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: last.map(log_id_to_raft),
        }),
    }
}

pub(crate) fn transfer_reply_from_raft(reply: &TransferLeaderResponse<Types>) -> TransferReply {
    match reply {
        Ok(()) => TransferReply::Accepted,
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            TransferReply::VoteChanged(vote_from_raft(actual))
        }
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            TransferReply::NotFlushed(actual.as_ref().map(log_id_from_raft))
        }
    }
}
