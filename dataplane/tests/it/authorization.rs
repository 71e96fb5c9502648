//! Who may do what, over real connections: every call of the client port as several principals,
//! sent to the node that serves it and to another one that forwards it.

use std::time::Duration;

use lograft_node::config::{AuthorizationMode, AuthorizationSettings};
use lograft_proto::admin::v1 as admin;
use lograft_proto::admin::v1::access_service_client::AccessServiceClient;
use lograft_proto::admin::v1::admin_service_client::AdminServiceClient;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{Cluster, PATIENCE, earliest, follow_request, record_for};
use crate::pki::{Ca, uri};
use crate::user_channel::{client_tls, try_connect};

const TOPICS: [&str; 3] = ["own", "team.a", "other"];

/// The principals, and the operations that they may use on each topic.
const USERS: [&str; 6] = [
    "user/admin",
    "user/nobody",
    "user/writer",
    "user/reader",
    "user/team/member",
    "operator",
];

fn rule(
    effect: admin::RuleEffect,
    principal: &str,
    operations: &str,
    resource: &str,
) -> admin::AccessRuleChange {
    admin::AccessRuleChange {
        rule: Some(admin::AccessRule {
            principal: principal.to_owned(),
            effect: effect.into(),
            operations: operations.split(',').map(str::to_owned).collect(),
            resource: resource.to_owned(),
        }),
        remove: false,
    }
}

fn rules() -> Vec<admin::AccessRuleChange> {
    use admin::RuleEffect::{Allow, Deny};
    vec![
        rule(Allow, "user/writer", "write", "topic:*"),
        rule(Deny, "user/writer", "write", "topic:other"),
        rule(Allow, "user/reader", "read", "topic:own"),
        rule(
            Allow,
            "user/team/*",
            "read,write,create,delete,alter",
            "topic:team.*",
        ),
        rule(Allow, "user/team/member", "describe", "cluster"),
    ]
}

/// The meaning of the rules above, written down once more.
fn may(user: &str, operation: &str, topic: &str) -> bool {
    match (user, operation) {
        ("operator", operation) => !matches!(operation, "read" | "write"),
        ("user/writer", "write") => topic != "other",
        ("user/admin", _) | ("user/writer", "describe") => true,
        ("user/reader", "read" | "describe") => topic == "own",
        ("user/team/member", _) => topic.starts_with("team."),
        _ => false,
    }
}

/// A client of one principal at one node.
#[derive(Clone)]
struct Caller {
    user: &'static str,
    channel: Channel,
}

impl Caller {
    fn log(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
    }

    fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    fn access(&self) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel.clone())
    }
}

fn caller(cluster: &Cluster, user: &'static str, at: usize) -> Caller {
    Caller {
        user,
        channel: cluster.channel_of(user, cluster.addresses(at).client),
    }
}

/// Two nodes with authorization on, and the topics of the test, led by node 0.
async fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.authorization = AuthorizationSettings {
        mode: AuthorizationMode::Enforced,
        super_users: vec!["user/admin".to_owned()],
        ..AuthorizationSettings::default()
    };
    cluster.add().await;
    let request = admin::BootstrapRequest {
        cluster_id: crate::cluster::CLUSTER_ID.to_owned(),
    };
    let first = caller(&cluster, "operator", 0);
    first.admin().bootstrap(request).await.unwrap();
    cluster.ready(0).await;
    for topic in TOPICS {
        let request = admin::CreateTopicRequest {
            name: topic.to_owned(),
            partitions: 1,
            replication_factor: 1,
            ..admin::CreateTopicRequest::default()
        };
        first.admin().create_topic(request).await.unwrap();
    }
    cluster.add().await;
    cluster.ready(1).await;
    let admin = caller(&cluster, "user/admin", 1);
    let request = admin::ChangeRulesRequest { changes: rules() };
    let reply = admin.access().change_rules(request).await.unwrap();
    assert_eq!(reply.into_inner().rule_count, 5);
    cluster
}

