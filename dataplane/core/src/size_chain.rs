//! The sizes on the way of a record, each at least what the one before needs: a change of a limit
//! that breaks the chain does not compile. `docs/sizes.md` has the table for people.
//!
//! ```text
//! record -> batch -> request -> forwarded request -> log entry -> AppendEntries -> segment
//!        -> read -> fetch reply -> consumer; over HTTP: body, line
//! ```

use crate::limits::{
    APPEND_MAX_BYTES, BATCH_DECODED_MAX_BYTES, BATCH_DEFAULT_BYTES, BATCH_LEVEL_1_MAX_BYTES,
    BATCH_MAX_BYTES, BATCH_OVERHEAD_MAX_BYTES, BATCH_READ_BYTES, BATCH_UNCOMPRESSED_MAX_BYTES,
    CLIENT_MESSAGE_DEFAULT_BYTES, DECOMPRESSION_MIN_BYTES, ENTRY_LEVEL_1_MAX_BYTES,
    ENTRY_MAX_BYTES, FETCH_READ_MAX_BYTES, FETCH_REPLY_CONTENT_MAX_BYTES,
    FETCH_REPLY_DEFAULT_BYTES, FETCHED_BATCH_HEAD_MAX_BYTES, GRPC_MESSAGE_MAX_BYTES,
    HEADER_DECODED_BYTES, HTTP_BODIES_MAX_BYTES, HTTP_BODY_MAX_BYTES, HTTP_JSON_OVERHEAD_BYTES,
    HTTP_LINE_MAX_BYTES, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_STREAM_WINDOW_BYTES,
    LOG_READ_MAX_BYTES, LOG_REQUEST_MAX_BYTES, MESSAGE_OVERHEAD_MAX_BYTES, META_COMMAND_MAX_BYTES,
    PLAIN_RESERVED_BYTES, PRODUCE_NODE_IN_FLIGHT_MIN_BYTES, PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES,
    PRODUCER_BATCH_BYTES, PRODUCER_BATCH_MAX_BYTES, PRODUCER_IN_FLIGHT_MAX_BYTES,
    RECORD_DECODED_BYTES, RECORD_DEFAULT_BYTES, RECORD_HEADERS_MAX_COUNT, RECORD_MAX_BYTES,
    SEGMENT_MAX_BYTES, TOPIC_BATCH_MIN_BYTES, TOPIC_RECORD_MIN_BYTES, UNFLUSHED_MIN_BYTES,
    base64_bytes,
};
use crate::record::decoded_bytes;
use crate::record_batch::HEADER_BYTES;
use crate::varint;

/// Memory of the largest record when it is decoded, and most bytes of it in a reply.
const LARGEST_DECODED: usize = decoded_bytes(RECORD_MAX_BYTES, RECORD_HEADERS_MAX_COUNT);

// Record: what a topic may set includes what it has without a setting.
const _: () = assert!(
    TOPIC_RECORD_MIN_BYTES <= RECORD_DEFAULT_BYTES && RECORD_DEFAULT_BYTES <= RECORD_MAX_BYTES
);

// Batch: one of the largest record, with the most headers, fits. Each of time, key, value and
// number of headers takes a varint, each header two.
const _: () = assert!(
    HEADER_BYTES + (4 + 2 * RECORD_HEADERS_MAX_COUNT) * varint::MAX_BYTES + PLAIN_RESERVED_BYTES
        <= BATCH_OVERHEAD_MAX_BYTES
);
const _: () = assert!(RECORD_MAX_BYTES + BATCH_OVERHEAD_MAX_BYTES <= BATCH_MAX_BYTES);
const _: () = assert!(RECORD_DEFAULT_BYTES + BATCH_OVERHEAD_MAX_BYTES <= BATCH_DEFAULT_BYTES);
const _: () =
    assert!(TOPIC_BATCH_MIN_BYTES <= BATCH_DEFAULT_BYTES && BATCH_DEFAULT_BYTES <= BATCH_MAX_BYTES);
// Decompressed and decoded: also if nothing of it was compressed.
const _: () = assert!(BATCH_MAX_BYTES <= BATCH_UNCOMPRESSED_MAX_BYTES);
const _: () = assert!(LARGEST_DECODED <= BATCH_DECODED_MAX_BYTES);
const _: () = assert!(BATCH_UNCOMPRESSED_MAX_BYTES <= DECOMPRESSION_MIN_BYTES);

// Level 1: a topic without settings has the limits of the programs that may still return.
const _: () = assert!(BATCH_DEFAULT_BYTES <= BATCH_LEVEL_1_MAX_BYTES);
const _: () = assert!(BATCH_LEVEL_1_MAX_BYTES <= ENTRY_LEVEL_1_MAX_BYTES);
const _: () = assert!(META_COMMAND_MAX_BYTES <= ENTRY_LEVEL_1_MAX_BYTES);

