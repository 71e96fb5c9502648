use lograft_core::Membership;

use super::snapshot::{Assembly, to_chunks};
use super::*;

fn id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        index: LogIndex(index),
    }
}

fn vote() -> Vote {
    Vote {
        term: Term(4),
        voted_for: NodeId(2),
        committed: true,
    }
}

fn route() -> Route {
    Route {
        cluster: ClusterId::from_bytes([7; 16]),
        from: NodeId(1),
        to: NodeId(2),
        group: GroupId(9),
        epoch: RecoveryEpoch((3 << 32) | 2),
    }
}

fn records(index: u64, payload: Vec<u8>) -> Entry {
    let payload = Bytes::from(payload);
    Entry {
        id: id(4, index),
        base_offset: Offset(1000 + index),
        proposal: Proposal {
            kind: EntryKind::Records,
            record_count: 3,
            append_time_ms: 1_700_000_000_123,
            max_time_ms: -5,
            producer: Some(ProducerStamp {
                id: ProducerId(u64::MAX),
                epoch: ProducerEpoch(6),
                base_sequence: Sequence(77),
            }),
            payload_crc32c: crc32c::crc32c(&payload),
            payload,
        },
    }
}

/// Through the bytes of the wire and back.
fn carried<M: prost::Message + Default>(sent: &M) -> M {
    M::decode(Bytes::from(sent.encode_to_vec())).unwrap()
}

#[test]
fn an_append_survives_the_wire() {
    let sent = wire::AppendRequest {
        vote: vote(),
        prev: Some(id(3, 10)),
        entries: vec![
            records(11, vec![1; 100]),
            records(12, vec![2; 64 * 1024]),
            Entry {
                id: id(4, 13),
                base_offset: Offset(5),
                proposal: Proposal::control(EntryKind::Blank, 9, Bytes::new()),
            },
        ],
        leader_commit: None,
        isolated: true,
    };
    let got = carried(&append_to_proto(sent.clone(), Some(route())));
    assert_eq!(Route::from_proto(got.route.as_ref()), Ok(route()));
    assert_eq!(append_from_proto(got), Ok(sent));
}

#[test]
fn a_payload_is_shared_both_ways() {
    let entry = records(1, vec![3; 100]);
    let before = entry.proposal.payload.as_ptr();
    let sent = entry_to_proto(entry);
    assert_eq!(sent.payload.as_ptr(), before);
    assert_eq!(
        entry_from_proto(sent).unwrap().proposal.payload.as_ptr(),
        before
    );
}

#[test]
fn an_entry_outside_its_bounds_is_refused() {
    // Also those whose lowest byte is a known kind.
    for kind in [0, 6, 77, 256 + EntryKind::Records as u32, u32::MAX] {
        let mut sent = entry_to_proto(records(8, vec![]));
        sent.kind = kind;
        let index = LogIndex(8);
        assert_eq!(
            entry_from_proto(sent.clone()),
            Err(ConvertError::Kind { index, kind })
        );
        let mut request = append_to_proto(
            wire::AppendRequest {
                vote: vote(),
                prev: None,
                entries: vec![records(7, vec![])],
                leader_commit: None,
                isolated: false,
            },
            None,
        );
        request.entries.push(sent);
        let refused = append_from_proto(request).unwrap_err();
        assert_eq!(refused, ConvertError::Kind { index, kind });
    }
    let sent = entry_to_proto(records(8, vec![0; ENTRY_MAX_BYTES + 1]));
    assert!(matches!(
        entry_from_proto(sent),
        Err(ConvertError::Size { .. })
    ));
}

#[test]
fn every_reply_survives_the_wire() {
    for reply in [
        wire::AppendReply::Accepted(None),
        wire::AppendReply::Accepted(Some(id(1, 2))),
        wire::AppendReply::Conflict(id(0, 0)),
        wire::AppendReply::HigherVote(vote()),
    ] {
        assert_eq!(
            append_reply_from_proto(carried(&append_reply_to_proto(reply))),
            Ok(reply)
        );
    }
    for reply in [
        wire::TransferReply::Accepted,
        wire::TransferReply::VoteChanged(vote()),
        wire::TransferReply::NotFlushed(None),
        wire::TransferReply::NotFlushed(Some(id(2, 3))),
    ] {
        assert_eq!(
            transfer_reply_from_proto(carried(&transfer_reply_to_proto(reply))),
            Ok(reply)
        );
    }
    let reply = wire::VoteReply {
        vote: vote(),
        granted: true,
        last: None,
    };
    assert_eq!(
        vote_reply_from_proto(carried(&vote_reply_to_proto(reply))),
        Ok(reply)
    );
}

