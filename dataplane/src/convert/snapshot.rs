//! A snapshot as a run of chunks: the first holds the head, the state follows in pieces.

use bytes::{Bytes, BytesMut};
use lograft_core::Offset;
use lograft_core::limits::{SNAPSHOT_CHUNK_MAX_BYTES, SNAPSHOT_STATE_MAX_BYTES};
use lograft_proto::raft::v1 as proto;
use lograft_raft::{decode_membership, encode_membership, wire};

use super::{
    ConvertError, Route, log_id_from_proto, log_id_to_proto, vote_from_proto, vote_to_proto,
};

/// The chunks of a snapshot, in order; at least one.
pub(crate) fn to_chunks(
    request: wire::SnapshotRequest,
    route: Route,
) -> impl Iterator<Item = proto::SnapshotChunk> + Send + 'static {
    let wire::SnapshotRequest { vote, snapshot } = request;
    let wire::Snapshot {
        last,
        next_offset,
        membership,
        membership_id,
        state,
    } = snapshot;
    let head = proto::SnapshotHead {
        route: Some(route.to_proto()),
        vote: Some(vote_to_proto(vote)),
        last: Some(log_id_to_proto(last)),
        next_offset: next_offset.get(),
        membership_id: membership_id.map(log_id_to_proto),
        membership: encode_membership(&membership),
        snapshot_id: last.to_string(),
        state_len: state.len() as u64,
        state_crc32c: crc32c::crc32c(&state),
    };
    let mut head = Some(head);
    let mut rest = state;
    std::iter::from_fn(move || {
        if head.is_none() && rest.is_empty() {
            return None;
        }
        let data = rest.split_to(rest.len().min(SNAPSHOT_CHUNK_MAX_BYTES));
        Some(proto::SnapshotChunk {
            head: head.take(),
            data,
        })
    })
}

/// Puts a snapshot together from its chunks.
pub(crate) struct Assembly {
    head: proto::SnapshotHead,
    state: BytesMut,
}

impl Assembly {
    /// From the first chunk.
    pub(crate) fn begin(first: proto::SnapshotChunk) -> Result<Self, ConvertError> {
        let head = first.head.ok_or(ConvertError::Missing("head"))?;
        if head.state_len > SNAPSHOT_STATE_MAX_BYTES as u64 {
            let max = SNAPSHOT_STATE_MAX_BYTES as u64;
            return Err(ConvertError::StateSize {
                found: head.state_len,
                announced: max,
            });
        }
        let mut assembly = Self {
            head,
            state: BytesMut::new(),
        };
        assembly.push(&first.data)?;
        Ok(assembly)
    }

    /// Adds a chunk's state.
    pub(crate) fn push(&mut self, data: &Bytes) -> Result<(), ConvertError> {
        let found = (self.state.len() + data.len()) as u64;
        if found > self.head.state_len {
            return Err(ConvertError::StateSize {
                found,
                announced: self.head.state_len,
            });
        }
        self.state.extend_from_slice(data);
        Ok(())
    }

    /// The whole, after the last chunk.
    pub(crate) fn finish(self) -> Result<wire::SnapshotRequest, ConvertError> {
        let Self { head, state } = self;
        if state.len() as u64 != head.state_len {
            let found = state.len() as u64;
            return Err(ConvertError::StateSize {
                found,
                announced: head.state_len,
            });
        }
        if crc32c::crc32c(&state) != head.state_crc32c {
            return Err(ConvertError::StateCrc);
        }
        let last = head.last.ok_or(ConvertError::Missing("last"))?;
        Ok(wire::SnapshotRequest {
            vote: vote_from_proto(head.vote)?,
            snapshot: wire::Snapshot {
                last: log_id_from_proto(last),
                next_offset: Offset(head.next_offset),
                membership: decode_membership(&head.membership)
                    .map_err(ConvertError::Membership)?,
                membership_id: head.membership_id.map(log_id_from_proto),
                state: state.freeze(),
            },
        })
    }
}
