use std::collections::HashMap;
use std::io;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

fn rejected(reason: Reason, metadata: &[(&str, &str)]) -> ClientError {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(reason.as_str(), Reason::DOMAIN, metadata);
    let code = Code::from_i32(reason.status() as i32);
    ClientError::from_status(
        "n1:9400",
        Status::with_error_details(code, "so it is", details),
    )
}

#[test]
fn every_reason_survives_the_wire() {
    for &reason in Reason::ALL {
        let error = rejected(reason, &[]);
        assert_eq!(error.reason(), Some(reason));
        assert_eq!(error.is_retryable(), reason.is_retryable(), "{reason}");
    }
}

#[test]
fn the_valid_range_is_read() {
    let error = rejected(
        Reason::OffsetOutOfRange,
        &[("log_start_offset", "7"), ("high_watermark", "90")],
    );
    assert_eq!(error.valid_offsets(), Some((Offset(7), Offset(90))));
    assert_eq!(error.to_string(), "so it is (OFFSET_OUT_OF_RANGE)");
    assert_eq!(rejected(Reason::NotLeader, &[]).valid_offsets(), None);
}

#[test]
fn another_domain_gives_no_reason() {
    let details = ErrorDetails::with_error_info("NOT_LEADER", "example.org", HashMap::new());
    let status = Status::with_error_details(Code::NotFound, "", details);
    let error = ClientError::from_status("n1:9400", status);
    assert!(
        matches!(&error, ClientError::Rejected(r) if r.reason.is_none()),
        "{error:?}"
    );
    assert!(!error.is_retryable());
}

#[test]
fn a_refusal_by_tls_is_found_under_its_wrapping() {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    let wrapped = io::Error::new(io::ErrorKind::InvalidData, alert);
    let error = ClientError::from_status("n1:9400", Status::from_error(Box::new(wrapped)));
    assert_eq!(error.reason(), Some(Reason::Unauthenticated));
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("n1:9400"), "{error}");
}

#[test]
fn a_broken_stream_is_neither_a_refusal_nor_a_failure_to_connect() {
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let error = ClientError::from_status("n1:9400", Status::from_error(Box::new(reset)));
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(error.reason(), None);
}

#[test]
fn a_timeout_tells_how_the_last_try_failed() {
    let error = ClientError::Timeout {
        action: "creating a topic",
        after: Duration::from_secs(3),
        last: Some(Box::new(rejected(Reason::NoLeader, &[]))),
    };
    assert_eq!(
        error.to_string(),
        "creating a topic did not succeed within 3s; at last: so it is (NO_LEADER)"
    );
    assert_eq!(error.reason(), Some(Reason::NoLeader));
}
