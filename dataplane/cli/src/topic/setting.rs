//! Settings of a topic on the command line: `KEY=VALUE`, with units where the key has one.

use lograft_client::admin_wire::TopicSetting;
use lograft_client::admin_wire::topic_setting::Value;
use lograft_client::{SettingUnit, TopicKey};

use crate::units::{self, UnitError, parse_millis, parse_size};

/// An invalid `KEY=VALUE`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum SettingArgError {
    #[error("setting must be KEY=VALUE, e.g. batch.max.bytes=512KiB, got {text:?}")]
    NoValue { text: String },
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// Parses `batch.max.bytes=512KiB`. The value of a key that this version does not know is sent as
/// it is: the cluster may be newer, and refuses it otherwise.
pub(super) fn parse(text: &str) -> Result<TopicSetting, SettingArgError> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .ok_or_else(|| SettingArgError::NoValue { text: text.into() })?;
    let value = match TopicKey::from_name(key).map(|key| key.info().unit) {
        Ok(SettingUnit::Bytes) => Value::Number(parse_size(value)?),
        Ok(SettingUnit::Milliseconds) => Value::Number(parse_millis(value)?),
        Err(_) => value
            .parse()
            .map_or_else(|_| Value::Text(value.to_owned()), Value::Number),
    };
    Ok(TopicSetting {
        key: key.to_owned(),
        value: Some(value),
    })
}

/// The settings besides the retention as text: `batch.max.bytes 512.0 KiB`.
pub(super) fn texts(settings: &[TopicSetting]) -> impl Iterator<Item = String> {
    let others = settings.iter().filter(|setting| !is_retention(setting));
    others.map(|setting| {
        let unit = TopicKey::from_name(&setting.key).map(|key| key.info().unit);
        let value = match (&setting.value, unit) {
            (Some(Value::Number(bytes)), Ok(SettingUnit::Bytes)) => units::size(*bytes),
            (Some(Value::Number(number)), _) => number.to_string(),
            (Some(Value::Text(text)), _) => text.clone(),
            (None, _) => String::new(),
        };
        format!("{} {value}", setting.key)
    })
}

fn is_retention(setting: &TopicSetting) -> bool {
    matches!(
        TopicKey::from_name(&setting.key),
        Ok(TopicKey::RetentionBytes | TopicKey::RetentionMs)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Value> {
        parse(text).unwrap().value
    }

    #[test]
    fn values_have_the_unit_of_their_key() {
        assert_eq!(
            value("batch.max.bytes=512KiB"),
            Some(Value::Number(524_288))
        );
        assert_eq!(value("retention.bytes=1GiB"), Some(Value::Number(1 << 30)));
        assert_eq!(value("retention.ms=7d"), Some(Value::Number(604_800_000)));
        assert_eq!(value("of.a.later=7"), Some(Value::Number(7)));
        assert_eq!(value("of.a.later=a=b"), Some(Value::Text("a=b".into())));
    }

    #[test]
    fn a_setting_without_key_or_value_is_refused() {
        for text in ["", "batch.max.bytes", "batch.max.bytes=", "=1"] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, SettingArgError::NoValue { text: text.into() });
        }
        assert!(parse("retention.ms=soon").is_err());
    }

    #[test]
    fn the_retention_is_shown_elsewhere() {
        let settings = ["retention.ms=7d", "batch.max.bytes=512KiB", "of.a.later=x"];
        let settings = settings.map(|text| parse(text).unwrap());
        let shown: Vec<String> = texts(&settings).collect();
        assert_eq!(shown, ["batch.max.bytes 512.0 KiB", "of.a.later x"]);
    }
}
