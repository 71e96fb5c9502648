//! Topics: create, alter, delete, list, describe.

use std::sync::Arc;

use lograft_core::RetentionPolicy;
use lograft_core::acl::Principal;
use lograft_core::metadata::TopicId;
use lograft_core::topic_config::{SettingValue, SettingsChange};
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::encode;
use crate::access::Visibility;
use crate::api::caller::check_member;
use crate::api::page::Page;
use crate::control::Control;
use crate::control::topic_admin::{NewTopic, TopicChange, ready_timeout};
use crate::error::ApiError;

pub(crate) async fn create_topic(
    control: &Control,
    request: proto::CreateTopicRequest,
    by: &Arc<Principal>,
) -> Result<proto::CreateTopicReply, Status> {
    check_member(control)?;
    let proto::CreateTopicRequest {
        name,
        partitions,
        replication_factor,
        retention,
        timeout_ms,
        settings,
    } = request;
    let topic = NewTopic {
        name: name.clone(),
        partitions: set(partitions),
        replication_factor: set(replication_factor),
        settings: settings_change(retention, &settings, &[])?,
        retention: retention.map(policy),
        ready_timeout: ready_timeout(timeout_ms),
    };
    let ready = control.topics.create(topic, by).await?;
    let topic = Some(described(control, &name).await?);
    Ok(proto::CreateTopicReply { topic, ready })
}

pub(crate) async fn alter_topic(
    control: &Control,
    request: proto::AlterTopicRequest,
    by: &Arc<Principal>,
) -> Result<proto::AlterTopicReply, Status> {
    check_member(control)?;
    let proto::AlterTopicRequest {
        name,
        partitions,
        retention,
        timeout_ms,
        settings,
        reset_settings,
        topic_id,
        replication_factor,
    } = request;
    let change = TopicChange {
        name: name.clone(),
        id: topic_id.map(TopicId),
        partitions,
        replication_factor,
        settings: settings_change(retention, &settings, &reset_settings)?,
        retention: retention.map(policy),
        ready_timeout: ready_timeout(timeout_ms),
    };
    let ready = control.topics.alter(change, by).await?;
    let topic = Some(described(control, &name).await?);
    Ok(proto::AlterTopicReply { topic, ready })
}

pub(crate) async fn delete_topic(
    control: &Control,
    request: proto::DeleteTopicRequest,
    by: &Arc<Principal>,
) -> Result<proto::DeleteTopicReply, Status> {
    check_member(control)?;
    let proto::DeleteTopicRequest { name, topic_id } = request;
    let topic = (name, topic_id.map(TopicId));
    control.topics.delete(topic, by).await?;
    Ok(proto::DeleteTopicReply {})
}

pub(crate) fn list_topics(
    control: &Control,
    request: &proto::ListTopicsRequest,
    visible: &Visibility<'_>,
) -> Result<proto::ListTopicsReply, Status> {
    check_member(control)?;
    let proto::ListTopicsRequest { max_count, after } = request;
    let metadata = control.view.load();
    let shown = metadata
        .topics_after(after)
        .filter(|topic| visible.includes_topic(&topic.name));
    let page = Page::of(shown, *max_count);
    let next = page.next(|last| last.name.clone());
    let topics = page.items.into_iter().map(|topic| proto::TopicSummary {
        name: topic.name.clone(),
        topic_id: topic.id.0,
        partitions: topic.partition_count(),
        replication_factor: topic.replication_factor,
        retention: Some(encode::retention(topic.retention)),
        settings: encode::settings(&topic.config()),
    });
    Ok(proto::ListTopicsReply {
        topics: topics.collect(),
        next,
    })
}

pub(crate) async fn describe_topic(
    control: &Control,
    request: &proto::DescribeTopicRequest,
) -> Result<proto::DescribeTopicReply, Status> {
    check_member(control)?;
    let topic = Some(described(control, &request.name).await?);
    Ok(proto::DescribeTopicReply { topic })
}

async fn described(control: &Control, name: &str) -> Result<proto::TopicDescription, ApiError> {
    let described = control.cluster.describe_topic(name).await;
    described
        .map(encode::topic)
        .ok_or_else(|| ApiError::unknown_topic(name))
}

/// A number where 0 asks for the default.
fn set(number: u32) -> Option<u32> {
    Some(number).filter(|number| *number > 0)
}

/// The settings that a request sets and removes; the old field `retention` may be set instead of
/// the keys of the retention.
fn settings_change(
    retention: Option<proto::Retention>,
    settings: &[proto::TopicSetting],
    removed: &[String],
) -> Result<SettingsChange, ApiError> {
    use proto::topic_setting::Value;
    let mut change = SettingsChange::default();
    for proto::TopicSetting { key, value } in settings {
        let value = value.as_ref().map(|value| match value {
            Value::Number(number) => SettingValue::Number(*number),
            Value::Text(text) => SettingValue::Text(text),
        });
        change.set(key, value)?;
    }
    for key in removed {
        change.remove(key)?;
    }
    if retention.is_some() {
        change.check_no_retention()?;
    }
    Ok(change)
}

const fn policy(retention: proto::Retention) -> RetentionPolicy {
    RetentionPolicy {
        bytes: retention.bytes,
        ms: retention.ms,
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::Reason;
    use proto::topic_setting::Value;

    use super::*;

    fn setting(key: &str, value: Option<Value>) -> proto::TopicSetting {
        proto::TopicSetting {
            key: key.to_owned(),
            value,
        }
    }

    #[test]
    fn invalid_settings_name_the_key_and_the_bound() {
        let number = |key, number| setting(key, Some(Value::Number(number)));
        let text = setting("batch.max.bytes", Some(Value::Text("1MiB".to_owned())));
        let retention = Some(proto::Retention::default());
        let twice = [number("retention.ms", 5000), number("retention.ms", 6000)];
        let cases = [
            (None, vec![number("no.such", 1)], vec![], "no.such"),
            (None, vec![text], vec![], "batch.max.bytes"),
            (
                None,
                vec![setting("retention.ms", None)],
                vec![],
                "retention.ms",
            ),
            (
                None,
                vec![number("batch.max.bytes", 1023)],
                vec![],
                "batch.max.bytes",
            ),
            (None, twice.to_vec(), vec![], "retention.ms"),
            (
                None,
                twice[..1].to_vec(),
                vec!["retention.ms"],
                "retention.ms",
            ),
            (None, vec![], vec!["no.such"], "no.such"),
            (retention, twice[..1].to_vec(), vec![], "retention.ms"),
            (
                retention,
                vec![],
                vec!["retention.bytes"],
                "retention.bytes",
            ),
        ];
        for (retention, settings, removed, field) in cases {
            let removed: Vec<String> = removed.into_iter().map(str::to_owned).collect();
            let error = settings_change(retention, &settings, &removed).unwrap_err();
            assert_eq!(error.reason(), Some(Reason::InvalidArgument));
            let details: Vec<_> = error.details().collect();
            assert_eq!(details[0], ("field", field));
            assert!(details[1].0 == "bound" && !details[1].1.is_empty());
        }
        let valid = [number("batch.max.bytes", 4096)];
        assert!(settings_change(retention, &valid, &[]).is_ok());
    }
}
