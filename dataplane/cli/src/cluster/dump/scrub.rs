//! Removes secrets from texts and configurations. Nothing that is dumped should have any; a path or
//! a pasted key may be where nobody expects it.

use regex::{Captures, Regex};
use serde_yaml::Value;

/// Stands in for what was removed.
const REMOVED: &str = "(removed)";

/// PEM blocks, also without their end, keys in hexadecimal, and credentials in URLs and headers.
const SECRETS: &str = r"(?sx)
    -----BEGIN\ [A-Z0-9\ ]+-----.*?(?:-----END\ [A-Z0-9\ ]+-----|\z)
    | \b[0-9a-fA-F]{64,}\b
    | (?P<before>(?i:bearer|basic)\ +)[^\s]+
    | (?P<user>://[^\s/:@]*:)[^\s/@]+@";

/// The text without secrets.
pub(crate) fn text(text: &str) -> String {
    let Ok(secrets) = Regex::new(SECRETS) else {
        return REMOVED.to_owned();
    };
    let replaced = secrets.replace_all(text, |found: &Captures<'_>| {
        if let Some(user) = found.name("user") {
            return format!("{}{REMOVED}@", user.as_str());
        }
        let before = found.name("before").map_or("", |before| before.as_str());
        format!("{before}{REMOVED}")
    });
    replaced.into_owned()
}

/// A configuration in YAML without the values of fields that may have a secret.
pub(crate) fn config(yaml: &str) -> Result<String, serde_yaml::Error> {
    let mut config: Value = serde_yaml::from_str(yaml)?;
    scrub(&mut config);
    serde_yaml::to_string(&config)
}

fn scrub(value: &mut Value) {
    match value {
        Value::Mapping(fields) => {
            for (name, field) in fields.iter_mut() {
                let name = name.as_str().unwrap_or_default();
                match field {
                    Value::Mapping(_) | Value::Sequence(_) => scrub(field),
                    _ if is_secret(name) => *field = Value::String(REMOVED.to_owned()),
                    _ => {}
                }
            }
        }
        Value::Sequence(items) => items.iter_mut().for_each(scrub),
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = ["key", "secret", "password", "token", "credential"];
    parts.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_and_the_rest_stays() {
        let key = "0123456789abcdef".repeat(4);
        for (dirty, clean) in [
            (
                "lograft_up{node=\"n\"} 1\n".to_owned(),
                "lograft_up{node=\"n\"} 1\n",
            ),
            (format!("a {key} b"), "a (removed) b"),
            (
                "a\n-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\nb".to_owned(),
                "a\n(removed)\nb",
            ),
            (
                "x -----BEGIN EC PRIVATE KEY-----\nMC4C".to_owned(),
                "x (removed)",
            ),
            (
                "Authorization: Bearer abc.def b".to_owned(),
                "Authorization: Bearer (removed) b",
            ),
            (
                "at https://me:pass@host/".to_owned(),
                "at https://me:(removed)@host/",
            ),
            (
                "http://10.0.0.1:9403/metrics".to_owned(),
                "http://10.0.0.1:9403/metrics",
            ),
        ] {
            assert_eq!(text(&dirty), clean, "{dirty}");
        }
    }

    #[test]
    fn fields_with_secrets_lose_their_values() {
        let yaml = "name: n\ntls:\n  key: /pki/n.key\n  ca: /pki/ca.crt\nusers:\n- password: x\n";
        assert_eq!(
            config(yaml).unwrap(),
            "name: n\ntls:\n  key: (removed)\n  ca: /pki/ca.crt\nusers:\n- password: (removed)\n"
        );
        assert!(config("a: [").is_err());
    }
}
