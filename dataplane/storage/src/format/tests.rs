//! Round trips of every record, and the rejection of damaged ones.

use bytes::Bytes;
use lograft_core::{
    ClusterId, Entry, EntryKind, GroupId, LogId, LogIndex, NodeId, Offset, ProducerEpoch,
    ProducerId, ProducerStamp, Proposal, Sequence, Term, Vote,
};
use proptest::prelude::*;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::Identity;
use crate::hard_state::HardState;

const GROUP: GroupId = GroupId(5);

fn cluster() -> ClusterId {
    ClusterId::from_bytes(*b"0123456789abcdef")
}

fn any_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| LogId {
        term: Term(term),
        index: LogIndex(index),
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let stamp = (any::<u64>(), any::<u32>(), any::<u64>()).prop_map(|(id, epoch, sequence)| {
        ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        }
    });
    let rest = (
        any::<u32>(),
        any::<i64>(),
        any::<i64>(),
        prop::option::of(stamp),
    );
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    (any_id(), any::<u64>(), 1u8..=5, rest, payload).prop_map(
        |(id, offset, kind, (record_count, append_time_ms, max_time_ms, producer), payload)| {
            let payload = Bytes::from(payload);
            let kind = EntryKind::from_code(kind).unwrap();
            let payload_crc32c = crc32c::crc32c(&payload);
            let proposal = Proposal {
                kind,
                record_count,
                append_time_ms,
                max_time_ms,
                producer,
                payload_crc32c,
                payload,
            };
            Entry {
                id,
                base_offset: Offset(offset),
                proposal,
            }
        },
    )
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    let at = at % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
}

fn facts(base: u64, prev: bool) -> SegmentFacts {
    let prev = LogIndex(base).prev().filter(|_| prev);
    SegmentFacts {
        base: LogIndex(base),
        base_offset: Offset(base * 3),
        prev: prev.map(|index| LogId {
            term: Term(7),
            index,
        }),
        uid: 0x1234_5678_9abc_def0,
        capacity_bytes: 1 << 20,
        starts_log: base % 2 == 1,
    }
}

proptest! {
    #[test]
    fn entry_headers_round_trip(
        entry in any_entry(), durable in any::<u64>(), seed in any::<u32>(),
    ) {
        let (bytes, crc) = EntryHeader::encode(&entry, LogIndex(durable), 77, seed);
        let header = EntryHeader::decode(&bytes, seed).unwrap();
        prop_assert_eq!((header.crc32c, header.prev_crc32c), (crc, 77));
        prop_assert_eq!(header.durable_end, LogIndex(durable));
        prop_assert_eq!(header.size_bytes(), entry_size_bytes(entry.proposal.payload.len()));
        prop_assert_eq!(header.into_entry(entry.proposal.payload.clone()), entry);
    }

    #[test]
    fn damaged_or_foreign_entry_headers_are_rejected(
        entry in any_entry(), at in any::<usize>(), bit in any::<u8>(), seed in any::<u32>(),
    ) {
        let (mut bytes, _) = EntryHeader::encode(&entry, LogIndex(0), 0, seed);
        prop_assert_eq!(EntryHeader::decode(&bytes, seed ^ 1), None);
        prop_assert_eq!(EntryHeader::decode(&bytes[..95], seed), None);
        flip(&mut bytes, at, bit);
        prop_assert_eq!(EntryHeader::decode(&bytes, seed), None);
        prop_assert_eq!(EntryHeader::newer(&bytes, seed), None);
    }

    #[test]
    fn segment_headers_round_trip_and_reject_damage(
        base in any::<u32>(), prev in any::<bool>(), at in any::<usize>(), bit in any::<u8>(),
    ) {
        let facts = facts(u64::from(base), prev);
        let (mut bytes, crc) = SegmentHeader::encode(&facts, GROUP, cluster());
        let header = SegmentHeader::decode(&bytes).unwrap();
        prop_assert_eq!(&header.facts, &facts);
        prop_assert_eq!((header.group, header.cluster_id, header.crc32c), (GROUP, cluster(), crc));
        flip(&mut bytes, at, bit);
        prop_assert!(SegmentHeader::decode(&bytes).is_none());
        prop_assert_eq!(SEGMENT.newer(&bytes), None);
    }

    #[test]
    fn hard_records_round_trip_and_reject_damage(
        vote in prop::option::of((any::<u64>(), any::<u64>(), any::<bool>())),
        committed in prop::option::of(any_id()),
        numbers in any::<(u64, u64)>(), at in any::<usize>(), bit in any::<u8>(),
    ) {
        let vote = vote.map(|(term, node, committed)| Vote {
            term: Term(term),
            voted_for: NodeId(node),
            committed,
        });
        let hard = HardState { vote, committed };
        let (sequence, durable_end) = (numbers.0, LogIndex(numbers.1));
        let record = HardRecord { sequence, hard, durable_end };
        let mut bytes = record.encode(GROUP, cluster());
        prop_assert_eq!(HardRecord::decode(&bytes, GROUP), Some((record, cluster())));
        prop_assert_eq!(HardRecord::decode(&bytes, GroupId(6)), None);
        flip(&mut bytes, at, bit);
        prop_assert_eq!(HardRecord::decode(&bytes, GROUP), None);
        prop_assert_eq!(HardRecord::newer(&bytes), None);
    }

    #[test]
    fn checkpoints_round_trip_and_reject_damage(
        last in any_id(), membership_id in prop::option::of(any_id()),
        parts in any::<(Vec<u8>, Vec<u8>, u64)>(), at in any::<usize>(), bit in any::<u8>(),
    ) {
        let (membership, state, offset) = parts;
        let checkpoint = Checkpoint {
            last,
            next_offset: Offset(offset),
            membership: membership.into(),
            membership_id,
            state: state.into(),
        };
        let mut bytes = encode_checkpoint(&checkpoint, GROUP, cluster());
        let decode = |bytes: &[u8]| {
            decode_checkpoint(&Bytes::copy_from_slice(bytes), GROUP, cluster())
        };
        prop_assert_eq!(decode(&bytes), Some(checkpoint));
        prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        flip(&mut bytes, at, bit);
        prop_assert_eq!(decode(&bytes), None);
        prop_assert_eq!(CHECKPOINT.newer(&bytes), None);
    }

    #[test]
    fn index_files_round_trip_and_reject_damage(
        runs in prop::collection::vec(any_id(), 1..5),
        points in prop::collection::vec(any::<(u64, u64, u64, i64)>(), 0..40),
        at in any::<usize>(), bit in any::<u8>(),
    ) {
        let points: Vec<IndexPoint> = points
            .into_iter()
            .map(|(index, offset, position, max_time_before_ms)| IndexPoint {
                index: LogIndex(index),
                base_offset: Offset(offset),
                position,
                max_time_before_ms,
            })
            .collect();
        let last = LogId { term: runs.last().unwrap().term, index: LogIndex(99) };
        let head = IndexHead {
            group: GROUP,
            uid: 77,
            base: LogIndex(9),
            last,
            next_offset: Offset(1000),
            end_position: 12_345,
            max_time_ms: -5,
            terms: runs,
        };
        let mut bytes = IndexFile::encode(&head, &points);
        prop_assert_eq!(IndexFile::decode(&bytes), Some(head.clone()));
        prop_assert_eq!(IndexFile::points_count(&bytes), points.len());
        for (nth, point) in points.iter().enumerate() {
            prop_assert_eq!(&IndexFile::point(&bytes, nth), point);
        }
        flip(&mut bytes, at, bit);
        prop_assert!(IndexFile::decode(&bytes).is_none());
        prop_assert_eq!(INDEX.newer(&bytes), None);
    }
}

