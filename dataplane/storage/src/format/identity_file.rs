//! The identity file of a data directory.

use lograft_core::{ClusterId, NodeId};

use super::fields::{NewerValue, RecordFields, RecordFormat, get_16, get_u64, put, record_crc};
use crate::config::Identity;

const LEN: usize = 48;
/// The format of the identity file.
const IDENTITY: RecordFormat = RecordFormat {
    magic: u64::from_le_bytes(*b"lgIDENTY"),
    version: 1,
    flags: 0,
    names: RecordFields {
        version: "identity version",
        flags: "identity flags",
    },
};

/// The identity file.
///
/// ```text
/// at  size
///  0   8   magic "lgIDENTY"
///  8   1   version, 1
///  9   3   0
/// 12   4   CRC-32C of bytes 0..12 and 16..48
/// 16  16   cluster id
/// 32   8   node id
/// 40   8   0
/// ```
pub(crate) fn encode_identity(identity: &Identity) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    IDENTITY.put_head(&mut bytes, 0);
    put(&mut bytes, 16, &identity.cluster_id.to_bytes());
    put(&mut bytes, 32, &identity.node_id.0.to_le_bytes());
    let crc = record_crc(&bytes);
    put(&mut bytes, 12, &crc.to_le_bytes());
    bytes
}

/// The value by which an identity file is of a newer version.
pub(crate) fn newer_identity(bytes: &[u8]) -> Option<NewerValue> {
    IDENTITY.newer(bytes)
}

/// Decodes an identity file; `None` if it is not valid.
pub(crate) fn decode_identity(bytes: &[u8]) -> Option<Identity> {
    (bytes.len() == LEN && IDENTITY.is_valid(bytes)).then(|| Identity {
        cluster_id: ClusterId::from_bytes(get_16(bytes, 16)),
        node_id: NodeId(get_u64(bytes, 32)),
    })
}