fn is_denied<T>(result: &Result<T, Status>) -> bool {
    let Err(status) = result else { return false };
    let is_denied = status.code() == Code::PermissionDenied;
    // Everything else that fails must fail for a reason of its own.
    let is_transport = matches!(status.code(), Code::Unavailable | Code::Unknown);
    assert!(is_denied || !is_transport, "{status:?}");
    is_denied
}

fn produce_request(topic: &str) -> log::ProduceRequest {
    record_for(topic, "x")
}

/// A call with the operation that it needs, and whether it was denied.
type Answered = (&'static str, &'static str, bool);

/// The calls of the log service for a topic.
async fn log_calls(caller: &Caller, topic: &str) -> Vec<Answered> {
    let name = || topic.to_owned();
    let mut log = caller.log();
    let produced = log.produce(produce_request(topic)).await;
    let streamed: Result<bool, Status> = async {
        let requests = tokio_stream::once(produce_request(topic));
        let mut replies = log.clone().produce_stream(requests).await?.into_inner();
        let reply = replies.message().await?.unwrap();
        Ok(is_denied_inside(reply.error.as_ref()))
    }
    .await;
    let fetched = log
        .fetch(log::FetchRequest {
            topic: name(),
            position: Some(earliest()),
            ..log::FetchRequest::default()
        })
        .await;
    let consumed: Result<(), Status> = async {
        let request = log::ConsumeRequest {
            follow: false,
            ..follow_request(topic)
        };
        let mut replies = log.clone().consume(request).await?.into_inner();
        while replies.message().await?.is_some() {}
        Ok(())
    }
    .await;
    let listed = log
        .list_offsets(log::ListOffsetsRequest {
            topic: name(),
            ..log::ListOffsetsRequest::default()
        })
        .await;
    // Nothing is before it: an allowed call deletes nothing.
    let deleted = log
        .delete_records(log::DeleteRecordsRequest {
            topic: name(),
            before: Some(log::delete_records_request::Before::Offset(0)),
            ..log::DeleteRecordsRequest::default()
        })
        .await;
    let request = log::GetMetadataRequest {
        topics: vec![name()],
        allow_stale: false,
    };
    let metadata = log.get_metadata(request).await.unwrap().into_inner();
    vec![
        ("Produce", "write", is_denied(&produced)),
        ("ProduceStream", "write", streamed.unwrap()),
        ("Fetch", "read", is_denied(&fetched)),
        ("Consume", "read", is_denied(&consumed)),
        ("ListOffsets", "describe", is_denied(&listed)),
        ("DeleteRecords", "delete", is_denied(&deleted)),
        (
            "GetMetadata",
            "describe",
            is_denied_inside(metadata.topics[0].error.as_ref()),
        ),
    ]
}

/// Those of the admin service.
async fn admin_calls(caller: &Caller, topic: &str) -> Vec<Answered> {
    let name = || topic.to_owned();
    let mut admin = caller.admin();
    let described = admin
        .describe_topic(admin::DescribeTopicRequest { name: name() })
        .await;
    let altered = admin
        .alter_topic(admin::AlterTopicRequest {
            name: name(),
            ..admin::AlterTopicRequest::default()
        })
        .await;
    // It exists: an allowed call fails for that.
    let created = admin
        .create_topic(admin::CreateTopicRequest {
            name: name(),
            ..admin::CreateTopicRequest::default()
        })
        .await;
    vec![
        ("DescribeTopic", "describe", is_denied(&described)),
        ("AlterTopic", "alter", is_denied(&altered)),
        ("CreateTopic", "create", is_denied(&created)),
    ]
}