#[test]
fn identities_round_trip_and_reject_damage() {
    let identity = Identity {
        cluster_id: cluster(),
        node_id: NodeId(12),
    };
    let bytes = encode_identity(&identity);
    assert_eq!(decode_identity(&bytes), Some(identity));
    assert_eq!(decode_identity(&bytes[..47]), None);
    for at in 0..bytes.len() {
        let mut bytes = bytes;
        flip(&mut bytes, at, 3);
        assert_eq!(decode_identity(&bytes), None, "byte {at}");
    }
}

/// Pins the bytes: a change here is a change of the disk format.
#[test]
fn the_first_entry_of_a_log_has_these_bytes() {
    let entry = Entry {
        id: LogId {
            term: Term(3),
            index: LogIndex(17),
        },
        base_offset: Offset(1000),
        proposal: Proposal {
            kind: EntryKind::Records,
            record_count: 2,
            append_time_ms: 1_700_000_000_000,
            max_time_ms: -1,
            producer: Some(ProducerStamp {
                id: ProducerId(4),
                epoch: ProducerEpoch(1),
                base_sequence: Sequence(40),
            }),
            payload_crc32c: crc32c::crc32c(b"123456789"),
            payload: Bytes::from_static(b"123456789"),
        },
    };
    let seed = entry_seed(GROUP, 9);
    let (bytes, _) = EntryHeader::encode(&entry, LogIndex(16), 0xAABB_CCDD, seed);
    assert_eq!(&bytes[..4], b"lgE1");
    let expected: [&[u8]; 13] = [
        &[9, 0, 0, 0],                                      // payload length
        &[0x83, 0x92, 0x06, 0xe3],                          // its CRC-32C, the standard check value
        &[3, 1, 0, 0],                                      // records, with a producer
        &[2, 0, 0, 0],                                      // record count
        &[3, 0, 0, 0, 0, 0, 0, 0],                          // term
        &[17, 0, 0, 0, 0, 0, 0, 0],                         // index
        &[16, 0, 0, 0, 0, 0, 0, 0],                         // durable end
        &[0xe8, 3, 0, 0, 0, 0, 0, 0],                       // base offset
        &[0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0],        // append time
        &[0xff; 8],                                         // highest record time
        &[4, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0], // producer, base sequence
        &[1, 0, 0, 0],                                      // producer epoch
        &[0xdd, 0xcc, 0xbb, 0xaa],                          // CRC of the previous header
    ];
    assert_eq!(bytes[8..], expected.concat());
    assert_eq!(entry_size_bytes(9), 112);
}
