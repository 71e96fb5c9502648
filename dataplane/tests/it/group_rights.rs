//! The rights of consumer groups: over real connections, at the coordinator's node and at one that
//! forwards.

use lograft_node::config::{AuthorizationMode, AuthorizationSettings, HttpSettings};
use lograft_proto::admin::v1 as admin;
use lograft_proto::admin::v1::access_service_client::AccessServiceClient;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::group_service_client::GroupServiceClient;
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{CLUSTER_ID, Cluster, eventually};
use crate::http_client::HttpClient;

const GROUP: &str = "billing";

fn allow(principal: &str, operations: &[&str], resource: &str) -> admin::AccessRuleChange {
    admin::AccessRuleChange {
        rule: Some(admin::AccessRule {
            principal: principal.to_owned(),
            effect: admin::RuleEffect::Allow.into(),
            operations: operations.iter().map(|&name| name.to_owned()).collect(),
            resource: resource.to_owned(),
        }),
        remove: false,
    }
}

fn rules() -> Vec<admin::AccessRuleChange> {
    vec![
        allow("user/app", &["read"], "group:billing"),
        allow("user/app", &["read"], "topic:open*"),
        allow("user/viewer", &["describe"], "group:billing"),
        allow("user/viewer", &["describe"], "topic:open-1"),
        allow("user/setter", &["read", "alter"], "group:billing"),
        allow("user/setter", &["read"], "topic:open-1"),
        allow("user/reader", &["read"], "topic:*"),
    ]
}

/// Two nodes with the rules, and the topics `open-1` and `secret`.
async fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.http = Some(HttpSettings::default());
    cluster.authorization = AuthorizationSettings {
        mode: AuthorizationMode::Enforced,
        super_users: vec!["user/admin".to_owned()],
        ..AuthorizationSettings::default()
    };
    cluster.add().await;
    let channel = |user: &str, at| cluster.channel_of(user, cluster.addresses(at).client);
    let mut operator = AdminServiceClient::new(channel("operator", 0));
    let cluster_id = CLUSTER_ID.to_owned();
    let bootstrap = admin::BootstrapRequest { cluster_id };
    operator.bootstrap(bootstrap).await.unwrap();
    cluster.ready(0).await;
    for name in ["open-1", "secret"] {
        let request = admin::CreateTopicRequest {
            name: name.to_owned(),
            partitions: 2,
            replication_factor: 1,
            ..admin::CreateTopicRequest::default()
        };
        operator.create_topic(request).await.unwrap();
    }
    let mut access = AccessServiceClient::new(channel("user/admin", 0));
    let request = admin::ChangeRulesRequest { changes: rules() };
    access.change_rules(request).await.unwrap();
    cluster.add().await;
    cluster.ready(1).await;
    cluster
}

fn groups(cluster: &Cluster, user: &str, at: usize) -> GroupServiceClient<Channel> {
    GroupServiceClient::new(cluster.channel_of(user, cluster.addresses(at).client))
}

fn join(member: &str, topics: &[&str], pattern: Option<&str>) -> log::JoinGroupRequest {
    log::JoinGroupRequest {
        group: GROUP.to_owned(),
        member_id: member.to_owned(),
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        topic_pattern: pattern.map(str::to_owned),
        ..log::JoinGroupRequest::default()
    }
}

fn set(topic: &str) -> log::CommitOffsetsRequest {
    let offset = log::PartitionOffset {
        topic: topic.to_owned(),
        offset: 1,
        ..log::PartitionOffset::default()
    };
    log::CommitOffsetsRequest {
        group: GROUP.to_owned(),
        offsets: vec![offset],
        ..log::CommitOffsetsRequest::default()
    }
}

