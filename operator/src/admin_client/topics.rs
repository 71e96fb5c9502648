//! Topics of a cluster: one list for all LogTopics, and requests for single topics.
//!
//! Only the leader of the metadata group is asked: another node may not know yet of a topic that
//! was created a moment ago.

use std::collections::BTreeMap;

use lograft_crds::limits::{
    NODE_ANSWER_MAX_BYTES, NODE_ANSWER_MAX_SECONDS, TOPIC_BYTES_PARTITIONS_MAX_COUNT,
    TOPIC_LEADERS_WAIT_MS, TOPIC_NODES_ASKED_MAX_COUNT, TOPICS_PAGE_MAX_COUNT,
};
use lograft_operator_desired::cluster::FeatureLevel;
use lograft_operator_desired::topic::{
    Failure, NewTopic, ObservedTopic, Outcome, Request, SettingKey, TopicChange,
};
use lograft_proto::admin::v1 as proto;
use proto::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{AdminClient, DOMAIN, NodeError, bounded, rejected};
use crate::error_text::error_text;

/// Error reason: a topic with this name exists.
const TOPIC_EXISTS: &str = "TOPIC_EXISTS";
/// Error reason: there is no topic with this name.
const UNKNOWN_TOPIC: &str = "UNKNOWN_TOPIC";

/// Error reason: another topic has the name now.
const TOPIC_RECREATED: &str = "TOPIC_RECREATED";

/// All topics of a cluster.
#[derive(Debug)]
pub(crate) struct TopicList {
    /// ID of the cluster.
    pub(crate) cluster_id: String,
    /// The topics by name.
    pub(crate) topics: BTreeMap<String, ObservedTopic>,
    /// The finalized feature level.
    pub(crate) finalized: FeatureLevel,
    /// Version of the metadata that each member has applied, by its name; 0 if it is not known.
    pub(crate) members: BTreeMap<String, u64>,
}

/// A connection to the leader of a cluster's metadata group.
#[derive(Clone)]
pub(crate) struct TopicClient {
    pub(super) host: String,
    pub(super) channel: Channel,
    client: AdminServiceClient<Channel>,
}

/// The answers of one node.
struct Survey {
    node: TopicClient,
    topics: Vec<proto::TopicSummary>,
    cluster: proto::DescribeClusterReply,
}

