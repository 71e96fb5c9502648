use std::sync::atomic::{AtomicU64, Ordering};

use lograft_core::acl::{Effect, Rule, RuleChange};
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{FeatureLevel, LogIndex};
use lograft_proto::Method;
use tokio::time::Instant;

use super::*;
use crate::api::call_rules::rule_of;
use crate::control::test_metadata;

const ROLES: [&str; 5] = ["user/super", "user/a", "user/team/a", "operator", "node/n"];

struct World {
    access: Access,
    view: MetaView,
    settings: CurrentAuthorization,
    age_ms: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

fn settings(mode: AuthorizationMode) -> Arc<AuthorizationSettings> {
    Arc::new(AuthorizationSettings {
        mode,
        super_users: vec!["user/super".to_owned()],
        rules_max_age_ms: 10_000,
    })
}

fn finalized() -> Metadata {
    let mut metadata = test_metadata::cluster(1);
    let level = FeatureLevel(2);
    metadata
        .apply(&Command::FinalizeLevel { level }, LogIndex(100))
        .unwrap();
    metadata
}

fn world(mode: AuthorizationMode, metadata: Metadata) -> World {
    let view = MetaView::new(metadata);
    let current: CurrentAuthorization = Arc::new(ArcSwap::new(settings(mode)));
    let metrics = Arc::new(Metrics::new().unwrap());
    let age_ms = Arc::new(AtomicU64::new(0));
    let known_age_ms = Arc::clone(&age_ms);
    let access = Access::new(AccessParts {
        view: view.clone(),
        settings: Arc::clone(&current),
        rules_age: Arc::new(move || match known_age_ms.load(Ordering::Relaxed) {
            u64::MAX => None,
            ms => Some(Duration::from_millis(ms)),
        }),
        metrics: Arc::clone(&metrics),
    });
    World {
        access,
        view,
        settings: current,
        age_ms,
        metrics,
    }
}

impl World {
    fn check(&self, principal: &str, method: Method, resource: Resource<'_>) -> Option<Reason> {
        let principal = principal.parse().unwrap();
        let checked = self.access.check(&principal, rule_of(method), resource);
        checked.err().map(|error| error.reason().unwrap())
    }

    fn change(&self, change: RuleChange) {
        let mut metadata = (*self.view.load()).clone();
        let command = Command::ChangeRules {
            changes: vec![change],
            changed_by: Principal::user("super"),
            changed_at_ms: 1,
        };
        let index = LogIndex(metadata.version().get() + 1);
        metadata.apply(&command, index).unwrap();
        self.view.store(metadata);
    }
}

fn allow(principal: &str, operation: Operation, resource: &str) -> Rule {
    Rule {
        principal: principal.parse().unwrap(),
        effect: Effect::Allow,
        operations: operation.into(),
        resource: resource.parse().unwrap(),
    }
}

/// A resource of the kind that a method's rule names.
fn resource_of(method: Method) -> Resource<'static> {
    match rule_of(method) {
        CallRule::On(lograft_core::acl::ResourceKind::Topic, _) => Resource::Topic("t"),
        CallRule::On(lograft_core::acl::ResourceKind::Group, _) => Resource::Group("g"),
        _ => Resource::Cluster,
    }
}

#[test]
fn without_rules_users_may_do_nothing_and_the_others_their_work() {
    let world = world(AuthorizationMode::Enforced, finalized());
    for method in Method::ALL {
        for role in ROLES {
            let expected = match (rule_of(*method), role) {
                (CallRule::NodesOnly, role) => role == "node/n",
                (CallRule::Filtered, _) | (_, "user/super") => true,
                (CallRule::On(_, operation) | CallRule::OnSomeTopic(operation), "operator") => {
                    !matches!(operation, Operation::Read | Operation::Write)
                }
                (CallRule::On(_, operation), "node/n") => operation == Operation::Describe,
                (_, _) => false,
            };
            let found = world.check(role, *method, resource_of(*method));
            let expected = (!expected).then_some(Reason::PermissionDenied);
            assert_eq!(found, expected, "{role} {}", method.path());
        }
    }
}

#[test]
fn everybody_may_do_everything_but_act_as_a_node_while_it_is_off() {
    let off = world(AuthorizationMode::Disabled, finalized());
    // An older cluster has no rules, whatever the configuration says.
    let old = world(AuthorizationMode::Enforced, test_metadata::cluster(1));
    let report_only = world(AuthorizationMode::ReportOnly, finalized());
    for world in [off, old, report_only] {
        for method in Method::ALL {
            for role in ["user/a", "user/super"] {
                let is_denied = rule_of(*method) == CallRule::NodesOnly;
                let expected = is_denied.then_some(Reason::PermissionDenied);
                let found = world.check(role, *method, resource_of(*method));
                assert_eq!(found, expected, "{role} {}", method.path());
            }
        }
    }
}

#[test]
fn before_the_bootstrap_only_super_users_and_the_operator_may_bootstrap() {
    let world = world(AuthorizationMode::Enforced, Metadata::default());
    world.age_ms.store(u64::MAX, Ordering::Relaxed);
    let bootstrap = |role| world.check(role, Method::AdminBootstrap, Resource::Cluster);
    assert_eq!(bootstrap("user/super"), None);
    assert_eq!(bootstrap("operator"), None);
    // Not refused for good: the node may only not have read its metadata yet.
    assert_eq!(bootstrap("user/a"), Some(Reason::NotReady));
}

