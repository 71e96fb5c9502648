//! Record batches: round trips, golden bytes and malformed input.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::compression::{Compression, compress_onto};
use crate::limits::{
    BATCH_DECODED_MAX_BYTES, BATCH_MAX_BYTES, BATCH_RECORDS_MAX_COUNT,
    BATCH_UNCOMPRESSED_MAX_BYTES, RECORD_MAX_BYTES,
};
use crate::reason::Reason;
use crate::record::{Header, Record};

const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

fn record(timestamp_ms: i64, key: Option<&'static str>, value: Option<&'static str>) -> Record {
    Record {
        timestamp_ms: Some(timestamp_ms),
        key: key.map(Bytes::from),
        value: value.map(Bytes::from),
        headers: Vec::new(),
    }
}

fn encode(compression: Compression, records: &[Record]) -> EncodedBatch {
    let mut builder = BatchBuilder::new(compression);
    for record in records {
        builder.push(record, 0).unwrap();
    }
    builder.finish().unwrap()
}

fn decode(bytes: &Bytes) -> Result<Vec<Record>, BatchError> {
    BatchView::parse(bytes.clone())?.records()?.collect()
}

fn validate(bytes: Vec<u8>) -> Result<(), BatchError> {
    let view = BatchView::parse(Bytes::from(bytes))?;
    view.validate(&BatchLimits::default()).map(drop)
}

#[test]
fn golden_bytes() {
    let mut first = record(1000, Some("k"), Some("va"));
    first.headers.push(Header {
        key: "h".into(),
        value: Bytes::from_static(b"x"),
    });
    let batch = encode(Compression::None, &[first, record(999, None, None)]);
    let expected = [
        &[1, 0, 0, 0, 2, 0, 0, 0][..],
        &1000_i64.to_le_bytes(),
        &1000_i64.to_le_bytes(),
        &15_u32.to_le_bytes(),
        &[0, 2, b'k', 3, b'v', b'a', 1, 1, b'h', 1, b'x'],
        &[1, 0, 0, 0],
    ]
    .concat();
    assert_eq!(batch.bytes, expected);
    assert_eq!(batch.crc32c, crc32c::crc32c(&expected));
    assert_eq!((batch.record_count, batch.max_time_ms), (2, 1000));
    verify_crc(&batch.bytes, batch.crc32c).unwrap();
    let error = verify_crc(&batch.bytes, batch.crc32c ^ 1).unwrap_err();
    assert_eq!(error.reason(), Reason::BatchCorrupt);
}

#[test]
fn no_part_and_an_empty_part_are_different() {
    let records = [
        record(0, None, None),
        record(0, Some(""), None),
        record(0, None, Some("")),
        record(i64::MIN, Some(""), Some("")),
        record(i64::MAX, None, None),
    ];
    for compression in ALL {
        let batch = encode(compression, &records);
        assert_eq!(decode(&batch.bytes).unwrap(), records);
        validate(batch.bytes.to_vec()).unwrap();
    }
}

#[test]
fn text_is_compressed_and_small_batches_are_stored_uncompressed() {
    let text = Record {
        value: Some(Bytes::from(vec![b'a'; 5000])),
        timestamp_ms: Some(0),
        ..Record::default()
    };
    for compression in [Compression::Lz4, Compression::Zstd] {
        let batch = encode(compression, std::slice::from_ref(&text));
        let view = BatchView::parse(batch.bytes.clone()).unwrap();
        assert_eq!(view.compression(), compression);
        assert!(batch.bytes.len() < 200, "{}", batch.bytes.len());
        assert_eq!(decode(&batch.bytes).unwrap(), std::slice::from_ref(&text));
        let small = encode(compression, &[record(1, Some("k"), Some("v"))]);
        let view = BatchView::parse(small.bytes).unwrap();
        assert_eq!(view.compression(), Compression::None);
    }
}

#[test]
fn records_are_slices_of_the_batch() {
    let batch = encode(Compression::None, &[record(0, Some("key"), Some("value"))]);
    let records = decode(&batch.bytes).unwrap();
    let range = batch.bytes.as_ptr_range();
    assert!(range.contains(&records[0].value.as_ref().unwrap().as_ptr()));
    assert!(range.contains(&records[0].key.as_ref().unwrap().as_ptr()));
}