impl AdminClient {
    /// The topics of the cluster, from the leader of its metadata group. The hosts are asked one
    /// after the other until one answers; `host_of` gives the host of the node with a name.
    pub(crate) async fn topics(
        &self,
        hosts: &[String],
        host_of: impl Fn(&str) -> String,
    ) -> Result<(TopicClient, TopicList), NodeError> {
        let mut last = NodeError::NoMember;
        for host in hosts.iter().take(TOPIC_NODES_ASKED_MAX_COUNT) {
            match self.survey(host).await {
                Ok(survey) => return self.of_leader(survey, host_of).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The answers of the leader, if `survey` has those of another node.
    async fn of_leader(
        &self,
        survey: Survey,
        host_of: impl Fn(&str) -> String,
    ) -> Result<(TopicClient, TopicList), NodeError> {
        if let Some(list) = of_leader(&survey) {
            return Ok((survey.node, list));
        }
        let leader = survey.cluster.meta_leader_node;
        let mut nodes = survey.cluster.nodes.iter();
        let no_leader = |node: &TopicClient| NodeError::NoLeader {
            host: node.host.clone(),
        };
        let Some(node) = nodes.find(|node| Some(node.node_id) == leader) else {
            return Err(no_leader(&survey.node));
        };
        let survey = self.survey(&host_of(&node.name)).await?;
        match of_leader(&survey) {
            Some(list) => Ok((survey.node, list)),
            None => Err(no_leader(&survey.node)),
        }
    }

    async fn survey(&self, host: &str) -> Result<Survey, NodeError> {
        bounded(host, NODE_ANSWER_MAX_SECONDS, async {
            let channel = self.channel(host).await?;
            let client = AdminServiceClient::new(channel.clone());
            let mut client = client.max_decoding_message_size(NODE_ANSWER_MAX_BYTES);
            let topics = all_topics(&mut client).await;
            let topics = topics.map_err(|status| rejected(host, status))?;
            let counts = topics.iter().map(|topic| u64::from(topic.partitions));
            let is_large = counts.sum::<u64>() > TOPIC_BYTES_PARTITIONS_MAX_COUNT;
            let request = proto::DescribeClusterRequest {
                omit_healthy_partitions: is_large,
                ..proto::DescribeClusterRequest::default()
            };
            let cluster = client.describe_cluster(request).await;
            let cluster = cluster.map_err(|status| rejected(host, status))?;
            Ok(Survey {
                node: TopicClient {
                    host: host.to_owned(),
                    channel,
                    client,
                },
                topics,
                cluster: cluster.into_inner(),
            })
        })
        .await
    }
}

impl TopicClient {
    /// Sends a request of a plan.
    pub(crate) async fn carry_out(&self, request: &Request) -> Outcome {
        let send = async {
            let mut client = self.client.clone();
            let sent = match request {
                Request::Create(new) => create(&mut client, new).await,
                Request::Alter(change) => alter(&mut client, change).await,
                Request::Delete { topic, id } => delete(&mut client, topic, *id).await,
            };
            sent.map_err(|status| rejected(&self.host, status))
        };
        match bounded(&self.host, NODE_ANSWER_MAX_SECONDS, send).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(failure(request, &error)),
        }
    }
}

async fn create(
    client: &mut AdminServiceClient<Channel>,
    new: &NewTopic,
) -> Result<Outcome, Status> {
    let reply = client.create_topic(creation(new)).await?.into_inner();
    Ok(outcome(reply.topic))
}

async fn alter(
    client: &mut AdminServiceClient<Channel>,
    change: &TopicChange,
) -> Result<Outcome, Status> {
    if id_of(client, &change.topic).await? != Some(change.id) {
        return Ok(Outcome::Failed(Failure::Replaced));
    }
    let reply = client.alter_topic(alteration(change)).await?.into_inner();
    Ok(altered(change, outcome(reply.topic)))
}

/// The outcome of a change. Nodes before 0.3.0 do not know the replication factor and ignore it:
/// without this check the same change would be sent for ever.
fn altered(change: &TopicChange, outcome: Outcome) -> Outcome {
    match (change.replication_factor, &outcome) {
        (Some(wanted), Outcome::Topic(topic)) if topic.replication_factor != wanted => {
            Outcome::Failed(Failure::Refused(format!(
                "the nodes cannot change the replication factor from {} to {wanted}: upgrade them, \
                 and finalize feature level 2",
                topic.replication_factor
            )))
        }
        _ => outcome,
    }
}

async fn delete(
    client: &mut AdminServiceClient<Channel>,
    topic: &str,
    id: u64,
) -> Result<Outcome, Status> {
    match id_of(client, topic).await? {
        None => return Ok(Outcome::Deleted),
        Some(found) if found != id => return Ok(Outcome::Failed(Failure::Replaced)),
        Some(_) => {}
    }
    let name = topic.to_owned();
    match client
        .delete_topic(proto::DeleteTopicRequest {
            name,
            topic_id: Some(id),
        })
        .await
    {
        Err(status) if reason(&status).as_deref() != Some(UNKNOWN_TOPIC) => Err(status),
        _ => Ok(Outcome::Deleted),
    }
}

/// All topics, page by page. A node of 0.2.0 gives them all in the first one.
async fn all_topics(
    client: &mut AdminServiceClient<Channel>,
) -> Result<Vec<proto::TopicSummary>, Status> {
    let mut topics = Vec::new();
    let mut request = proto::ListTopicsRequest {
        max_count: TOPICS_PAGE_MAX_COUNT,
        after: String::new(),
    };
    loop {
        let reply = client.list_topics(request.clone()).await?.into_inner();
        topics.extend(reply.topics);
        // The last page, or one that does not go on after the former: such a list would not end.
        if reply.next <= request.after {
            return Ok(topics);
        }
        request.after = reply.next;
    }
}

/// The ID of the topic with this name now. Nodes check the ID of a request themselves, from feature
/// level 2 on; before, this keeps the time short in which another topic could get the name.
async fn id_of(
    client: &mut AdminServiceClient<Channel>,
    topic: &str,
) -> Result<Option<u64>, Status> {
    let name = topic.to_owned();
    match client
        .describe_topic(proto::DescribeTopicRequest { name })
        .await
    {
        Ok(reply) => Ok(reply.into_inner().topic.map(|topic| topic.topic_id)),
        Err(status) if reason(&status).as_deref() == Some(UNKNOWN_TOPIC) => Ok(None),
        Err(status) => Err(status),
    }
}

fn outcome(topic: Option<proto::TopicDescription>) -> Outcome {
    match topic {
        Some(topic) => Outcome::Topic(described(&topic)),
        None => Outcome::Failed(Failure::Unknown("the reply has no topic".to_owned())),
    }
}

/// The request that creates a topic.
fn creation(new: &NewTopic) -> proto::CreateTopicRequest {
    // A retention as a whole can say that a bound does not apply, whatever the default is.
    let bounds = [SettingKey::RetentionBytes, SettingKey::RetentionMs];
    let bound = |key: SettingKey| new.settings.get(&key).copied().flatten();
    let has_retention = bounds.iter().any(|key| new.settings.contains_key(key));
    let retention = has_retention.then(|| proto::Retention {
        bytes: bound(SettingKey::RetentionBytes),
        ms: bound(SettingKey::RetentionMs),
    });
    let others = new.settings.iter().filter(|(key, _)| !bounds.contains(key));
    let settings = others.filter_map(|(key, value)| Some(setting(*key, (*value)?)));
    proto::CreateTopicRequest {
        name: new.topic.clone(),
        partitions: new.partitions.unwrap_or(0),
        replication_factor: new.replication_factor.unwrap_or(0),
        retention,
        timeout_ms: TOPIC_LEADERS_WAIT_MS,
        settings: settings.collect(),
    }
}

/// The request that changes a topic.
fn alteration(change: &TopicChange) -> proto::AlterTopicRequest {
    let set = change.settings.iter();
    let set = set.filter_map(|(key, value)| Some(setting(*key, (*value)?)));
    let removed = change.settings.iter().filter(|(_, value)| value.is_none());
    proto::AlterTopicRequest {
        name: change.topic.clone(),
        partitions: change.partitions,
        retention: None,
        timeout_ms: TOPIC_LEADERS_WAIT_MS,
        settings: set.collect(),
        reset_settings: removed.map(|(key, _)| key.name().to_owned()).collect(),
        topic_id: Some(change.id),
        replication_factor: change.replication_factor,
    }
}

fn setting(key: SettingKey, value: u64) -> proto::TopicSetting {
    proto::TopicSetting {
        key: key.name().to_owned(),
        value: Some(proto::topic_setting::Value::Number(value)),
    }
}

/// The list, if the node that gave it leads the metadata group.
fn of_leader(survey: &Survey) -> Option<TopicList> {
    let cluster = &survey.cluster;
    (cluster.meta_leader_node == Some(cluster.answered_by)).then(|| list(&survey.topics, cluster))
}

/// The topics with the state of their partitions. If the description has not all partitions, those
/// that it lacks are healthy, and bytes are not known.
fn list(topics: &[proto::TopicSummary], cluster: &proto::DescribeClusterReply) -> TopicList {
    let mut topics: BTreeMap<String, ObservedTopic> = topics
        .iter()
        .map(|topic| {
            let observed = ObservedTopic {
                id: topic.topic_id,
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                settings: settings(&topic.settings),
                ..ObservedTopic::default()
            };
            (topic.name.clone(), observed)
        })
        .collect();
    let is_whole =
        cluster.partitions.len() == usize::try_from(cluster.partition_count).unwrap_or(0);
    for partition in &cluster.partitions {
        if let Some(topic) = topics.get_mut(&partition.topic) {
            add(topic, partition);
        }
    }
    if !is_whole {
        for topic in topics.values_mut() {
            topic.bytes = None;
        }
    }
    TopicList {
        cluster_id: cluster.cluster_id.clone(),
        topics,
        finalized: FeatureLevel(cluster.finalized_level),
        members: members(&cluster.nodes),
    }
}

/// Version of the metadata that each member has applied, by its name. Where a pod has lost its
/// disk, two members have its name: the one that joined last runs there.
fn members(nodes: &[proto::NodeDescription]) -> BTreeMap<String, u64> {
    let is_member = |node: &&proto::NodeDescription| node.state() != proto::NodeState::Removed;
    let mut members: Vec<_> = nodes.iter().filter(is_member).collect();
    members.sort_unstable_by_key(|node| node.node_id);
    let members = members.into_iter();
    members
        .map(|node| (node.name.clone(), node.metadata_version))
        .collect()
}

fn described(topic: &proto::TopicDescription) -> ObservedTopic {
    let mut observed = ObservedTopic {
        id: topic.topic_id,
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
        replication_factor: topic.replication_factor,
        settings: settings(&topic.settings),
        ..ObservedTopic::default()
    };
    for partition in &topic.partitions {
        add(&mut observed, partition);
    }
    observed
}

/// Adds the state of a partition to its topic.
fn add(topic: &mut ObservedTopic, partition: &proto::PartitionDescription) {
    if partition.leader_node.is_none() {
        topic.leaderless += 1;
    } else if partition.health() == proto::PartitionHealth::UnderReplicated {
        topic.under_replicated += 1;
    }
    let sum = topic.bytes.unwrap_or(0).saturating_add(partition.bytes);
    topic.bytes = Some(sum);
}

fn settings(settings: &[proto::TopicSetting]) -> BTreeMap<SettingKey, u64> {
    let known = settings.iter().filter_map(|setting| {
        let key = SettingKey::from_name(&setting.key)?;
        match setting.value {
            Some(proto::topic_setting::Value::Number(number)) => Some((key, number)),
            Some(proto::topic_setting::Value::Text(_)) | None => None,
        }
    });
    known.collect()
}

/// The reason in the details of an error.
fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

fn failure(request: &Request, error: &NodeError) -> Failure {
    let (verb, topic) = (request.verb(), request.topic());
    let NodeError::Rejected { status, .. } = error else {
        let error = error_text(error);
        return Failure::Unknown(format!("cannot {verb} topic {topic}: {error}"));
    };
    match reason(status).as_deref() {
        Some(TOPIC_EXISTS) => return Failure::Exists,
        Some(TOPIC_RECREATED) => return Failure::Replaced,
        _ => {}
    }
    let text = format!("cannot {verb} topic {topic}: {}", refusal_text(status));
    if is_refusal(status.code()) {
        Failure::Refused(text)
    } else {
        Failure::Unknown(text)
    }
}

/// Whether a call with this code has changed nothing and would be refused again.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
    )
}

