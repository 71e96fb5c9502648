//! Topics: create, alter, delete, list, describe.

use lograft_core::RetentionPolicy;
use lograft_proto::admin::v1 as proto;
use tonic::Status;

use super::{check_member, encode};
use crate::control::Control;
use crate::control::topic_admin::{NewTopic, TopicChange, ready_timeout};
use crate::error::ApiError;

pub(crate) async fn create_topic(
    control: &Control,
    request: proto::CreateTopicRequest,
) -> Result<proto::CreateTopicReply, Status> {
    check_member(control)?;
    let proto::CreateTopicRequest {
        name,
        partitions,
        replication_factor,
        retention,
        timeout_ms,
    } = request;
    let topic = NewTopic {
        name: name.clone(),
        partitions: set(partitions),
        replication_factor: set(replication_factor),
        retention: retention.map(policy),
        ready_timeout: ready_timeout(timeout_ms),
    };
    let ready = control.topics.create(topic).await?;
    let topic = Some(described(control, &name).await?);
    Ok(proto::CreateTopicReply { topic, ready })
}

pub(crate) async fn alter_topic(
    control: &Control,
    request: proto::AlterTopicRequest,
) -> Result<proto::AlterTopicReply, Status> {
    check_member(control)?;
    let proto::AlterTopicRequest {
        name,
        partitions,
        retention,
        timeout_ms,
    } = request;
    let change = TopicChange {
        name: name.clone(),
        partitions,
        retention: retention.map(policy),
        ready_timeout: ready_timeout(timeout_ms),
    };
    let ready = control.topics.alter(change).await?;
    let topic = Some(described(control, &name).await?);
    Ok(proto::AlterTopicReply { topic, ready })
}

pub(crate) async fn delete_topic(
    control: &Control,
    request: proto::DeleteTopicRequest,
) -> Result<proto::DeleteTopicReply, Status> {
    check_member(control)?;
    control.topics.delete(request.name).await?;
    Ok(proto::DeleteTopicReply {})
}

pub(crate) fn list_topics(control: &Control) -> Result<proto::ListTopicsReply, Status> {
    check_member(control)?;
    let metadata = control.view.load();
    let topics = metadata.topics().map(|topic| proto::TopicSummary {
        name: topic.name.clone(),
        topic_id: topic.id.0,
        partitions: topic.partition_count(),
        replication_factor: topic.replication_factor,
        retention: Some(encode::retention(topic.retention)),
    });
    Ok(proto::ListTopicsReply {
        topics: topics.collect(),
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

const fn policy(retention: proto::Retention) -> RetentionPolicy {
    RetentionPolicy {
        bytes: retention.bytes,
        ms: retention.ms,
    }
}
