//! The floors of the node: which folder may name which protocol.

use crate::imports::paths;
use crate::source::Source;
use crate::tree::Finding;

/// Where gRPC statuses are built and read.
const STATUS_HOMES: &[&str] = &[
    "dataplane/src/api/grpc/",
    "dataplane/src/api/grpc.rs",
    "dataplane/src/transport/",
    "dataplane/src/transport.rs",
];
/// What knows no protocol.
const DOMAIN: &[&str] = &[
    "dataplane/src/access",
    "dataplane/src/control",
    "dataplane/src/error.rs",
    "dataplane/src/serving",
    "dataplane/src/state_machine",
];
const PROTOCOLS: &[&str] = &["tonic", "tonic_types", "axum", "prost", "lograft_proto"];

/// `tonic::Status` and `tonic::Code` stay in the gRPC API and the transport.
pub(crate) fn statuses_at_the_edge(file: &Source) -> Vec<Finding> {
    if !is_node(file) || STATUS_HOMES.iter().any(|home| file.is_in(home)) {
        return Vec::new();
    }
    let names_status = paths(file).iter().any(|path| {
        let is_tonic = path.first().is_some_and(|name| name.starts_with("tonic"));
        is_tonic && path.iter().any(|name| name == "Status" || name == "Code")
    });
    let advice = "Return ApiError; api/grpc/status.rs makes a status of it";
    findings(file, names_status.then_some("names tonic's Status"), advice)
}

/// Serving, control and what is below them know no protocol.
pub(crate) fn domain_without_protocol(file: &Source) -> Vec<Finding> {
    if !is_node(file) || !DOMAIN.iter().any(|floor| file.is_in(floor)) {
        return Vec::new();
    }
    let paths = paths(file);
    let protocol = PROTOCOLS.iter().find(|protocol| {
        paths
            .iter()
            .any(|path| path.first().is_some_and(|name| name == *protocol))
    });
    let advice = "Take and return domain types; api and transport translate";
    findings(file, protocol.copied(), advice)
}

fn is_node(file: &Source) -> bool {
    let is_test =
        file.is_test() || file.path.contains("/test_") || file.path.ends_with("/fixture.rs");
    file.is_in("dataplane/src/") && !is_test
}

fn findings(file: &Source, what: Option<&str>, advice: &'static str) -> Vec<Finding> {
    what.into_iter()
        .map(|what| file.finding(0, what.to_owned(), advice))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_outside_its_files_is_found() {
        let found = |path, text| statuses_at_the_edge(&Source::new(path, text)).len();
        let import = "use tonic::{Request, Status};";
        assert_eq!(found("dataplane/src/run/services.rs", import), 1);
        assert_eq!(
            found("dataplane/src/health.rs", "fn f() -> tonic::Status {}"),
            1
        );
        assert_eq!(found("dataplane/src/api/grpc/status.rs", import), 0);
        assert_eq!(found("dataplane/src/transport/raft.rs", import), 0);
        assert_eq!(
            found(
                "dataplane/src/health.rs",
                "use crate::Status; // tonic::Status"
            ),
            0
        );
    }

    #[test]
    fn a_protocol_in_the_domain_is_found() {
        let found = |path, text| domain_without_protocol(&Source::new(path, text)).len();
        let import = "use lograft_proto::log::v1 as proto;";
        assert_eq!(found("dataplane/src/serving/fetch/reader.rs", import), 1);
        assert_eq!(
            found("dataplane/src/control/join.rs", "use tonic::Code;"),
            1
        );
        assert_eq!(
            found("dataplane/src/error.rs", "fn f(_: tonic::Code) {}"),
            1
        );
        assert_eq!(found("dataplane/src/api/grpc/log.rs", import), 0);
        let in_tests = "#[cfg(test)]\nmod tests { use lograft_proto::log::v1; }";
        assert_eq!(found("dataplane/src/serving/locate.rs", in_tests), 0);
    }
}
