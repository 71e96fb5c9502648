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
        Status::with_error_details(code, "not possible now", details),
    )
}

#[test]
fn every_reason_survives_encoding_and_decoding() {
    for &reason in Reason::ALL {
        let error = rejected(reason, &[]);
        assert_eq!(error.reason(), Some(reason));
        assert_eq!(error.is_retryable(), reason.is_retryable(), "{reason}");
    }
}

#[test]
fn the_valid_offset_range_is_parsed() {
    let error = rejected(
        Reason::OffsetOutOfRange,
        &[("log_start_offset", "7"), ("high_watermark", "90")],
    );
    assert_eq!(error.valid_offsets(), Some((Offset(7), Offset(90))));
    assert_eq!(error.to_string(), "not possible now (OFFSET_OUT_OF_RANGE)");
    assert_eq!(rejected(Reason::NotLeader, &[]).valid_offsets(), None);
}

#[test]
fn an_error_info_of_another_domain_has_no_reason() {
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
fn a_wrapped_tls_alert_is_found() {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    let wrapped = io::Error::new(io::ErrorKind::InvalidData, alert);
    let error = ClientError::from_status("n1:9400", Status::from_error(Box::new(wrapped)));
    assert_eq!(error.reason(), Some(Reason::Unauthenticated));
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("n1:9400"), "{error}");
}

#[test]
fn a_reset_connection_is_a_broken_call() {
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let error = ClientError::from_status("n1:9400", Status::from_error(Box::new(reset)));
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(error.reason(), None);
    assert_eq!(
        error.to_string(),
        "connection to n1:9400 lost: connection reset"
    );
}

#[test]
fn a_timeout_includes_the_last_error() {
    let error = ClientError::Timeout {
        action: "create topic",
        after: Duration::from_secs(3),
        last: Some(Box::new(rejected(Reason::NoLeader, &[]))),
    };
    assert_eq!(
        error.to_string(),
        "cannot create topic within 3s; last error: not possible now (NO_LEADER)"
    );
    assert_eq!(error.reason(), Some(Reason::NoLeader));
}
