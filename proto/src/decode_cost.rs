//! The memory that a decoded request takes, measured before it is decoded.
//!
//! An empty message in a repeated field takes two bytes on the wire and a hundred in memory, so a
//! bound on the size of a message does not bound its memory. The encoded request is walked once
//! and without allocation; `build.rs` makes the shapes of the requests out of the proto files.

use std::collections::HashMap;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::limits::{REQUEST_DECODED_MAX_BYTES, REQUEST_DECODED_PER_BYTE_MAX_BYTES};

/// A message that a call has as its request or its reply.
pub trait CallMessage: Message + Default + 'static {
    /// The shape of a request, by which it is measured; none for a reply. A caller trusts the node
    /// that it asks, and a reply of an earlier version must stay readable.
    const REQUEST: Option<&'static Shape>;
}

/// The fields of a message that take more memory than bytes, and those that contain such fields.
#[derive(Debug)]
pub struct Shape {
    /// In the order of the proto file.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// Memory of each occurrence, bytes.
    pub each_bytes: usize,
    /// Memory of each byte of an occurrence with a length: an element of a packed field, or a byte
    /// of a text.
    pub per_byte_bytes: usize,
    /// The message that it contains.
    pub shape: Option<&'static Shape>,
}

/// Why a request is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It would take more than `REQUEST_DECODED_MAX_BYTES`.
    TooLarge,
    /// It is no message, or contains a group, which no version has.
    Malformed,
}

/// Wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const WITH_LENGTH: u64 = 2;
const FIXED_32: u64 = 5;

/// The name of the measured size in errors.
const FIELD: &str = "request decoded bytes";

/// Fails with `INVALID_ARGUMENT` if the request would take too much memory.
pub(crate) fn check(request: &[u8], shape: &Shape) -> Result<(), Status> {
    if request.len() <= REQUEST_DECODED_MAX_BYTES / REQUEST_DECODED_PER_BYTE_MAX_BYTES {
        return Ok(());
    }
    let mut left_bytes = REQUEST_DECODED_MAX_BYTES;
    match charge(request, shape, &mut left_bytes) {
        Ok(()) => Ok(()),
        Err(Refusal::Malformed) => Err(Status::internal("a field is cut off or of no known kind")),
        Err(Refusal::TooLarge) => Err(too_large()),
    }
}

/// The status with the reason as `lograft-core` defines it.
fn too_large() -> Status {
    let bound = REQUEST_DECODED_MAX_BYTES;
    let text =
        format!("{FIELD} must be at most {bound}: send fewer records or headers in a request");
    let metadata = [
        ("field", FIELD.to_owned()),
        ("bound", bound.to_string()),
        ("retryable", false.to_string()),
    ];
    let metadata: HashMap<_, _> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    let details = ErrorDetails::with_error_info("INVALID_ARGUMENT", "lograft.io", metadata);
    Status::with_error_details(Code::InvalidArgument, text, details)
}

/// Takes the memory of a message from `left_bytes`.
fn charge(mut rest: &[u8], shape: &Shape, left_bytes: &mut usize) -> Result<(), Refusal> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let field = shape
            .fields
            .iter()
            .find(|field| u64::from(field.number) == key >> 3);
        let content = content(&mut rest, key & 7)?;
        let Some(field) = field else { continue };
        let bytes = field.each_bytes + field.per_byte_bytes * content.len();
        *left_bytes = left_bytes.checked_sub(bytes).ok_or(Refusal::TooLarge)?;
        if let Some(shape) = field.shape {
            charge(content, shape, left_bytes)?;
        }
    }
    Ok(())
}

/// The bytes of a field with a length; none of another field.
fn content<'a>(rest: &mut &'a [u8], wire_type: u64) -> Result<&'a [u8], Refusal> {
    let (len, is_content) = match wire_type {
        VARINT => {
            varint(rest)?;
            (0, false)
        }
        FIXED_64 => (8, false),
        FIXED_32 => (4, false),
        WITH_LENGTH => (varint(rest)?, true),
        _ => return Err(Refusal::Malformed),
    };
    let split = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len));
    let (taken, left) = split.ok_or(Refusal::Malformed)?;
    *rest = left;
    Ok(if is_content { taken } else { &[] })
}