#[test]
fn votes_and_transfers_survive_the_wire() {
    let sent = wire::VoteRequest {
        vote: vote(),
        last: Some(id(1, 0)),
        pre_vote: true,
        leadership_transfer: false,
    };
    let got = vote_request_from_proto(&carried(&vote_request_to_proto(sent, route())));
    assert_eq!(got, Ok(sent));
    let sent = wire::TransferRequest {
        from_leader: vote(),
        to: NodeId(3),
        last: None,
    };
    assert_eq!(
        transfer_from_proto(&carried(&transfer_to_proto(sent, route()))),
        Ok(sent)
    );
}

fn snapshot(state_len: usize) -> wire::SnapshotRequest {
    let state: Vec<u8> = (0..=255).cycle().take(state_len).collect();
    wire::SnapshotRequest {
        vote: vote(),
        snapshot: wire::Snapshot {
            last: id(2, 500),
            next_offset: Offset(12_345),
            membership: Membership {
                voters: [NodeId(1), NodeId(2)].into(),
                joint: None,
                learners: [NodeId(3)].into(),
            },
            membership_id: Some(id(1, 1)),
            state: Bytes::from(state),
        },
    }
}

fn assemble(chunks: Vec<proto::SnapshotChunk>) -> Result<wire::SnapshotRequest, ConvertError> {
    let mut chunks = chunks.into_iter();
    let mut assembly = Assembly::begin(chunks.next().unwrap())?;
    for chunk in chunks {
        assembly.push(&chunk.data)?;
    }
    assembly.finish()
}

#[test]
fn a_snapshot_survives_being_cut() {
    use lograft_core::limits::SNAPSHOT_CHUNK_MAX_BYTES as CHUNK;
    for (state_len, chunk_count) in [(0, 1), (1, 1), (CHUNK, 1), (CHUNK + 1, 2), (3 * CHUNK, 3)] {
        let sent = snapshot(state_len);
        let chunks: Vec<_> = to_chunks(sent.clone(), route())
            .map(|c| carried(&c))
            .collect();
        assert_eq!(chunks.len(), chunk_count);
        assert_eq!(assemble(chunks), Ok(sent));
    }
}

#[test]
fn a_snapshot_that_is_not_whole_is_refused() {
    use lograft_core::limits::SNAPSHOT_CHUNK_MAX_BYTES as CHUNK;
    let chunks = || to_chunks(snapshot(2 * CHUNK), route()).collect::<Vec<_>>();
    let mut short = chunks();
    short.pop();
    assert!(matches!(
        assemble(short),
        Err(ConvertError::StateSize { .. })
    ));
    let mut long = chunks();
    long.push(proto::SnapshotChunk {
        head: None,
        data: Bytes::from_static(b"x"),
    });
    assert!(matches!(
        assemble(long),
        Err(ConvertError::StateSize { .. })
    ));
    let mut damaged = chunks();
    damaged[1].data = Bytes::from(vec![0; CHUNK]);
    assert_eq!(assemble(damaged), Err(ConvertError::StateCrc));
    let mut newer = chunks();
    newer[0].head.as_mut().unwrap().membership = Bytes::from_static(&[2, 0]);
    assert_eq!(
        assemble(newer),
        Err(ConvertError::Membership(MembershipCodecError::Version(2)))
    );
    let mut headless = chunks();
    headless.remove(0);
    assert_eq!(assemble(headless), Err(ConvertError::Missing("head")));
    let mut huge = chunks();
    huge[0].head.as_mut().unwrap().state_len = u64::MAX;
    assert!(matches!(
        assemble(huge),
        Err(ConvertError::StateSize { .. })
    ));
}
