//! The encoding of each record against the checked-in bytes of every feature level.

use bytes::Bytes;
use lograft_core::{
    ClusterId, Entry, EntryKind, GroupId, LogId, LogIndex, NodeId, Offset, ProducerEpoch,
    ProducerId, ProducerStamp, Proposal, Sequence, Term, Vote,
};

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::Identity;
use crate::fixtures::Fixtures;
use crate::hard_state::HardState;

const GROUP: GroupId = GroupId(7);
const CLUSTER: ClusterId = ClusterId::from_bytes(*b"0123456789abcdef");
const UID: u64 = 0x1234_5678_9abc_def0;
const PREV_CRC: u32 = 0xaabb_ccdd;

fn fixtures(folder: &'static str) -> Fixtures {
    Fixtures::new(env!("CARGO_MANIFEST_DIR"), folder)
}

fn named<T>(samples: Vec<(&str, T)>) -> Vec<(String, T)> {
    let owned = |(name, value): (&str, T)| (name.to_owned(), value);
    samples.into_iter().map(owned).collect()
}

fn id(term: u64, index: u64) -> LogId {
    LogId {
        term: Term(term),
        index: LogIndex(index),
    }
}

fn facts(prev: Option<LogId>, starts_log: bool) -> SegmentFacts {
    SegmentFacts {
        base: prev.map_or(LogIndex::ZERO, |prev| prev.index.next()),
        base_offset: Offset(prev.map_or(0, |_| 5000)),
        prev,
        uid: UID,
        capacity_bytes: 1 << 20,
        starts_log,
    }
}

#[test]
fn segment_headers_keep_their_encoding() {
    let samples = named(vec![
        ("first", facts(None, true)),
        ("later", facts(Some(id(3, 4710)), false)),
        ("after_reset", facts(Some(id(4, 9999)), true)),
    ]);
    fixtures("segment_header").check(
        &samples,
        |facts| SegmentHeader::encode(facts, GROUP, CLUSTER).0.to_vec(),
        |bytes| {
            let header = SegmentHeader::decode(bytes).unwrap();
            assert_eq!((header.group, header.cluster_id), (GROUP, CLUSTER));
            header.facts
        },
    );
}

fn entry(proposal: Proposal) -> Entry {
    Entry {
        id: id(3, 4711),
        base_offset: Offset(5000),
        proposal,
    }
}

fn control(kind: EntryKind, payload: &'static [u8]) -> Entry {
    let payload = Bytes::from_static(payload);
    entry(Proposal::control(kind, 1_700_000_000_000, payload))
}

fn records(producer: Option<ProducerStamp>) -> Entry {
    let payload = Bytes::from_static(b"an encoded record batch");
    entry(Proposal {
        kind: EntryKind::Records,
        record_count: 12,
        append_time_ms: 1_700_000_000_000,
        max_time_ms: 1_700_000_000_007,
        producer,
        payload_crc32c: crc32c::crc32c(&payload),
        payload,
    })
}

#[test]
fn entries_keep_their_encoding() {
    let stamp = ProducerStamp {
        id: ProducerId(4),
        epoch: ProducerEpoch(1),
        base_sequence: Sequence(40),
    };
    let samples = named(vec![
        ("blank", control(EntryKind::Blank, b"")),
        ("membership", control(EntryKind::Membership, b"voters")),
        ("records", records(None)),
        ("records-producer", records(Some(stamp))),
        ("command", control(EntryKind::Command, b"a command")),
        ("trim", control(EntryKind::Trim, &[7, 0, 0, 0, 0, 0, 0, 0])),
    ]);
    let covered: Vec<EntryKind> = samples
        .iter()
        .map(|(_, entry)| entry.proposal.kind)
        .collect();
    for kind in (0..=u8::MAX).filter_map(EntryKind::from_code) {
        assert!(covered.contains(&kind), "{kind:?} has no sample");
    }
    let seed = entry_seed(GROUP, UID);
    fixtures("entry").check(
        &samples,
        |entry| {
            let (header, _) = EntryHeader::encode(entry, LogIndex(4700), PREV_CRC, seed);
            [&header, &entry.proposal.payload[..]].concat()
        },
        |bytes| {
            let header = EntryHeader::decode(bytes, seed).unwrap();
            assert_eq!(header.durable_end, LogIndex(4700));
            assert_eq!(header.prev_crc32c, PREV_CRC);
            header.into_entry(Bytes::copy_from_slice(&bytes[ENTRY_HEADER_BYTES..]))
        },
    );
}