/// The sentence of an error with its reason, and the field and bound that it names.
pub(super) fn refusal_text(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let Some(info) = status
        .get_details_error_info()
        .filter(|it| it.domain == DOMAIN)
    else {
        return text;
    };
    text = format!("{text} ({}", info.reason);
    let fact = |name: &str| info.metadata.get(name).filter(|fact| !fact.is_empty());
    if let Some(bound) = fact("bound") {
        let field = fact("field").map_or("bound", String::as_str);
        text = format!("{text}, {field}: {bound}");
    }
    text + ")"
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn refused(code: Code, reason: &str, facts: &[(&str, &str)]) -> NodeError {
        let facts = facts.iter();
        let facts: HashMap<String, String> = facts
            .map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned()))
            .collect();
        let details = ErrorDetails::with_error_info(reason, DOMAIN, facts);
        let status = Status::with_error_details(code, "no", details);
        rejected("events-0", status)
    }

    fn request() -> Request {
        Request::Delete {
            topic: "clicks".to_owned(),
            id: 7,
        }
    }

    #[test]
    fn a_refusal_has_its_reason_and_bound() {
        let facts = [("field", "replication_factor"), ("bound", "1..=3")];
        let error = refused(Code::InvalidArgument, "INVALID_REPLICATION_FACTOR", &facts);
        let wanted = "cannot delete topic clicks: no (INVALID_REPLICATION_FACTOR, \
                      replication_factor: 1..=3)";
        assert_eq!(
            failure(&request(), &error),
            Failure::Refused(wanted.to_owned())
        );
        let error = refused(Code::AlreadyExists, TOPIC_EXISTS, &[]);
        assert_eq!(failure(&request(), &error), Failure::Exists);
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Internal] {
            let found = failure(&request(), &refused(code, "TIMEOUT", &[]));
            assert!(matches!(found, Failure::Unknown(_)), "{found:?}");
        }
    }

    #[test]
    fn nodes_that_ignore_a_replication_factor_have_refused_it() {
        let change = |replication_factor| TopicChange {
            topic: "clicks".to_owned(),
            id: 1,
            partitions: None,
            replication_factor,
            settings: BTreeMap::new(),
        };
        let found = Outcome::Topic(ObservedTopic {
            replication_factor: 1,
            ..ObservedTopic::default()
        });
        for kept in [None, Some(1)] {
            assert_eq!(altered(&change(kept), found.clone()), found);
        }
        let refused = altered(&change(Some(3)), found);
        let Outcome::Failed(Failure::Refused(text)) = refused else {
            panic!("{refused:?}");
        };
        assert!(text.contains("from 1 to 3: upgrade them"), "{text}");
        assert_eq!(alteration(&change(Some(3))).replication_factor, Some(3));
    }

    #[test]
    fn a_creation_names_the_whole_retention_or_none() {
        let new = |settings: &[(SettingKey, Option<u64>)]| {
            creation(&NewTopic {
                topic: "clicks".to_owned(),
                partitions: Some(6),
                replication_factor: None,
                settings: settings.iter().copied().collect(),
            })
        };
        let empty = new(&[
            (SettingKey::RetentionBytes, None),
            (SettingKey::RetentionMs, None),
            (SettingKey::BatchMaxBytes, Some(4096)),
        ]);
        assert_eq!(empty.retention, Some(proto::Retention::default()));
        assert_eq!(empty.settings, [setting(SettingKey::BatchMaxBytes, 4096)]);
        assert_eq!((empty.partitions, empty.replication_factor), (6, 0));
        assert_eq!(new(&[]).retention, None);
    }

    #[test]
    fn partitions_that_are_left_out_are_healthy_and_their_bytes_unknown() {
        let topics = [proto::TopicSummary {
            name: "clicks".to_owned(),
            topic_id: 7,
            partitions: 3,
            replication_factor: 3,
            ..proto::TopicSummary::default()
        }];
        let partition = |leader_node, health: proto::PartitionHealth| proto::PartitionDescription {
            topic: "clicks".to_owned(),
            leader_node,
            health: health.into(),
            bytes: 1000,
            ..proto::PartitionDescription::default()
        };
        let unavailable = partition(None, proto::PartitionHealth::Unavailable);
        let lacking = partition(Some(1), proto::PartitionHealth::UnderReplicated);
        let healthy = partition(Some(1), proto::PartitionHealth::Healthy);
        let mut cluster = proto::DescribeClusterReply {
            partition_count: 3,
            partitions: vec![unavailable, lacking],
            ..proto::DescribeClusterReply::default()
        };
        let found = |cluster: &proto::DescribeClusterReply| {
            let found = &list(&topics, cluster).topics["clicks"];
            (found.leaderless, found.under_replicated, found.bytes)
        };
        assert_eq!(found(&cluster), (1, 1, None));
        cluster.partitions.push(healthy);
        assert_eq!(found(&cluster), (1, 1, Some(3000)));
    }
}
