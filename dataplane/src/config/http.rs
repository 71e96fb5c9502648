//! HTTP requests of clients: section `http` of the configuration.

use lograft_core::limits::{HTTP_ORIGIN_MAX_BYTES, HTTP_ORIGINS_MAX_COUNT};
use serde::{Deserialize, Serialize};

use super::{ConfigError, field, within};

/// The HTTP port of clients; its address is `listen.http`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Origins whose pages may read answers (CORS), `https://host` or `https://host:port`; none by
    /// default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
}

impl HttpSettings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        const NAME: &str = "http.allowed_origins";
        let count = self.allowed_origins.len();
        within(NAME, count, 0, HTTP_ORIGINS_MAX_COUNT, "origins")?;
        for origin in &self.allowed_origins {
            within(
                NAME,
                origin.len(),
                1,
                HTTP_ORIGIN_MAX_BYTES,
                "bytes per origin",
            )?;
            if !is_origin(origin) {
                let bound = "origins of the form scheme://host or scheme://host:port".to_owned();
                return Err(field(NAME, &format!("{origin:?}"), bound));
            }
        }
        Ok(())
    }
}

fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(is_host_byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_a_scheme_and_a_host_and_nothing_else() {
        let check = |origin: &str| {
            let allowed_origins = vec![origin.to_owned()];
            HttpSettings { allowed_origins }.check()
        };
        for origin in [
            "https://a.example",
            "http://localhost:3000",
            "https://[::1]:8443",
        ] {
            check(origin).unwrap();
        }
        for origin in [
            "",
            "*",
            "a.example",
            "https://",
            "https://a.example/",
            "null",
        ] {
            let error = check(origin).unwrap_err().to_string();
            assert!(error.contains("http.allowed_origins"), "{error}");
        }
    }
}