#[test]
fn a_record_above_a_limit_does_not_change_the_builder() {
    let mut builder = BatchBuilder::new(Compression::None);
    let big = vec![7; RECORD_MAX_BYTES];
    let none: [(&str, &[u8]); 0] = [];
    builder.push_parts(0, None, Some(&big), none).unwrap();
    let len = builder.encoded_len();
    let error = builder
        .push_parts(0, Some(b"k"), Some(&big), none)
        .unwrap_err();
    assert_eq!(error.bound(), Some(("record bytes", RECORD_MAX_BYTES)));
    let error = builder.push_parts(0, None, Some(&big), none).unwrap_err();
    assert_eq!(error.bound(), Some(("batch bytes", BATCH_MAX_BYTES)));
    let error = builder
        .push_parts(0, None, Some(&big), [("k", &b""[..])])
        .unwrap_err();
    assert_eq!(error.bound(), Some(("record bytes", RECORD_MAX_BYTES)));
    let many = [("", &b""[..]); 129];
    let error = builder.push_parts(0, None, None, many).unwrap_err();
    assert_eq!(error.bound(), Some(("record headers", 128)));
    assert_eq!((builder.encoded_len(), builder.record_count()), (len, 1));
    assert!(builder.is_full(RECORD_MAX_BYTES) && !builder.is_full(BATCH_MAX_BYTES));
    builder.push_parts(0, None, Some(b"small"), none).unwrap();
    validate(builder.finish().unwrap().bytes.to_vec()).unwrap();
    let empty = BatchBuilder::new(Compression::None).finish();
    assert!(matches!(empty, Err(BatchError::Empty)));
}

#[test]
fn a_wrong_header_is_rejected() {
    let batch = encode(Compression::None, &[record(5, Some("key"), Some("value"))]);
    let altered = |at: usize, byte: u8| {
        let mut bytes = batch.bytes.to_vec();
        bytes[at] = byte;
        validate(bytes).unwrap_err()
    };
    assert!(matches!(altered(0, 2), BatchError::Version { found: 2 }));
    assert!(matches!(altered(1, 3), BatchError::Attributes { .. }));
    assert!(matches!(altered(1, 8), BatchError::Attributes { .. }));
    assert!(matches!(altered(2, 1), BatchError::Attributes { .. }));
    assert!(matches!(altered(4, 0), BatchError::Empty));
    assert!(matches!(altered(4, 2), BatchError::Varint { .. }));
    assert!(matches!(
        altered(7, 1),
        BatchError::TooLarge {
            field: "batch records",
            ..
        }
    ));
    assert!(matches!(
        altered(16, 6),
        BatchError::MaxTimestamp {
            declared: 6,
            found: 5
        }
    ));
    assert!(matches!(altered(24, 1), BatchError::Decompress(_)));
    let error = altered(27, 1);
    assert_eq!(error.bound().unwrap().1, BATCH_UNCOMPRESSED_MAX_BYTES);
    assert_eq!(error.reason(), Reason::BatchTooLarge);
    let mut longer = batch.bytes.to_vec();
    longer.push(0);
    longer[24] += 1;
    assert!(matches!(
        validate(longer),
        Err(BatchError::TrailingBytes { left: 1 })
    ));
    let huge = vec![1; BATCH_MAX_BYTES + 1];
    assert!(validate(huge).is_err());
}

/// 20,000 empty records with 128 empty headers each: about 500 bytes, and 146 MB when decoded.
fn small_and_costly() -> Vec<u8> {
    const RECORD_COUNT: u32 = 20_000;
    let record = [&[0, 0, 0, 0x80, 1][..], &[0; 2 * 128]].concat();
    let block = record.repeat(RECORD_COUNT as usize);
    let mut bytes = vec![VERSION, Compression::Zstd.code(), 0, 0];
    bytes.extend(RECORD_COUNT.to_le_bytes());
    bytes.extend([0; 16]);
    bytes.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
    assert!(compress_onto(Compression::Zstd, &block, &mut bytes));
    assert!(bytes.len() < 1000, "{}", bytes.len());
    bytes
}

#[test]
fn a_batch_that_takes_too_much_memory_is_refused_and_still_readable() {
    let bytes = small_and_costly();
    let error = validate(bytes.clone()).unwrap_err();
    let bound = ("batch decoded bytes", BATCH_DECODED_MAX_BYTES);
    assert_eq!(error.bound(), Some(bound));
    assert_eq!(error.reason(), Reason::BatchTooLarge);
    // It may be in a log that an earlier version has written.
    let view = BatchView::parse(Bytes::from(bytes)).unwrap();
    assert_eq!(view.records().unwrap().map(Result::unwrap).count(), 20_000);
}

#[test]
fn records_are_skipped() {
    let all: Vec<_> = (0..5).map(|n| record(n, None, Some("value"))).collect();
    for compression in ALL {
        let view = BatchView::parse(encode(compression, &all).bytes).unwrap();
        for count in 0_usize..7 {
            let mut records = view.records().unwrap();
            records.skip_records(count as u64).unwrap();
            let left: Vec<_> = records.map(Result::unwrap).collect();
            assert_eq!(left, all[count.min(5)..]);
        }
    }
}

