//! Conversion between raft's types and the messages of `lograft.raft.v1`. Payload bytes are shared
//! in both directions. Bounds of incoming messages are checked here, the CRC of payloads in raft.

use bytes::Bytes;
use lograft_core::limits::{APPEND_ENTRIES_MAX_COUNT, ENTRY_MAX_BYTES};
use lograft_core::{
    ClusterId, Entry, EntryKind, GroupId, LogId, LogIndex, NodeId, Offset, ProducerEpoch,
    ProducerId, ProducerStamp, Proposal, RecoveryEpoch, Sequence, Term, Vote,
};
use lograft_proto::raft::v1 as proto;
use lograft_raft::{MembershipCodecError, wire};

pub(crate) mod reading;
pub(crate) mod snapshot;

/// Why a peer's request or answer makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConvertError {
    /// A field must be set.
    #[error("{0} must be set")]
    Missing(&'static str),
    /// A cluster id has 16 bytes.
    #[error("cluster_id must be 16 bytes, got {0}")]
    ClusterId(usize),
    /// An entry's kind is none that this version knows.
    #[error("kind of entry {index} must be a known kind, got {kind}")]
    Kind {
        /// The entry.
        index: LogIndex,
        /// Its kind.
        kind: u32,
    },
    /// A payload is larger than an entry may be.
    #[error("entry {index} must be at most {ENTRY_MAX_BYTES} bytes, got {size}")]
    Size {
        /// The entry.
        index: LogIndex,
        /// Its payload's size.
        size: usize,
    },
    /// Too many entries at once.
    #[error("entries must be at most {APPEND_ENTRIES_MAX_COUNT}, got {0}")]
    Count(usize),
    /// A snapshot's membership does not decode.
    #[error("cannot decode the membership of the snapshot")]
    Membership(#[source] MembershipCodecError),
    /// A snapshot's state is larger than it may be, or its size is not the announced one.
    #[error("state of the snapshot must be {announced} bytes, got {found}")]
    StateSize {
        /// Bytes received.
        found: u64,
        /// Bytes announced.
        announced: u64,
    },
    /// A snapshot's state does not have the CRC sent with it.
    #[error("state of the snapshot does not match its CRC: it was corrupted in transit")]
    StateCrc,
}

/// From whom, to whom, for which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The cluster of both.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The receiver that is meant.
    pub to: NodeId,
    /// The raft group.
    pub group: GroupId,
    /// The recovery epoch of the sender's replica of the group; 0 outside of raft.
    pub epoch: RecoveryEpoch,
}

impl Route {
    /// As sent.
    pub(crate) fn to_proto(self) -> proto::Route {
        let Self {
            cluster,
            from,
            to,
            group,
            epoch,
        } = self;
        proto::Route {
            cluster_id: Bytes::copy_from_slice(&cluster.to_bytes()),
            from_node: from.get(),
            to_node: to.get(),
            group_id: group.get(),
            recovery_epoch: epoch.get(),
        }
    }

    /// As received.
    pub(crate) fn from_proto(route: Option<&proto::Route>) -> Result<Self, ConvertError> {
        let proto::Route {
            cluster_id,
            from_node,
            to_node,
            group_id,
            recovery_epoch,
        } = route.ok_or(ConvertError::Missing("route"))?;
        let cluster = <[u8; 16]>::try_from(cluster_id.as_ref())
            .map_err(|_| ConvertError::ClusterId(cluster_id.len()))?;
        Ok(Self {
            cluster: ClusterId::from_bytes(cluster),
            from: NodeId(*from_node),
            to: NodeId(*to_node),
            group: GroupId(*group_id),
            epoch: RecoveryEpoch(*recovery_epoch),
        })
    }
}

pub(crate) fn log_id_to_proto(id: LogId) -> proto::LogId {
    proto::LogId {
        term: id.term.get(),
        index: id.index.get(),
    }
}

pub(crate) fn log_id_from_proto(id: proto::LogId) -> LogId {
    LogId {
        term: Term(id.term),
        index: LogIndex(id.index),
    }
}

pub(crate) fn vote_to_proto(vote: Vote) -> proto::RaftVote {
    let Vote {
        term,
        voted_for,
        committed,
    } = vote;
    proto::RaftVote {
        term: term.get(),
        voted_for: voted_for.get(),
        committed,
    }
}