fn varint(rest: &mut &[u8]) -> Result<u64, Refusal> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, left) = rest.split_first().ok_or(Refusal::Malformed)?;
        *rest = left;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost::bytes::Bytes;

    use super::*;
    use crate::REQUEST_SHAPES;
    use crate::log::v1::{
        EncodedBatch, FetchReply, FetchRequest, Header, ListOffsetsRequest, ProduceRequest, Record,
    };

    fn check_of<M: CallMessage>(message: &M) -> Result<(), Status> {
        check(&message.encode_to_vec(), M::REQUEST.unwrap())
    }

    fn records(count: usize, record: &Record) -> ProduceRequest {
        ProduceRequest {
            topic: "t".into(),
            records: vec![record.clone(); count],
            ..Default::default()
        }
    }

    #[track_caller]
    fn assert_refused(checked: Result<(), Status>) {
        let status = checked.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "INVALID_ARGUMENT");
        assert_eq!(info.metadata["field"], FIELD);
        assert_eq!(info.metadata["bound"], "16777216");
    }

    #[test]
    fn empty_records_cost_what_they_take_in_memory() {
        // Two bytes each on the wire.
        let each = size_of::<Record>();
        let most = REQUEST_DECODED_MAX_BYTES / each;
        check_of(&records(most, &Record::default())).unwrap();
        assert_refused(check_of(&records(most + 1, &Record::default())));
    }

    #[test]
    fn empty_headers_cost_what_they_take_in_memory() {
        let with_headers = Record {
            headers: vec![Header::default(); 400_000],
            ..Default::default()
        };
        assert_refused(check_of(&records(1, &with_headers)));
        let few = Record {
            headers: vec![Header::default(); 128],
            ..Default::default()
        };
        check_of(&records(1000, &few)).unwrap();
        assert_refused(check_of(&records(4000, &few)));
    }

    #[test]
    fn the_most_plain_records_of_a_batch_are_decoded() {
        let small = Record {
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from_static(b"value")),
            timestamp_ms: Some(i64::MIN),
            ..Default::default()
        };
        check_of(&records(100_000, &small)).unwrap();
    }

    #[test]
    fn the_bytes_of_a_batch_cost_nothing_more() {
        let batch = EncodedBatch {
            data: vec![0x1a; 2 * 1024 * 1024].into(),
            ..Default::default()
        };
        let request = ProduceRequest {
            batch: Some(batch),
            ..Default::default()
        };
        check_of(&request).unwrap();
    }

    #[test]
    fn packed_and_single_numbers_cost_the_same() {
        let packed = ListOffsetsRequest {
            partitions: vec![1; 5_000_000],
            ..Default::default()
        };
        assert_refused(check_of(&packed));
        let single = [0x10, 1].repeat(5_000_000);
        assert_refused(check(&single, ListOffsetsRequest::REQUEST.unwrap()));
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        let shape = ProduceRequest::REQUEST.unwrap();
        for end in [&[0x1b][..], &[0x1a, 5], &[0x80; 11], &[0x0f]] {
            let mut request = records(200_000, &Record::default()).encode_to_vec();
            request.truncate(300_000);
            request.extend(end);
            let status = check(&request, shape).unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{end:?}");
        }
    }

    #[test]
    fn replies_are_not_measured() {
        assert!(FetchReply::REQUEST.is_none());
        assert!(FetchRequest::REQUEST.is_some());
    }

    #[test]
    fn no_byte_of_a_request_takes_more_than_the_bound() {
        fn check(shape: &Shape) {
            for field in shape.fields {
                // A key takes a byte, and so does a length or a number.
                assert!(field.each_bytes <= 2 * REQUEST_DECODED_PER_BYTE_MAX_BYTES);
                assert!(field.per_byte_bytes <= REQUEST_DECODED_PER_BYTE_MAX_BYTES);
                if let Some(shape) = field.shape {
                    check(shape);
                }
            }
        }
        assert!(!REQUEST_SHAPES.is_empty());
        for shape in REQUEST_SHAPES {
            check(shape);
        }
    }
}
