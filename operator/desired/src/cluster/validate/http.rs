//! Origins of `spec.listeners.http`: those that a node takes.

use lograft_crds::LogClusterSpec;
use lograft_crds::limits::{HTTP_ORIGIN_MAX_BYTES, HTTP_ORIGINS_MAX_COUNT};

use crate::validation::{ValidationError, out_of_bounds};

/// Fails on an origin that a node would refuse.
pub(super) fn check(spec: &LogClusterSpec) -> Result<(), ValidationError> {
    let field = "spec.listeners.http.corsAllowedOrigins";
    let http = spec.listeners.http.as_ref();
    let origins = http.map_or(&[][..], |http| &http.cors_allowed_origins);
    if origins.len() > HTTP_ORIGINS_MAX_COUNT {
        let bound = format!("at most {HTTP_ORIGINS_MAX_COUNT} origins");
        return Err(out_of_bounds(field, &origins.len(), &bound));
    }
    let Some(bad) = origins.iter().find(|origin| !is_origin(origin)) else {
        return Ok(());
    };
    let bound = format!(
        "https://HOST or https://HOST:PORT of at most {HTTP_ORIGIN_MAX_BYTES} bytes, without a path"
    );
    Err(out_of_bounds(field, &format!("{bad:?}"), &bound))
}

fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_host_char =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let is_host = host.is_some_and(|host| !host.is_empty() && host.chars().all(is_host_char));
    is_host && text.len() <= HTTP_ORIGIN_MAX_BYTES
}

#[cfg(test)]
mod tests {
    use lograft_crds::log_cluster::HttpListener;

    use super::*;

    fn with_origins(origins: Vec<String>) -> LogClusterSpec {
        let mut spec = LogClusterSpec::default();
        spec.listeners.http = Some(HttpListener {
            enabled: true,
            cors_allowed_origins: origins,
        });
        spec
    }

    #[test]
    fn origins_have_a_scheme_and_a_host_and_nothing_else() {
        let check = |origin: &str| check(&with_origins(vec![origin.to_owned()]));
        let long = format!("https://{}", "a".repeat(HTTP_ORIGIN_MAX_BYTES - 8));
        for origin in ["https://a.example", "http://[::1]:3000", &long] {
            assert_eq!(check(origin), Ok(()), "{origin}");
        }
        let longer = format!("{long}a");
        for origin in [
            "",
            "*",
            "a.example",
            "https://",
            "https://a.example/",
            &longer,
        ] {
            let error = check(origin).unwrap_err().to_string();
            assert!(error.contains("corsAllowedOrigins"), "{origin}: {error}");
        }
    }

    #[test]
    fn origins_are_bounded() {
        let origins = |count: usize| (0..count).map(|at| format!("https://a{at}")).collect();
        assert_eq!(
            check(&with_origins(origins(HTTP_ORIGINS_MAX_COUNT))),
            Ok(())
        );
        let error = check(&with_origins(origins(HTTP_ORIGINS_MAX_COUNT + 1))).unwrap_err();
        assert!(error.to_string().contains("at most 64"), "{error}");
        assert_eq!(check(&LogClusterSpec::default()), Ok(()));
    }
}