#[test]
fn a_builder_stays_within_the_memory_of_a_batch() {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let headers = [("", &b""[..]); 128];
    while !builder.is_full(usize::MAX) {
        builder.push_parts(0, None, None, headers).unwrap();
    }
    builder.push_parts(0, None, None, headers).unwrap();
    let refused = loop {
        let len = builder.encoded_len();
        if let Err(error) = builder.push_parts(0, None, None, headers) {
            assert_eq!(builder.encoded_len(), len);
            break error;
        }
    };
    assert_eq!(refused.bound().unwrap().0, "batch decoded bytes");
    validate(builder.finish().unwrap().bytes.to_vec()).unwrap();
}

#[test]
fn as_many_small_records_as_a_batch_may_have_fit_into_its_memory() {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..BATCH_RECORDS_MAX_COUNT {
        builder.push_parts(0, None, Some(b"value"), []).unwrap();
    }
    validate(builder.finish().unwrap().bytes.to_vec()).unwrap();
}

#[test]
fn a_header_name_must_be_utf_8() {
    let mut with_header = record(0, None, None);
    with_header.headers.push(Header {
        key: "h".into(),
        value: Bytes::new(),
    });
    let mut bytes = encode(Compression::None, &[with_header]).bytes.to_vec();
    let at = bytes.len() - 2;
    bytes[at] = 0xff;
    assert!(matches!(validate(bytes), Err(BatchError::HeaderKey)));
}

#[test]
fn stricter_limits_are_enforced() {
    let batch = encode(Compression::None, &[record(0, Some("key"), Some("value"))]);
    let view = BatchView::parse(batch.bytes).unwrap();
    let limits = BatchLimits {
        record_max_bytes: 7,
        ..BatchLimits::default()
    };
    assert_eq!(
        view.validate(&limits).unwrap_err().bound(),
        Some(("record bytes", 7))
    );
    let limits = BatchLimits {
        record_max_bytes: 8,
        ..BatchLimits::default()
    };
    view.validate(&limits).unwrap();
    let limits = BatchLimits {
        batch_max_bytes: 20,
        ..BatchLimits::default()
    };
    assert_eq!(
        view.validate(&limits).unwrap_err().bound(),
        Some(("batch bytes", 20))
    );
}

fn blob() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn any_record() -> impl Strategy<Value = Record> {
    let header = (".{0,8}", blob()).prop_map(|(key, value)| Header { key, value });
    (
        any::<i64>(),
        proptest::option::of(blob()),
        proptest::option::of(blob()),
        proptest::collection::vec(header, 0..4),
    )
        .prop_map(|(timestamp_ms, key, value, headers)| Record {
            timestamp_ms: Some(timestamp_ms),
            key,
            value,
            headers,
        })
}

proptest! {
    #[test]
    fn round_trip(records in proptest::collection::vec(any_record(), 1..40), code in 0_u8..3) {
        let batch = encode(Compression::from_code(code).unwrap(), &records);
        prop_assert_eq!(batch.record_count as usize, records.len());
        let view = BatchView::parse(batch.bytes.clone()).unwrap();
        view.validate(&BatchLimits::default()).unwrap();
        let latest = records.iter().filter_map(|r| r.timestamp_ms).max();
        prop_assert_eq!(Some(view.max_time_ms()), latest);
        let refs = view.decode().unwrap();
        for (found, record) in refs.iter().zip(&records) {
            prop_assert_eq!(found.unwrap().payload_len().unwrap(), record.payload_len());
        }
        prop_assert_eq!(decode(&batch.bytes).unwrap(), records);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = validate(bytes.clone());
        let _ = decode(&Bytes::from(bytes));
    }

    /// Arbitrary bytes after a valid header: decoding does not panic, and gives at most the
    /// declared numbers of records and bytes.
    #[test]
    fn arbitrary_blocks_never_panic(block in proptest::collection::vec(any::<u8>(), 0..400),
                                    code in 0_u8..3, count in 1_u8..20, len in 0_u16..2000) {
        let len = if code == 0 { block.len() as u64 } else { u64::from(len) };
        let mut bytes = vec![1, code, 0, 0, count, 0, 0, 0];
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&len.to_le_bytes()[..4]);
        bytes.extend_from_slice(&block);
        let valid = validate(bytes.clone()).is_ok();
        let records = decode(&Bytes::from(bytes));
        if valid {
            let records = records.unwrap();
            prop_assert_eq!(records.len(), usize::from(count));
            let total: usize = records.iter().map(Record::payload_len).sum();
            prop_assert!(total as u64 <= len);
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(records in proptest::collection::vec(any_record(), 1..5),
                                  code in 0_u8..3, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let batch = encode(Compression::from_code(code).unwrap(), &records);
        let mut bytes = batch.bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(verify_crc(&bytes, batch.crc32c).is_err());
        let _ = validate(bytes);
    }
}
