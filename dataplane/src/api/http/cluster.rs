//! The state of the cluster and its members.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use lograft_core::{NodeId, NodeState};
use lograft_proto::Method;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::json;
use super::error::HttpError;
use super::number::Int;
use super::parts::HttpApi;
use super::topics::{PartitionStatus, partition};
use crate::api::caller::check_member;
use crate::control::cluster_report::description::{
    ClusterDescription, MetaRole, NodeDescription, PartitionHealth, Problem as RaisedCheck,
};

/// The state of the cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterStatus {
    /// Id of the cluster, a UUID.
    cluster_id: Option<String>,
    /// Whether no problem degrades the cluster.
    healthy: bool,
    finalized_level: u32,
    /// Leader of the metadata group.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    meta_leader_node: Option<Int<u64>>,
    /// The node that answers.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    answered_by: Option<Int<u64>>,
    node_count: usize,
    topic_count: usize,
    partition_count: usize,
    /// What is wrong, the most severe first.
    problems: Vec<ClusterProblem>,
    /// Partitions that are not healthy, of topics that the caller may describe.
    unhealthy_partitions: Vec<PartitionStatus>,
}

/// Something that is wrong in the cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterProblem {
    /// Name of the check that found it.
    kind: String,
    /// A sentence for people.
    text: String,
    severity: &'static str,
    /// What to do.
    next_step: String,
    /// The facts.
    evidence: BTreeMap<String, String>,
    /// The node that it is about, if it is about one.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    node_id: Option<Int<u64>>,
}

/// The nodes of the cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Members {
    members: Vec<Member>,
}

/// A node of the cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Member {
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    node_id: Int<u64>,
    name: String,
    /// Its address for gRPC clients.
    client_address: String,
    zone: String,
    state: MemberState,
    /// Whether it answered.
    reachable: bool,
    /// Version of its program; empty if it did not answer.
    version: String,
    replicas: u32,
    leaders: u32,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    lag_entries: Int<u64>,
    meta_role: Role,
}

/// State of a node.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum MemberState {
    Active,
    /// Silent for so long that its replicas are replaced by replicas on other nodes.
    Lost,
    Draining,
    Removed,
}

/// Part of a node in the metadata group.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = MetaRole)]
pub(super) enum Role {
    Unknown,
    Leader,
    Voter,
    Learner,
    None,
}

/// Describe the cluster
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster", operation_id = "describe_cluster",
    responses((status = 200, description = "The state of the cluster", body = ClusterStatus))
)]
pub(super) async fn describe_cluster(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (head, _) = request.into_parts();
    let caller = api.authorize_cluster(&head, Method::AdminDescribeCluster)?;
    check_member(api.control())?;
    let visible = api.visibility(&caller);
    let includes = |topic: &str| visible.includes_topic(topic);
    let described = api.control().cluster.describe_cluster(&includes).await;
    let status = status(described, includes);
    Ok(json(StatusCode::OK, &status))
}

/// List the nodes of the cluster
#[utoipa::path(
    get, path = "/v1/cluster/members", tag = "cluster", operation_id = "list_members",
    responses((status = 200, description = "The nodes", body = Members))
)]
pub(super) async fn list_members(
    State(api): State<HttpApi>,
    request: Request,
) -> Result<Response, HttpError> {
    let (head, _) = request.into_parts();
    api.authorize_cluster(&head, Method::AdminDescribeCluster)?;
    check_member(api.control())?;
    // Problems are not part of the answer, so no topic is named.
    let described = api.control().cluster.describe_cluster(&|_| false).await;
    let members = described.nodes.into_iter().map(member).collect();
    Ok(json(StatusCode::OK, &Members { members }))
}

fn status(described: ClusterDescription, is_visible: impl Fn(&str) -> bool) -> ClusterStatus {
    let ClusterDescription {
        cluster,
        finalized_level,
        metadata_recovery: _,
        healthy,
        meta_leader,
        answered_by,
        nodes,
        topic_count,
        partitions,
        problems,
    } = described;
    let partition_count = partitions.len();
    let unhealthy = partitions
        .into_iter()
        .filter(|found| found.health != PartitionHealth::Healthy && is_visible(&found.topic));
    ClusterStatus {
        cluster_id: cluster.map(|id| id.to_string()),
        healthy,
        finalized_level: finalized_level.get(),
        meta_leader_node: meta_leader.map(node_id),
        answered_by: answered_by.map(node_id),
        node_count: nodes.len(),
        topic_count,
        partition_count,
        problems: problems.into_iter().map(problem).collect(),
        unhealthy_partitions: unhealthy.map(partition).collect(),
    }
}

const fn node_id(node: NodeId) -> Int<u64> {
    Int(node.get())
}

fn problem(described: RaisedCheck) -> ClusterProblem {
    let RaisedCheck {
        kind,
        text,
        severity,
        next_step,
        evidence,
        node,
    } = described;
    ClusterProblem {
        kind,
        text,
        severity: severity.as_str(),
        next_step,
        evidence: evidence.into_iter().collect(),
        node_id: node.map(node_id),
    }
}

fn member(described: NodeDescription) -> Member {
    let NodeDescription {
        id,
        registration,
        state,
        report,
        meta_role,
        replica_count,
        leader_count,
        lag_entries,
        lost,
    } = described;
    let reachable = report.is_some();
    let report = report.unwrap_or_default();
    Member {
        node_id: node_id(id),
        name: registration.name,
        client_address: registration.client_address,
        zone: registration.zone,
        state: match state {
            NodeState::Active if lost.is_some() => MemberState::Lost,
            NodeState::Active => MemberState::Active,
            NodeState::Draining => MemberState::Draining,
            NodeState::Removed => MemberState::Removed,
        },
        reachable,
        version: report.version,
        replicas: replica_count,
        leaders: leader_count,
        lag_entries: Int(lag_entries),
        meta_role: match meta_role {
            MetaRole::Unknown => Role::Unknown,
            MetaRole::Leader => Role::Leader,
            MetaRole::Voter => Role::Voter,
            MetaRole::Learner => Role::Learner,
            MetaRole::None => Role::None,
        },
    }
}
