//! Lograft's wire protocol, generated from the files in `proto/`, which document it.
//!
//! One package per audience: [`log`] for producers and consumers, [`admin`] for operators and the
//! CLI, [`raft`] for peers. Fields are only ever added.

pub mod codec;
pub mod connect;
pub mod decode_cost;
pub mod error_text;
pub mod gather;
pub mod places;

#[path = "../../dataplane/core/src/limits.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::doc_markdown,
    reason = "the limits of the whole data plane"
)]
mod limits;

/// The messages of all calls, and the shapes of the requests.
mod calls {
    include!(concat!(env!("OUT_DIR"), "/lograft.calls.rs"));
}

#[cfg(test)]
use calls::REQUEST_SHAPES;

/// The methods of all services, for tables that must have a row for each of them.
mod methods {
    include!(concat!(env!("OUT_DIR"), "/lograft.methods.rs"));
}

pub use methods::Method;

/// For producers and consumers.
pub mod log {
    /// Request header that disables forwarding. If it is present, with any value, a node that is
    /// not the leader answers `NOT_LEADER` instead: for clients that route to the leader
    /// themselves.
    pub const NO_FORWARD_HEADER: &str = "lograft-no-forward";

    /// The `base_offset` of a duplicate whose offset the leader does not know any more: 2^63 - 1,
    /// which no log reaches. A client before 0.3.0 takes the batch as stored, which it is, with an
    /// offset that it can calculate with and that no read accepts.
    pub const UNKNOWN_OFFSET: u64 = i64::MAX.unsigned_abs();

    /// Version 1.
    #[expect(
        clippy::pedantic,
        missing_docs,
        reason = "generated; documented in the proto file"
    )]
    pub mod v1 {
        tonic::include_proto!("lograft.log.v1");
    }
}

/// For operators, the CLI and joining nodes.
pub mod admin {
    /// Version 1.
    #[expect(
        clippy::pedantic,
        missing_docs,
        reason = "generated; documented in the proto file"
    )]
    pub mod v1 {
        tonic::include_proto!("lograft.admin.v1");
    }
}

/// Between nodes.
pub mod raft {
    /// Version 1.
    #[expect(
        clippy::pedantic,
        missing_docs,
        reason = "generated; documented in the proto file"
    )]
    pub mod v1 {
        tonic::include_proto!("lograft.raft.v1");
    }
}

/// The encoded `FileDescriptorSet` of all packages, with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lograft.binpb"));

/// The encoded `FileDescriptorSet` of the packages for clients, with comments: for gRPC reflection
/// on the client port.
pub const CLIENT_FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/lograft.client.binpb"));

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
#[path = "../../dataplane/core/tests/support/fixtures.rs"]
#[expect(dead_code, reason = "messages are compared field by field")]
mod fixtures;

#[cfg(test)]
#[path = "../../dataplane/core/tests/support/fuzz.rs"]
mod fuzz;
#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{DescriptorProto, FileDescriptorSet, MessageOptions};

    fn descriptors() -> FileDescriptorSet {
        FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap()
    }

    #[test]
    fn the_descriptor_set_holds_every_service() {
        let services: Vec<String> = descriptors()
            .file
            .iter()
            .flat_map(|f| {
                f.service
                    .iter()
                    .map(|s| format!("{}.{}", f.package(), s.name()))
            })
            .collect();
        assert_eq!(
            services,
            [
                "lograft.log.v1.LogService",
                "lograft.log.v1.GroupService",
                "lograft.admin.v1.AdminService",
                "lograft.admin.v1.AccessService",
                "lograft.raft.v1.RaftService",
                "lograft.raft.v1.NodeService",
            ]
        );
    }

    #[test]
    fn every_type_and_call_has_a_comment() {
        let is_synthetic =
            |t: &DescriptorProto| t.options.as_ref().is_some_and(MessageOptions::map_entry);
        for file in descriptors().file {
            let info = file.source_code_info.clone().unwrap();
            let has_comment = |path: &[i32]| {
                info.location
                    .iter()
                    .any(|l| l.path == path && !l.leading_comments().is_empty())
            };
            for (i, service) in (0..).zip(&file.service) {
                assert!(has_comment(&[6, i]), "{}", service.name());
                for (j, method) in (0..).zip(&service.method) {
                    assert!(has_comment(&[6, i, 2, j]), "{}", method.name());
                }
            }
            for (i, message) in (0..).zip(&file.message_type) {
                assert!(
                    is_synthetic(message) || has_comment(&[4, i]),
                    "{}",
                    message.name()
                );
            }
        }
    }
}