fn is_denied_inside(error: Option<&log::Error>) -> bool {
    error.is_some_and(|error| {
        assert_eq!(error.reason, "PERMISSION_DENIED", "{error:?}");
        true
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_for_a_topic_is_decided_by_the_rules_also_when_it_is_forwarded() {
    let cluster = cluster().await;
    let mut checked = 0;
    for at in [0, 1] {
        for user in USERS {
            let caller = caller(&cluster, user, at);
            for topic in TOPICS {
                let mut answered = log_calls(&caller, topic).await;
                answered.extend(admin_calls(&caller, topic).await);
                for (call, operation, denied) in answered {
                    let expected = !may(user, operation, topic);
                    assert_eq!(denied, expected, "{user}: {call} of {topic} at node {at}");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 2 * 6 * 3 * 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_for_the_cluster_need_a_right_on_it() {
    let cluster = cluster().await;
    for user in USERS {
        let caller = caller(&cluster, user, 1);
        let (mut log, mut admin, mut access) = (caller.log(), caller.admin(), caller.access());
        let is_admin = matches!(user, "user/admin" | "operator");
        let described = admin.describe_cluster(admin::DescribeClusterRequest::default());
        let may_describe = is_admin || user == "user/team/member";
        let described = described.await;
        assert_eq!(is_denied(&described), !may_describe, "{user}");
        if let Ok(reply) = described {
            let seen = reply.into_inner().partitions;
            let shown = seen.iter().all(|p| may(user, "describe", &p.topic));
            assert!(shown && !seen.is_empty(), "{user}: {seen:?}");
        }
        let transferred = admin.transfer_leadership(admin::TransferLeadershipRequest {
            topic: "unknown".to_owned(),
            to_node: 1,
            ..admin::TransferLeadershipRequest::default()
        });
        assert_eq!(is_denied(&transferred.await), !is_admin, "{user}");
        let recommissioned =
            admin.recommission_node(admin::RecommissionNodeRequest { node_id: 99 });
        assert_eq!(is_denied(&recommissioned.await), !is_admin, "{user}");
        let finalized = admin.finalize_level(admin::FinalizeLevelRequest { level: Some(1) });
        assert_eq!(is_denied(&finalized.await), !is_admin, "{user}");
        let joined = admin.join(admin::JoinRequest::default()).await;
        assert!(is_denied(&joined), "{user} is no node");
        let changed = access.change_rules(admin::ChangeRulesRequest { changes: rules() });
        assert_eq!(is_denied(&changed.await), !is_admin, "{user}");
        let revoked = access.list_revocations(admin::ListRevocationsRequest {});
        assert_eq!(is_denied(&revoked.await), !is_admin, "{user}");
        let id = log.init_producer(log::InitProducerRequest {}).await;
        let writes = TOPICS.iter().any(|topic| may(user, "write", topic));
        assert_eq!(is_denied(&id), !writes, "{user}");
        let topics = admin
            .list_topics(admin::ListTopicsRequest::default())
            .await
            .unwrap();
        let topics = topics.into_inner().topics;
        let expected = TOPICS.iter().filter(|topic| may(user, "describe", topic));
        assert_eq!(topics.len(), expected.count(), "{user}: {topics:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_a_node_acts_for_others_and_a_node_has_no_records() {
    let cluster = cluster().await;
    let forwarded = |principal: &str| log::ProduceRequest {
        forwarded: true,
        principal: principal.to_owned(),
        ..produce_request("own")
    };
    for user in ["user/admin", "operator", "user/writer"] {
        let caller = caller(&cluster, user, 0);
        for principal in ["", "user/writer", "user/admin"] {
            let produced = caller.log().produce(forwarded(principal)).await;
            assert!(is_denied(&produced), "{user} for {principal:?}");
        }
    }
    let node = caller(&cluster, "node/n9", 0);
    let own = node.log().produce(produce_request("own")).await;
    assert!(is_denied(&own), "a node writes nothing of its own");
    let unnamed = node.log().produce(forwarded("")).await;
    assert!(is_denied(&unnamed), "nor for nobody");
    let denied = node.log().produce(forwarded("user/reader")).await;
    assert!(
        is_denied(&denied),
        "the rights of the named principal count"
    );
    let allowed = node.log().produce(forwarded("user/writer")).await;
    assert!(!is_denied(&allowed), "{allowed:?}");
    let created = node
        .admin()
        .create_topic(admin::CreateTopicRequest {
            name: "mine".to_owned(),
            ..admin::CreateTopicRequest::default()
        })
        .await;
    assert!(is_denied(&created), "nor administers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_taken_away_ends_open_streams_on_every_node() {
    let cluster = cluster().await;
    let admin = caller(&cluster, "user/admin", 0);
    admin.log().produce(produce_request("own")).await.unwrap();
    let mut streams = Vec::new();
    for at in [0, 1] {
        let reader = caller(&cluster, "user/reader", at);
        let mut replies = reader
            .log()
            .consume(follow_request("own"))
            .await
            .unwrap()
            .into_inner();
        assert!(replies.message().await.unwrap().is_some());
        streams.push(replies);
    }
    let removal = admin::AccessRuleChange {
        remove: true,
        ..rule(admin::RuleEffect::Allow, "user/reader", "read", "topic:own")
    };
    let changes = vec![removal];
    let request = admin::ChangeRulesRequest { changes };
    admin.access().change_rules(request).await.unwrap();
    let removed = Instant::now();
    for mut replies in streams {
        // The stream ends with the first record after the change that the node has heard of.
        let status = loop {
            admin.log().produce(produce_request("own")).await.unwrap();
            let next = tokio::time::timeout(PATIENCE, replies.message());
            match next.await.unwrap() {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
    assert!(removed.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_listed_in_pages_and_explained_also_in_advance() {
    let cluster = cluster().await;
    let admin_user = caller(&cluster, "user/admin", 0);
    let mut access = admin_user.access();
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let request = admin::ListRulesRequest {
            max_count: 2,
            after,
            ..admin::ListRulesRequest::default()
        };
        let page = access.list_rules(request).await.unwrap().into_inner();
        assert!(page.rules.len() <= 2);
        listed.extend(page.rules);
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(listed.len(), 5);
    assert!(listed.iter().all(|rule| rule.changed_by == "user/admin"));

    let member = caller(&cluster, "user/team/member", 1);
    let mut asking = member.access();
    let own = asking.list_rules(admin::ListRulesRequest::default());
    assert_eq!(
        own.await.unwrap().into_inner().rules.len(),
        2,
        "its own alone"
    );
    let question = |principal: &str, operation: &str| admin::ExplainAccessRequest {
        principal: principal.to_owned(),
        operation: operation.to_owned(),
        resource: "topic:other".to_owned(),
        changes: Vec::new(),
    };
    let explained = access.explain_access(question("user/writer", "write"));
    let explained = explained.await.unwrap().into_inner();
    assert!(!explained.allowed);
    assert_eq!(explained.decider(), admin::AccessDecider::Rules);
    assert_eq!(explained.rules[0].effect(), admin::RuleEffect::Deny);
    let in_advance = admin::ExplainAccessRequest {
        changes: vec![rule(
            admin::RuleEffect::Allow,
            "user/nobody",
            "read",
            "topic:o*",
        )],
        ..question("user/nobody", "read")
    };
    let explained = access
        .explain_access(in_advance)
        .await
        .unwrap()
        .into_inner();
    assert!(explained.allowed);
    let now = access.explain_access(question("user/nobody", "read"));
    let now = now.await.unwrap().into_inner();
    assert_eq!(
        (now.allowed, now.decider()),
        (false, admin::AccessDecider::NoRule)
    );
    let refused = asking.explain_access(question("user/writer", "read"));
    assert!(is_denied(&refused.await), "about somebody else");
    let about_itself = asking.explain_access(question("", "read"));
    assert!(!about_itself.await.unwrap().into_inner().allowed);
    assert_eq!(member.user, "user/team/member");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_rules_are_refused_by_field() {
    let cluster = cluster().await;
    let mut access = caller(&cluster, "user/admin", 0).access();
    let valid = rule(admin::RuleEffect::Allow, "user/a", "read", "topic:t");
    let changed = |change: fn(&mut admin::AccessRule)| {
        let mut invalid = valid.clone();
        change(invalid.rule.as_mut().unwrap());
        vec![valid.clone(), invalid]
    };
    let cases = [
        (
            "principal",
            changed(|rule| rule.principal = "node/a".to_owned()),
        ),
        (
            "principal",
            changed(|rule| rule.principal = "user/a/b/c".to_owned()),
        ),
        ("effect", changed(|rule| rule.effect = 0)),
        ("operations", changed(|rule| rule.operations.clear())),
        (
            "operations",
            changed(|rule| rule.operations = vec!["admin".to_owned()]),
        ),
        (
            "operations",
            changed(|rule| rule.operations = vec!["fly".to_owned()]),
        ),
        (
            "resource",
            changed(|rule| rule.resource = "topic:".to_owned()),
        ),
        ("changes", Vec::new()),
        ("changes", vec![valid.clone(); 1001]),
    ];
    for (field, changes) in cases {
        let request = admin::ChangeRulesRequest { changes };
        let status = access.change_rules(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        assert!(status.message().contains(field), "{field}: {status:?}");
    }
    let listed = access.list_rules(admin::ListRulesRequest::default());
    assert_eq!(
        listed.await.unwrap().into_inner().rules.len(),
        5,
        "none was added"
    );
}

/// Certificates that must not get in, and the two that must, on the client port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_not_exactly_one_identity_of_the_cluster_do_not_connect() {
    let mut cluster = Cluster::new();
    cluster.add().await;
    let to = cluster.addresses(0).client;
    let base = "spiffe://lograft.io/ns/test/cluster/it";
    let one = |uri: String| cluster.ca.issue(&[uri]);
    let valid = |from, until| {
        cluster.ca.issue_with(&[uri("user/a")], |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
        })
    };
    let cases = [
        ("expired", valid(2020, 2021)),
        ("not yet valid", valid(2120, 2121)),
        ("another CA", Ca::new().issue(&[uri("user/a")])),
        ("another cluster", one(format!("{base}2/user/a"))),
        (
            "another namespace",
            one("spiffe://lograft.io/ns/other/cluster/it/user/a".to_owned()),
        ),
        (
            "another trust domain",
            one("spiffe://evil.io/ns/test/cluster/it/user/a".to_owned()),
        ),
        ("no URI", cluster.ca.issue(&[])),
        (
            "two identities",
            cluster.ca.issue(&[uri("user/a"), uri("user/b")]),
        ),
        (
            "an identity and another URI",
            cluster
                .ca
                .issue(&[uri("user/a"), "https://example.com".to_owned()]),
        ),
        ("a wildcard", one(format!("{base}/user/*"))),
        ("another case", one(format!("{base}/User/a"))),
        (
            "another scheme",
            one(base.replace("spiffe", "SPIFFE") + "/user/a"),
        ),
        ("a trailing slash", one(format!("{base}/user/a/"))),
        ("an encoded character", one(format!("{base}/user/%61"))),
        ("an encoded slash", one(format!("{base}/user%2Fa"))),
        ("a query", one(format!("{base}/user/a?b"))),
        ("the own namespace", one(format!("{base}/user/test/a"))),
        ("an unknown role", one(format!("{base}/admin/a"))),
    ];
    for (what, leaf) in &cases {
        let tls = client_tls(&cluster.ca, Some(leaf));
        assert!(try_connect(tls, to).await.is_err(), "{what}");
    }
    let without = try_connect(client_tls(&cluster.ca, None), to).await;
    assert!(without.is_err(), "no certificate");
    for allowed in ["user/a", "user/other/a"] {
        cluster.connect_as(allowed, to).await.unwrap();
    }
}

/// A resumed session must have been opened with the same certificate: a client that has another one
/// by now is not taken for the former.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_session_has_the_rights_of_its_own_certificate() {
    let cluster = cluster().await;
    let leaf = cluster.ca.issue(&[uri("user/writer")]);
    let tls = client_tls(&cluster.ca, Some(&leaf));
    // The second connection offers the ticket of the first, if there is one.
    for _ in 0..2 {
        let to = cluster.addresses(0).client;
        let channel = crate::user_channel::channel(std::sync::Arc::clone(&tls), to);
        let mut log = LogServiceClient::new(channel);
        log.produce(produce_request("own")).await.unwrap();
        assert!(is_denied(&log.produce(produce_request("other")).await));
    }
}