pub(crate) fn vote_from_proto(vote: Option<proto::RaftVote>) -> Result<Vote, ConvertError> {
    let proto::RaftVote {
        term,
        voted_for,
        committed,
    } = vote.ok_or(ConvertError::Missing("vote"))?;
    Ok(Vote {
        term: Term(term),
        voted_for: NodeId(voted_for),
        committed,
    })
}

pub(crate) fn entry_to_proto(entry: Entry) -> proto::Entry {
    let Entry {
        id,
        base_offset,
        proposal,
    } = entry;
    let Proposal {
        kind,
        record_count,
        append_time_ms,
        max_time_ms,
        producer,
        payload_crc32c,
        payload,
    } = proposal;
    proto::Entry {
        term: id.term.get(),
        index: id.index.get(),
        kind: u32::from(kind as u8),
        base_offset: base_offset.get(),
        record_count,
        append_time_ms,
        max_time_ms,
        producer: producer.map(|stamp| proto::EntryProducer {
            producer_id: stamp.id.get(),
            producer_epoch: stamp.epoch.get(),
            base_sequence: stamp.base_sequence.get(),
        }),
        payload_crc32c,
        payload,
    }
}

/// The payload's CRC stays with it: `RaftGroup` checks it, as the only place on this node.
pub(crate) fn entry_from_proto(entry: proto::Entry) -> Result<Entry, ConvertError> {
    let proto::Entry {
        term,
        index,
        kind: kind_code,
        base_offset,
        record_count,
        append_time_ms,
        max_time_ms,
        producer,
        payload_crc32c,
        payload,
    } = entry;
    let index = LogIndex(index);
    let kind = u8::try_from(kind_code)
        .ok()
        .and_then(EntryKind::from_code)
        .ok_or(ConvertError::Kind {
            index,
            kind: kind_code,
        })?;
    if payload.len() > ENTRY_MAX_BYTES {
        return Err(ConvertError::Size {
            index,
            size: payload.len(),
        });
    }
    Ok(Entry {
        id: LogId {
            term: Term(term),
            index,
        },
        base_offset: Offset(base_offset),
        proposal: Proposal {
            kind,
            record_count,
            append_time_ms,
            max_time_ms,
            producer: producer.map(|stamp| ProducerStamp {
                id: ProducerId(stamp.producer_id),
                epoch: ProducerEpoch(stamp.producer_epoch),
                base_sequence: Sequence(stamp.base_sequence),
            }),
            payload_crc32c,
            payload,
        },
    })
}

pub(crate) fn append_to_proto(
    request: wire::AppendRequest,
    route: Option<Route>,
) -> proto::AppendRequest {
    let wire::AppendRequest {
        vote,
        prev,
        entries,
        leader_commit,
        isolated,
    } = request;
    proto::AppendRequest {
        route: route.map(Route::to_proto),
        vote: Some(vote_to_proto(vote)),
        prev: prev.map(log_id_to_proto),
        entries: entries.into_iter().map(entry_to_proto).collect(),
        leader_commit: leader_commit.map(log_id_to_proto),
        isolated,
    }
}

pub(crate) fn append_from_proto(
    request: proto::AppendRequest,
) -> Result<wire::AppendRequest, ConvertError> {
    let proto::AppendRequest {
        route: _,
        vote,
        prev,
        entries,
        leader_commit,
        isolated,
    } = request;
    if entries.len() as u64 > APPEND_ENTRIES_MAX_COUNT {
        return Err(ConvertError::Count(entries.len()));
    }
    Ok(wire::AppendRequest {
        vote: vote_from_proto(vote)?,
        prev: prev.map(log_id_from_proto),
        entries: entries
            .into_iter()
            .map(entry_from_proto)
            .collect::<Result<_, _>>()?,
        leader_commit: leader_commit.map(log_id_from_proto),
        isolated,
    })
}

pub(crate) fn append_reply_to_proto(reply: wire::AppendReply) -> proto::AppendReply {
    use proto::append_reply::Result;
    let result = match reply {
        wire::AppendReply::Accepted(last) => Result::Appended(proto::Appended {
            last: last.map(log_id_to_proto),
        }),
        wire::AppendReply::Conflict(at) => Result::Conflict(log_id_to_proto(at)),
        wire::AppendReply::HigherVote(vote) => Result::HigherVote(vote_to_proto(vote)),
    };
    proto::AppendReply {
        result: Some(result),
        follower: None,
    }
}