#[test]
fn hard_records_keep_their_encoding() {
    let vote = |committed| {
        Some(Vote {
            term: Term(9),
            voted_for: NodeId(2),
            committed,
        })
    };
    let record = |vote, committed, end| HardRecord {
        sequence: 77,
        hard: HardState { vote, committed },
        durable_end: LogIndex(end),
    };
    let samples = named(vec![
        (
            "vote_and_committed",
            record(vote(true), Some(id(8, 4700)), 4711),
        ),
        ("vote", record(vote(false), None, 4711)),
        ("committed", record(None, Some(id(8, 4700)), 4711)),
        ("empty", record(None, None, 0)),
    ]);
    fixtures("hard_record").check(
        &samples,
        |record| record.encode(GROUP, CLUSTER).to_vec(),
        |bytes| {
            let (record, cluster) = HardRecord::decode(bytes, GROUP).unwrap();
            assert_eq!(cluster, CLUSTER);
            record
        },
    );
}

#[test]
fn checkpoints_keep_their_encoding() {
    let checkpoint = |membership_id: Option<LogId>, state: &'static [u8]| Checkpoint {
        last: id(3, 4710),
        next_offset: Offset(5000),
        membership: membership_id.map_or_else(Bytes::new, |_| Bytes::from_static(b"voters")),
        membership_id,
        state: Bytes::from_static(state),
    };
    let samples = named(vec![
        (
            "full",
            checkpoint(Some(id(1, 3)), b"the state of the group"),
        ),
        ("empty", checkpoint(None, b"")),
    ]);
    fixtures("checkpoint").check(
        &samples,
        |checkpoint| encode_checkpoint(checkpoint, GROUP, CLUSTER),
        |bytes| decode_checkpoint(&Bytes::copy_from_slice(bytes), GROUP, CLUSTER).unwrap(),
    );
}

#[test]
fn indexes_keep_their_encoding() {
    let point = |n: u64| IndexPoint {
        index: LogIndex(4700 + n),
        base_offset: Offset(5000 + 3 * n),
        position: 96 + 65_536 * n,
        max_time_before_ms: if n == 0 { i64::MIN } else { 1_700_000_000_000 },
    };
    let head = |max_time_ms, terms: &[LogId]| IndexHead {
        group: GROUP,
        uid: UID,
        base: LogIndex(4700),
        last: id(4, 4799),
        next_offset: Offset(5300),
        end_position: 200_000,
        max_time_ms,
        terms: terms.to_vec(),
    };
    let two_terms = head(1_700_000_000_007, &[id(3, 4700), id(4, 4750)]);
    let points: Vec<IndexPoint> = (0..3).map(point).collect();
    let samples = named(vec![
        ("points", (two_terms, points)),
        ("no_points", (head(i64::MIN, &[id(4, 4700)]), Vec::new())),
    ]);
    fixtures("index").check(
        &samples,
        |(head, points)| IndexFile::encode(head, points),
        |bytes| {
            let count = IndexFile::points_count(bytes);
            let points = (0..count).map(|nth| IndexFile::point(bytes, nth));
            (IndexFile::decode(bytes).unwrap(), points.collect())
        },
    );
}

#[test]
fn identities_keep_their_encoding() {
    let identity = Identity {
        cluster_id: CLUSTER,
        node_id: NodeId(12),
    };
    fixtures("identity").check(
        &named(vec![("node", identity)]),
        |identity| encode_identity(identity).to_vec(),
        |bytes| decode_identity(bytes).unwrap(),
    );
}