fn assert_denied<T>(result: Result<T, Status>, what: &str) {
    let code = result.err().map(|status| status.code());
    assert_eq!(code, Some(Code::PermissionDenied), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_and_its_topics_have_their_rights() {
    let cluster = cluster().await;
    for at in 0..2 {
        let mut app = groups(&cluster, "user/app", at);
        assert_denied(app.join_group(join("a", &["secret"], None)).await, "join");
        let mut reader = groups(&cluster, "user/reader", at);
        let refused = reader.join_group(join("r", &["open-1"], None)).await;
        assert_denied(refused, "without the group's right");
        assert_denied(app.commit_offsets(set("open-1")).await, "from outside");
        let mut setter = groups(&cluster, "user/setter", at);
        setter.commit_offsets(set("open-1")).await.unwrap();
        assert_denied(setter.commit_offsets(set("secret")).await, "set");
        let forget = |topic: &str| log::DeleteOffsetsRequest {
            group: GROUP.to_owned(),
            topic: topic.to_owned(),
            ..log::DeleteOffsetsRequest::default()
        };
        assert_denied(setter.delete_offsets(forget("secret")).await, "forget");
        setter.delete_offsets(forget("open-1")).await.unwrap();
        let delete = log::DeleteGroupRequest {
            group: GROUP.to_owned(),
            ..log::DeleteGroupRequest::default()
        };
        assert_denied(setter.delete_group(delete).await, "delete");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_a_caller_may_not_see_are_left_out() {
    let cluster = cluster().await;
    let mut app = groups(&cluster, "user/app", 1);
    // The pattern matches both, the rights one.
    let joined = app.join_group(join("a", &[], Some(".*"))).await.unwrap();
    let topics: Vec<_> = joined.into_inner().partitions.into_iter().collect();
    assert!(topics.len() == 2 && topics.iter().all(|p| p.topic == "open-1"));
    let leave = log::LeaveGroupRequest {
        group: GROUP.to_owned(),
        member_id: "a".to_owned(),
        ..log::LeaveGroupRequest::default()
    };
    app.leave_group(leave).await.unwrap();
    let mut admin = groups(&cluster, "user/admin", 0);
    for topic in ["open-1", "secret"] {
        admin.commit_offsets(set(topic)).await.unwrap();
    }
    for at in 0..2 {
        let mut viewer = groups(&cluster, "user/viewer", at);
        let fetch = log::FetchOffsetsRequest {
            group: GROUP.to_owned(),
            ..log::FetchOffsetsRequest::default()
        };
        let describe = log::DescribeGroupRequest {
            group: GROUP.to_owned(),
            ..log::DescribeGroupRequest::default()
        };
        let seen = eventually("the answer", async || {
            let fetched = viewer.fetch_offsets(fetch.clone()).await.ok()?;
            let described = viewer.describe_group(describe.clone()).await.ok()?;
            let names = |offsets: Vec<log::PartitionOffset>| -> Vec<String> {
                offsets.into_iter().map(|offset| offset.topic).collect()
            };
            Some((
                names(fetched.into_inner().offsets),
                names(described.into_inner().offsets),
            ))
        })
        .await;
        let only = vec!["open-1".to_owned()];
        assert_eq!(seen, (only.clone(), only));
        let listed = viewer.list_groups(log::ListGroupsRequest::default()).await;
        assert_eq!(listed.unwrap().into_inner().groups.len(), 1);
        let mut reader = groups(&cluster, "user/reader", at);
        let listed = reader.list_groups(log::ListGroupsRequest::default()).await;
        assert_eq!(listed.unwrap().into_inner().groups, []);
        assert_denied(reader.describe_group(describe).await, "describe");

        let viewer = HttpClient::new(&cluster, (at, "user/viewer"));
        for path in ["/v1/groups/billing", "/v1/groups/billing/offsets"] {
            let answer = viewer.get(path).await;
            let offsets = &answer.json()["offsets"];
            assert_eq!(
                offsets.as_array().map(Vec::len),
                Some(1),
                "{path}: {offsets}"
            );
            assert_eq!(offsets[0]["topic"], "open-1", "{path}");
        }
        let setter = HttpClient::new(&cluster, (at, "user/setter"));
        let path = "/v1/groups/billing/offsets?topic=secret";
        let forgotten = setter.call(http::Method::DELETE, path, &Value::Null).await;
        forgotten.problem(403, "PERMISSION_DENIED");
    }
}