pub(crate) fn append_reply_from_proto(
    reply: proto::AppendReply,
) -> Result<wire::AppendReply, ConvertError> {
    use proto::append_reply::Result;
    Ok(match reply.result.ok_or(ConvertError::Missing("result"))? {
        Result::Appended(appended) => {
            wire::AppendReply::Accepted(appended.last.map(log_id_from_proto))
        }
        Result::Conflict(at) => wire::AppendReply::Conflict(log_id_from_proto(at)),
        Result::HigherVote(vote) => wire::AppendReply::HigherVote(vote_from_proto(Some(vote))?),
    })
}

pub(crate) fn vote_request_to_proto(
    request: wire::VoteRequest,
    route: Route,
) -> proto::VoteRequest {
    let wire::VoteRequest {
        vote,
        last,
        pre_vote,
        leadership_transfer,
    } = request;
    proto::VoteRequest {
        route: Some(route.to_proto()),
        vote: Some(vote_to_proto(vote)),
        last: last.map(log_id_to_proto),
        pre_vote,
        leadership_transfer,
        sender: None,
        receiver_seen: None,
    }
}

pub(crate) fn vote_request_from_proto(
    request: &proto::VoteRequest,
) -> Result<wire::VoteRequest, ConvertError> {
    let &proto::VoteRequest {
        route: _,
        vote,
        last,
        pre_vote,
        leadership_transfer,
        sender: _,
        receiver_seen: _,
    } = request;
    Ok(wire::VoteRequest {
        vote: vote_from_proto(vote)?,
        last: last.map(log_id_from_proto),
        pre_vote,
        leadership_transfer,
    })
}

pub(crate) fn vote_reply_to_proto(reply: wire::VoteReply) -> proto::VoteReply {
    let wire::VoteReply {
        vote,
        granted,
        last,
    } = reply;
    proto::VoteReply {
        vote: Some(vote_to_proto(vote)),
        granted,
        last: last.map(log_id_to_proto),
        voter: None,
    }
}

pub(crate) fn vote_reply_from_proto(
    reply: proto::VoteReply,
) -> Result<wire::VoteReply, ConvertError> {
    let proto::VoteReply {
        vote,
        granted,
        last,
        voter: _,
    } = reply;
    Ok(wire::VoteReply {
        vote: vote_from_proto(vote)?,
        granted,
        last: last.map(log_id_from_proto),
    })
}

pub(crate) fn transfer_to_proto(
    request: wire::TransferRequest,
    route: Route,
) -> proto::TransferLeaderRequest {
    let wire::TransferRequest {
        from_leader,
        to,
        last,
    } = request;
    proto::TransferLeaderRequest {
        route: Some(route.to_proto()),
        from_leader: Some(vote_to_proto(from_leader)),
        to_node: to.get(),
        last: last.map(log_id_to_proto),
    }
}

pub(crate) fn transfer_from_proto(
    request: &proto::TransferLeaderRequest,
) -> Result<wire::TransferRequest, ConvertError> {
    let &proto::TransferLeaderRequest {
        route: _,
        from_leader,
        to_node,
        last,
    } = request;
    Ok(wire::TransferRequest {
        from_leader: vote_from_proto(from_leader)?,
        to: NodeId(to_node),
        last: last.map(log_id_from_proto),
    })
}

pub(crate) fn transfer_reply_to_proto(reply: wire::TransferReply) -> proto::TransferLeaderReply {
    use proto::transfer_leader_reply::Refused;
    let refused = match reply {
        wire::TransferReply::Accepted => None,
        wire::TransferReply::VoteChanged(vote) => Some(Refused::VoteChanged(vote_to_proto(vote))),
        wire::TransferReply::NotFlushed(last) => Some(Refused::NotFlushed(proto::NotFlushed {
            last: last.map(log_id_to_proto),
        })),
    };
    proto::TransferLeaderReply { refused }
}

pub(crate) fn transfer_reply_from_proto(
    reply: proto::TransferLeaderReply,
) -> Result<wire::TransferReply, ConvertError> {
    use proto::transfer_leader_reply::Refused;
    Ok(match reply.refused {
        None => wire::TransferReply::Accepted,
        Some(Refused::VoteChanged(vote)) => {
            wire::TransferReply::VoteChanged(vote_from_proto(Some(vote))?)
        }
        Some(Refused::NotFlushed(proto::NotFlushed { last })) => {
            wire::TransferReply::NotFlushed(last.map(log_id_from_proto))
        }
    })
}

#[cfg(test)]
mod tests;