#[test]
fn a_change_of_rules_or_settings_holds_at_once() {
    let world = world(AuthorizationMode::Enforced, finalized());
    let produce = || world.check("user/a", Method::LogProduce, Resource::Topic("t"));
    assert_eq!(produce(), Some(Reason::PermissionDenied));
    let rule = allow("user/*", Operation::Write, "topic:t");
    world.change(RuleChange::Add(rule.clone()));
    assert_eq!(produce(), None);
    world.change(RuleChange::Remove(rule));
    assert_eq!(produce(), Some(Reason::PermissionDenied));
    world
        .settings
        .store(settings(AuthorizationMode::ReportOnly));
    assert_eq!(produce(), None);
    let text = world.metrics.encode().unwrap();
    for line in [
        "lograft_authorization_refusals_total{result=\"refused\"} 2",
        "lograft_authorization_refusals_total{result=\"reported\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}

#[test]
fn a_node_that_is_cut_off_refuses_what_only_rules_allow() {
    let world = world(AuthorizationMode::Enforced, finalized());
    world.change(RuleChange::Add(allow(
        "user/a",
        Operation::Write,
        "topic:t",
    )));
    let produce = |role| world.check(role, Method::LogProduce, Resource::Topic("t"));
    for (age_ms, expected) in [
        (10_000, None),
        (10_001, Some(Reason::NotReady)),
        (u64::MAX, Some(Reason::NotReady)),
    ] {
        world.age_ms.store(age_ms, Ordering::Relaxed);
        assert_eq!(produce("user/a"), expected, "{age_ms}");
        assert_eq!(produce("user/super"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_ends_with_the_rule_and_with_contact() {
    let world = world(AuthorizationMode::Enforced, finalized());
    let rule = allow("user/a", Operation::Write, "topic:t");
    world.change(RuleChange::Add(rule.clone()));
    let mut grant = Grant::new(world.access.clone(), rule_of(Method::LogProduceStream));
    let user = Arc::new(Principal::user("a"));
    let mut check = |user: &Arc<Principal>, topic: &str, now: Instant| {
        let checked = grant.check(user, topic, now);
        checked.err().map(|error| error.reason().unwrap())
    };
    let now = Instant::now();
    let denied = Some(Reason::PermissionDenied);
    assert_eq!(check(&user, "t", now), None);
    assert_eq!(check(&user, "u", now), denied, "another topic");
    assert_eq!(check(&user, "t", now), None);
    let other = Arc::new(Principal::user("b"));
    assert_eq!(check(&other, "t", now), denied, "another principal");
    assert_eq!(check(&user, "t", now), None);
    world.age_ms.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(check(&user, "t", now), None, "not asked again yet");
    let later = now + Duration::from_secs(1);
    assert_eq!(check(&user, "t", later), Some(Reason::NotReady));
    world.age_ms.store(0, Ordering::Relaxed);
    assert_eq!(check(&user, "t", later), None);
    world.change(RuleChange::Remove(rule));
    assert_eq!(check(&user, "t", later), denied, "at once");
}

#[test]
fn a_principal_sees_the_topics_that_it_may_describe() {
    let world = world(AuthorizationMode::Enforced, finalized());
    world.change(RuleChange::Add(allow("user/a", Operation::Read, "topic:t")));
    let sees = |principal: &str, topic| {
        let principal = principal.parse().unwrap();
        world.access.visibility(&principal).includes_topic(topic)
    };
    assert!(sees("user/a", "t") && !sees("user/a", "u"));
    for principal in ["user/super", "operator", "node/n"] {
        assert!(sees(principal, "u"));
    }
    world.settings.store(settings(AuthorizationMode::Disabled));
    assert!(sees("user/a", "u"));
}

#[test]
fn the_leader_checks_for_whom_a_node_proposes() {
    let world = world(AuthorizationMode::Enforced, finalized());
    let create = |name: &str| Command::CreateTopic {
        follows_default: false,
        name: name.to_owned(),
        retention: lograft_core::RetentionPolicy::default(),
        settings: lograft_core::TopicSettings::default(),
        assignment: Vec::new(),
    };
    world.change(RuleChange::Add(allow(
        "user/a",
        Operation::Create,
        "topic:a.*",
    )));
    let check = |principal: Option<&str>, command: &Command| {
        let principal: Option<Principal> = principal.map(|text| text.parse().unwrap());
        let checked = world.access.check_command(principal.as_ref(), command);
        checked.is_ok()
    };
    assert!(check(Some("user/a"), &create("a.x")));
    assert!(!check(Some("user/a"), &create("b")));
    assert!(check(Some("operator"), &create("b")));
    assert!(!check(Some("node/n"), &create("b")));
    assert!(!check(None, &create("a.x")), "nodes create no topics");
    let start = Command::StartPartition {
        group: lograft_core::GroupId(1),
    };
    assert!(check(None, &start));
    assert!(!check(Some("user/super"), &start), "the work of nodes");
    let rules = Command::ChangeRules {
        changes: Vec::new(),
        changed_by: Principal::user("super"),
        changed_at_ms: 1,
    };
    assert!(check(Some("user/super"), &rules));
    assert!(!check(Some("operator"), &rules), "in the name of another");
    world.settings.store(settings(AuthorizationMode::Disabled));
    assert!(check(None, &create("a.x")), "proposed by an older node");
    assert!(!check(None, &rules));
}

#[test]
fn a_check_of_the_wrong_resource_lets_nobody_in() {
    let world = world(AuthorizationMode::Enforced, finalized());
    for role in ROLES {
        let topic = Resource::Topic("t");
        assert!(
            world
                .check(role, Method::AccessChangeRules, topic)
                .is_some()
        );
        let cluster = Resource::Cluster;
        assert!(world.check(role, Method::LogFetch, cluster).is_some());
    }
}
