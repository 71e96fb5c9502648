//! Parsing of the start position.

use lograft_client::{Offset, StartAt};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::now_ms;
use crate::units::parse_millis;

#[derive(Debug, thiserror::Error)]
#[error(
    "start position must be earliest, latest, an offset, a time (2026-01-31T08:00:00Z) or an age \
     (15m)"
)]
pub(crate) struct StartError;

/// Parses `earliest`, `latest`, an offset, an RFC 3339 time, or a duration before now.
pub(crate) fn parse_start(text: &str) -> Result<StartAt, StartError> {
    match text {
        "earliest" => return Ok(StartAt::Earliest),
        "latest" => return Ok(StartAt::Latest),
        _ => {}
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(StartAt::Offset(Offset(
            text.parse().map_err(|_| StartError)?,
        )));
    }
    if let Ok(ago) = parse_millis(text) {
        let ago = i64::try_from(ago).map_err(|_| StartError)?;
        return Ok(StartAt::Timestamp(now_ms().saturating_sub(ago)));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| StartError)?;
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    Ok(StartAt::Timestamp(
        i64::try_from(millis).map_err(|_| StartError)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_parsed() {
        assert_eq!(parse_start("earliest").unwrap(), StartAt::Earliest);
        assert_eq!(parse_start("latest").unwrap(), StartAt::Latest);
        assert_eq!(parse_start("42").unwrap(), StartAt::Offset(Offset(42)));
        let time = parse_start("1970-01-01T01:00:00.250+00:30").unwrap();
        assert_eq!(time, StartAt::Timestamp(1_800_250));
        let StartAt::Timestamp(ago) = parse_start("15m").unwrap() else {
            panic!("no time")
        };
        let expected = now_ms() - 900_000;
        assert!((expected - 5000..=expected).contains(&ago));
        for bad in ["", "-1", "yesterday", "2026-01-31", "99999999999999999999"] {
            assert!(parse_start(bad).is_err(), "{bad:?}");
        }
    }
}