// The client's batches: one more record of a topic without settings fits into an open batch.
const _: () = assert!(PRODUCER_BATCH_BYTES <= PRODUCER_BATCH_MAX_BYTES);
const _: () = assert!(
    PRODUCER_BATCH_MAX_BYTES + RECORD_DEFAULT_BYTES + BATCH_OVERHEAD_MAX_BYTES
        <= BATCH_DEFAULT_BYTES
);
const _: () = assert!(BATCH_MAX_BYTES <= PRODUCER_IN_FLIGHT_MAX_BYTES);
const _: () = assert!(BATCH_MAX_BYTES <= PRODUCE_STREAM_IN_FLIGHT_MAX_BYTES);

// Request: the largest batch, also as plain records; then from node to node.
const _: () = assert!(BATCH_MAX_BYTES + MESSAGE_OVERHEAD_MAX_BYTES <= LOG_REQUEST_MAX_BYTES);
const _: () = assert!(LOG_REQUEST_MAX_BYTES + MESSAGE_OVERHEAD_MAX_BYTES <= GRPC_MESSAGE_MAX_BYTES);
// Each kind of append has half of the memory for appends.
const _: () = assert!(2 * BATCH_MAX_BYTES <= PRODUCE_NODE_IN_FLIGHT_MIN_BYTES);

// Log entry and AppendEntries: an entry above the usual size of a request is sent alone. A stream
// takes it without waiting for the receiver.
const _: () = assert!(BATCH_MAX_BYTES <= ENTRY_MAX_BYTES);
const _: () = assert!(APPEND_MAX_BYTES <= ENTRY_MAX_BYTES);
const _: () = assert!(ENTRY_MAX_BYTES + MESSAGE_OVERHEAD_MAX_BYTES <= GRPC_MESSAGE_MAX_BYTES);
const _: () =
    assert!(ENTRY_MAX_BYTES + MESSAGE_OVERHEAD_MAX_BYTES <= HTTP2_STREAM_WINDOW_BYTES as usize);
const _: () = assert!(HTTP2_STREAM_WINDOW_BYTES <= HTTP2_CONNECTION_WINDOW_BYTES);
const _: () = assert!(2 * ENTRY_MAX_BYTES <= UNFLUSHED_MIN_BYTES);

// Segment and read.
const _: () = assert!((ENTRY_MAX_BYTES as u64) < SEGMENT_MAX_BYTES);
const _: () = assert!(ENTRY_MAX_BYTES <= LOG_READ_MAX_BYTES);

// Fetch reply: the largest batch or record alone is a message that any gRPC client accepts.
const _: () =
    assert!(FETCH_REPLY_DEFAULT_BYTES + MESSAGE_OVERHEAD_MAX_BYTES <= CLIENT_MESSAGE_DEFAULT_BYTES);
const _: () = assert!(BATCH_MAX_BYTES + MESSAGE_OVERHEAD_MAX_BYTES <= CLIENT_MESSAGE_DEFAULT_BYTES);
const _: () = assert!(LARGEST_DECODED + MESSAGE_OVERHEAD_MAX_BYTES <= CLIENT_MESSAGE_DEFAULT_BYTES);
const _: () =
    assert!(BATCH_MAX_BYTES + FETCHED_BATCH_HEAD_MAX_BYTES <= FETCH_REPLY_CONTENT_MAX_BYTES);
const _: () = assert!(LARGEST_DECODED <= FETCH_REPLY_CONTENT_MAX_BYTES);
const _: () = assert!(FETCH_READ_MAX_BYTES <= FETCH_REPLY_CONTENT_MAX_BYTES);
// The memory by which reads of batches are measured is at least what they take on the wire.
const _: () = assert!(FETCHED_BATCH_HEAD_MAX_BYTES <= BATCH_READ_BYTES);
// On the wire a field takes a tag, a length and at most ten bytes of a number: the memory by which
// replies of decoded records are measured is more.
const _: () = assert!(5 * (1 + 5 + 10) <= RECORD_DECODED_BYTES);
const _: () = assert!(3 * (1 + 5) <= HEADER_DECODED_BYTES);

// HTTP: a body is the largest batch, a line the largest record, in base64.
const _: () =
    assert!(base64_bytes(BATCH_MAX_BYTES) + HTTP_JSON_OVERHEAD_BYTES <= HTTP_BODY_MAX_BYTES);
const _: () =
    assert!(base64_bytes(RECORD_MAX_BYTES) + HTTP_JSON_OVERHEAD_BYTES <= HTTP_LINE_MAX_BYTES);
const _: () = assert!(BATCH_MAX_BYTES <= HTTP_BODY_MAX_BYTES);
const _: () = assert!(4 * HTTP_BODY_MAX_BYTES <= HTTP_BODIES_MAX_BYTES);
