use std::collections::HashMap;
use std::io;
use std::time::Duration;

use lograft_core::limits::CLIENT_RETRY_DELAY_MAX;
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
        "create topic",
        Status::with_error_details(code, "not possible now", details),
    )
}

#[test]
fn every_reason_survives_encoding_and_decoding() {
    for &reason in Reason::ALL {
        let error = rejected(reason, &[]);
        // A call that the node does not have is an error of its own here.
        let expected = match reason {
            Reason::UnknownCall => Reason::VersionTooOld,
            reason => reason,
        };
        assert_eq!(error.reason(), Some(expected));
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
    let error = ClientError::from_status("n1:9400", "create topic", status);
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
    let error = ClientError::from_status(
        "n1:9400",
        "create topic",
        Status::from_error(Box::new(wrapped)),
    );
    assert_eq!(error.reason(), Some(Reason::Unauthenticated));
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("n1:9400"), "{error}");
}

#[test]
fn a_reset_connection_is_a_broken_call() {
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let error = ClientError::from_status(
        "n1:9400",
        "create topic",
        Status::from_error(Box::new(reset)),
    );
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

fn newer(code: Code, retryable: Option<&str>) -> ClientError {
    let mut metadata: HashMap<String, String> = [("hint".to_owned(), "later".to_owned())].into();
    metadata.extend(retryable.map(|r| ("retryable".to_owned(), r.to_owned())));
    let details = ErrorDetails::with_error_info("OF_A_LATER_VERSION", Reason::DOMAIN, metadata);
    let status = Status::with_error_details(code, "not today", details);
    ClientError::from_status("n1:9400", "create topic", status)
}

#[test]
fn a_newer_reason_reaches_the_caller_unchanged() {
    let error = newer(Code::FailedPrecondition, Some("true"));
    assert_eq!(error.to_string(), "not today (OF_A_LATER_VERSION)");
    assert_eq!(error.reason(), None);
    let received = error.received_reason().unwrap();
    assert_eq!(received.as_str(), "OF_A_LATER_VERSION");
    assert_eq!(received.code(), Code::FailedPrecondition as i32);
    assert!(error.is_retryable() && received.is_retryable());
    assert_eq!(error.metadata("hint"), Some("later"));
    assert_eq!(error.metadata("retryable"), None);
    let timeout = ClientError::Timeout {
        action: "create topic",
        after: Duration::from_secs(1),
        last: Some(Box::new(error)),
    };
    assert_eq!(timeout.received_reason(), Some(received));
}

#[test]
fn retries_after_a_newer_reason_follow_its_retryable_or_its_code() {
    let is_retryable = |code, retryable| newer(code, retryable).is_retryable();
    assert!(is_retryable(Code::InvalidArgument, Some("true")));
    assert!(!is_retryable(Code::Unavailable, Some("false")));
    assert!(is_retryable(Code::Unavailable, None));
    assert!(is_retryable(Code::Unavailable, Some("perhaps")));
    assert!(!is_retryable(Code::InvalidArgument, None));
}

#[test]
fn the_word_of_the_node_wins_over_the_table() {
    let error = rejected(Reason::NotLeader, &[("retryable", "false")]);
    assert!(!error.is_retryable());
    let error = rejected(Reason::InvalidArgument, &[("retryable", "true")]);
    assert!(error.is_retryable());
}

#[test]
fn a_reason_that_is_too_long_is_refused_and_texts_are_cut() {
    let error = ClientError::from_wire(
        "n1:9400",
        WireError {
            code: Code::NotFound as i32,
            reason: "X".repeat(10_000),
            text: "y".repeat(10_000),
            metadata: [("k".repeat(10_000), String::new())].into(),
            retryable: Some(true),
            ..WireError::default()
        },
    );
    let ClientError::Rejected(rejection) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((&rejection.reason, rejection.metadata.len()), (&None, 0));
    assert!(rejection.text.len() <= 1024);
    assert!(error.is_retryable());
}

#[test]
fn a_call_that_an_older_node_does_not_know_is_named() {
    let status = Status::unimplemented("");
    let error = ClientError::from_status("n1:9400", "finalize the cluster", status);
    assert_eq!(
        error.to_string(),
        "node n1:9400 cannot finalize the cluster: it runs an older version, without this call"
    );
    assert_eq!(error.reason(), Some(Reason::VersionTooOld));
    assert!(!error.is_retryable());
}

#[test]
fn an_overloaded_node_says_how_long_to_wait() {
    let delayed = |delay: Duration| {
        let mut details =
            ErrorDetails::with_error_info("DISK_FULL", Reason::DOMAIN, HashMap::new());
        details.set_retry_info(Some(delay));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        ClientError::from_status("n1:9400", "create topic", status).retry_delay()
    };
    let in_reply = |retry_delay_ms| {
        let error = WireError {
            reason: "DISK_FULL".to_owned(),
            retry_delay_ms,
            ..WireError::default()
        };
        ClientError::from_wire("n1:9400", error).retry_delay()
    };
    assert_eq!(
        delayed(Duration::from_millis(700)),
        Some(Duration::from_millis(700))
    );
    assert_eq!(in_reply(700), Some(Duration::from_millis(700)));
    assert_eq!(in_reply(0), None);
    assert_eq!(
        delayed(Duration::from_hours(1)),
        Some(CLIENT_RETRY_DELAY_MAX)
    );
    assert_eq!(in_reply(u32::MAX), Some(CLIENT_RETRY_DELAY_MAX));
    assert_eq!(rejected(Reason::NotLeader, &[]).retry_delay(), None);
}

#[test]
fn a_call_that_a_node_does_not_have_is_found_with_and_without_a_reason() {
    let is_unknown = |reason: Option<&str>| {
        let status = match reason {
            Some(reason) => {
                let details = ErrorDetails::with_error_info(reason, Reason::DOMAIN, HashMap::new());
                Status::with_error_details(Code::Unimplemented, "text", details)
            }
            None => Status::unimplemented(""),
        };
        let error = ClientError::from_status("n1:9400", "create topic", status);
        matches!(error, ClientError::UnknownCall { .. })
    };
    assert!(is_unknown(None));
    assert!(is_unknown(Some("UNKNOWN_CALL")));
    assert!(!is_unknown(Some("UNSUPPORTED_COMPRESSION")));
}
