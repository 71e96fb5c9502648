//! Topics: created, grown, altered, deleted, described.

use std::time::Duration;

use lograft_core::assignment::{candidates, place_topic};
use lograft_core::limits::{
    LEADER_POLL_INTERVAL, TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT, TOPIC_READY_DEFAULT, TOPIC_READY_MAX,
};
use lograft_core::metadata::{Command, Growth, MetaError};
use lograft_core::{GroupId, NodeId, RetentionPolicy, topic};
use lograft_proto::admin::v1 as proto;
use tokio::time::Instant;
use tonic::Status;

use super::{check_member, encode};
use crate::api::grpc::status::ApiError;
use crate::control::Control;
use crate::serving::meta_group::{ProposeMeta, ProposeMetaError};

/// Replicas of a topic that does not say how many it wants, if there are as many nodes.
const REPLICATION_FACTOR_DEFAULT: u32 = 3;

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
    let defaults = control.topic_defaults.read().await;
    let partitions = match partitions {
        0 => defaults.partitions,
        asked => asked,
    };
    let retention = retention.map_or(defaults.retention(), policy);
    topic::validate_name(&name).map_err(ApiError::from)?;
    topic::validate_partitions(partitions, 0).map_err(ApiError::from)?;
    if control.view.load().topic(&name).is_some() {
        return Err(ApiError::from(MetaError::TopicExists { name }).into());
    }
    propose_placed(control, |control| {
        let replication_factor = match replication_factor {
            0 => defaults
                .replication_factor
                .unwrap_or_else(|| default_replication_factor(control)),
            asked => asked,
        };
        let assignment = place(control, partitions, replication_factor)?;
        Ok(Command::CreateTopic {
            name: name.clone(),
            retention,
            assignment,
        })
    })
    .await?;
    let ready = wait_for_leaders(control, &name, timeout_ms).await;
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
    let retention = retention.map(policy);
    propose_placed(control, |control| {
        let metadata = control.view.load();
        let known = metadata
            .topic(&name)
            .ok_or_else(|| ApiError::unknown_topic(&name))?;
        let existing = known.partition_count();
        let growth = match partitions.filter(|total| *total != existing) {
            None => None,
            Some(total) => {
                topic::validate_partitions(total, existing)?;
                let assignment = place(control, total - existing, known.replication_factor)?;
                Some(Growth { total, assignment })
            }
        };
        Ok(Command::AlterTopic {
            name: name.clone(),
            retention,
            growth,
        })
    })
    .await?;
    let ready = wait_for_leaders(control, &name, timeout_ms).await;
    let topic = Some(described(control, &name).await?);
    Ok(proto::AlterTopicReply { topic, ready })
}

pub(crate) async fn delete_topic(
    control: &Control,
    request: proto::DeleteTopicRequest,
) -> Result<proto::DeleteTopicReply, Status> {
    check_member(control)?;
    let command = Command::DeleteTopic { name: request.name };
    control
        .proposer
        .propose(command)
        .await
        .map_err(ApiError::from)?;
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

const fn policy(retention: proto::Retention) -> RetentionPolicy {
    RetentionPolicy {
        bytes: retention.bytes,
        ms: retention.ms,
    }
}

fn default_replication_factor(control: &Control) -> u32 {
    let nodes = control.view.load().active_nodes().count();
    u32::try_from(nodes)
        .unwrap_or(u32::MAX)
        .clamp(1, REPLICATION_FACTOR_DEFAULT)
}

fn place(
    control: &Control,
    partitions: u32,
    replication_factor: u32,
) -> Result<Vec<Vec<NodeId>>, ApiError> {
    let nodes = candidates(&control.view.load());
    Ok(place_topic(nodes, partitions, replication_factor)?)
}

/// Proposes what `command` makes of the metadata; again, if a node that it places replicas on was
/// decommissioned meanwhile.
async fn propose_placed(
    control: &Control,
    command: impl Fn(&Control) -> Result<Command, ApiError>,
) -> Result<(), ApiError> {
    let mut attempts = 1;
    loop {
        match control.proposer.propose(command(control)?).await {
            Ok(_) => return Ok(()),
            Err(ProposeMetaError::Refused(MetaError::NodeDecommissioned { .. }))
                if attempts < TOPIC_ASSIGNMENT_ATTEMPTS_MAX_COUNT =>
            {
                attempts += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until each partition has begun and somebody leads it. Whether that came in time.
async fn wait_for_leaders(control: &Control, name: &str, timeout_ms: u32) -> bool {
    let wait = match timeout_ms {
        0 => TOPIC_READY_DEFAULT,
        ms => Duration::from_millis(ms.into()).min(TOPIC_READY_MAX),
    };
    let deadline = Instant::now() + wait;
    loop {
        let metadata = control.view.load();
        let Some(topic) = metadata.topic(name) else {
            return false;
        };
        let is_led = |group: GroupId| control.leaders.leader_of(group).is_some();
        if topic
            .partitions
            .iter()
            .all(|partition| partition.started && is_led(partition.group))
        {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LEADER_POLL_INTERVAL).await;
    }
}

impl From<lograft_core::topic::TopicError> for ApiError {
    fn from(error: lograft_core::topic::TopicError) -> Self {
        MetaError::Topic(error).into()
    }
}

#[cfg(test)]
mod tests {
    use lograft_core::Reason;

    use super::*;

    #[test]
    fn refusals_name_the_field_and_the_bound() {
        let error = topic::validate_replication_factor(4, 3).unwrap_err();
        let wire = ApiError::from(error).to_wire();
        assert_eq!(wire.reason, Reason::InvalidReplicationFactor.as_str());
        assert_eq!(wire.metadata["field"], "replication_factor");
        assert_eq!(wire.metadata["bound"], "1..=3");
    }
}
