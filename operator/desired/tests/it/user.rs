//! LogUser: plans from an observation, and the statuses after them.

use lograft_crds::limits::USER_CHANGES_MAX_COUNT;
use lograft_crds::log_cluster::UserGrant;
use lograft_crds::log_user::{LogUserStatus, UserRuleEffect};
use lograft_crds::names::USER_FINALIZER;
use lograft_crds::{LogUser, LogUserSpec, Period};
use lograft_operator_desired::cluster::FeatureLevel;
use lograft_operator_desired::topic::{FinalizerChange, FoundCluster, ObservedCluster};
use lograft_operator_desired::user::{
    AccessRequest, Failure, Observed, ObservedAccess, ObservedAuthority, ObservedUserSecret, Plan,
    Revocation, RuleChange, UserAccess, UserCertificate, ValidUser, plan, status,
};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A LogUser and what the operator finds.
struct World {
    user: LogUser,
    observed: Observed,
}

impl World {
    /// A LogUser `orders` of the namespace `logs`, whose cluster `events` is there too.
    fn new(more: &Value) -> Self {
        let mut spec = json!({"clusterRef": {"name": "events", "namespace": "logs"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let spec: LogUserSpec = serde_json::from_value(spec).unwrap();
        let mut user = LogUser::new("orders", spec);
        user.metadata.namespace = Some("logs".to_owned());
        user.metadata.generation = Some(1);
        let cluster = FoundCluster {
            id: Some("id".to_owned()),
            super_users: vec!["user/admin".to_owned()],
            leaf_seconds: 90 * DAY,
            ..FoundCluster::default()
        };
        let authority = ObservedAuthority {
            key: "ca".to_owned(),
            is_settled: true,
            roots: vec!["root".to_owned()],
        };
        Self {
            user,
            observed: Observed {
                cluster: ObservedCluster::Found(cluster),
                authority: Some(authority),
                access: ObservedAccess::Listed(UserAccess {
                    finalized: FeatureLevel(2),
                    ..UserAccess::default()
                }),
                ..Observed::nothing(NOW)
            },
        }
    }

    fn cluster(&mut self) -> &mut FoundCluster {
        match &mut self.observed.cluster {
            ObservedCluster::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    fn access(&mut self) -> &mut UserAccess {
        match &mut self.observed.access {
            ObservedAccess::Listed(access) => access,
            other => panic!("{other:?}"),
        }
    }

    fn certificate(&mut self) -> &mut UserCertificate {
        match &mut self.observed.secret {
            ObservedUserSecret::Own {
                certificate: Some(certificate),
                ..
            } => certificate,
            other => panic!("{other:?}"),
        }
    }

    fn stored(&self) -> LogUserStatus {
        self.user.status.clone().unwrap_or_default()
    }

    fn plan(&self) -> Plan {
        plan(&ValidUser::new(&self.user).unwrap(), &self.observed)
    }

    /// Plans, carries the plan out unless a request fails, and stores the status.
    fn step(&mut self, failure: Option<&Failure>) -> Plan {
        let valid = ValidUser::new(&self.user).unwrap();
        let plan = self.plan();
        let before = self.observed.clone();
        match plan.finalizer {
            FinalizerChange::Add => {
                self.user.metadata.finalizers = Some(vec![USER_FINALIZER.to_owned()]);
            }
            FinalizerChange::Remove => self.user.metadata.finalizers = None,
            FinalizerChange::Keep | FinalizerChange::RemoveOnceDone => {}
        }
        let written = plan.secret.as_ref().map(|leaf| UserCertificate {
            serial: format!("{:x}", leaf.not_before),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            issuer_key: "ca".to_owned(),
            names: [leaf.uri.clone()].into(),
            is_ed25519: false,
        });
        if written.is_some() {
            self.observed.secret = ObservedUserSecret::Own {
                certificate: written.clone(),
                roots: vec!["root".to_owned()],
            };
        }
        if failure.is_none() {
            for request in plan.requests.iter().chain(&plan.late_requests) {
                let access = self.access();
                match request {
                    AccessRequest::Rules(changes) => {
                        for change in changes {
                            access.rules.apply(change);
                        }
                    }
                    AccessRequest::Revoke {
                        revocation,
                        not_after,
                    } => {
                        // The cluster keeps the later end, and none for one that it does not know.
                        access.revocation_end = match access.revocation {
                            None => *not_after,
                            Some(_) => (access.revocation_end.zip(*not_after))
                                .map(|(former, new)| former.max(new)),
                        };
                        access.revocation = Some(*revocation);
                    }
                    AccessRequest::Restore => {
                        (access.revocation, access.revocation_end) = (None, None);
                    }
                }
            }
        }
        let result = (written.as_ref(), failure);
        let next = status::next(&self.user, &valid, &before, &plan, result);
        self.user.status = Some(next);
        plan
    }

    /// Steps until nothing is planned.
    fn settle(&mut self) {
        for _ in 0..4 {
            if self.step(None).is_empty() {
                return;
            }
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    fn ready(&self) -> (String, String) {
        let conditions = self.stored().conditions;
        let ready = conditions.iter().find(|it| it.type_ == "Ready").unwrap();
        (ready.status.clone(), ready.reason.clone())
    }

    fn reason(&self) -> String {
        self.ready().1
    }

    fn delete(&mut self) {
        self.user.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2027-01-15T08:00:00Z")).unwrap());
    }
}

fn reads(resource: &str) -> Value {
    json!({"rules": [{"operations": ["read"], "resource": resource}]})
}

#[test]
fn a_new_user_gets_a_certificate_and_its_rules_and_is_then_quiet() {
    let mut world = World::new(&reads("topic:orders.*"));
    let plan = world.step(None);
    // The finalizer comes first: a certificate that nobody revokes must not exist.
    assert_eq!(plan.finalizer, FinalizerChange::Add);
    let leaf = plan.secret.unwrap();
    assert_eq!(
        leaf.uri,
        "spiffe://lograft.io/ns/logs/cluster/events/user/orders"
    );
    assert_eq!(
        (leaf.not_before, leaf.not_after),
        (NOW - HOUR, NOW + 90 * DAY)
    );
    world.settle();
    assert_eq!(world.ready(), ("True".to_owned(), "Applied".to_owned()));
    let stored = world.stored();
    assert_eq!(stored.rules_applied, Some(1));
    assert_eq!(stored.secret_name.as_deref(), Some("orders-lograft-user"));
    assert_eq!(
        stored.certificate.unwrap().not_before.0.as_second(),
        NOW - HOUR
    );
    assert!(world.plan().is_empty());
}

#[test]
fn rules_that_others_change_are_put_back_with_an_event() {
    let mut world = World::new(&reads("topic:orders.*"));
    world.settle();
    world.access().rules.0.clear();
    let plan = world.step(None);
    assert_eq!(plan.events[0].reason, "RevertedEdit");
    assert_eq!(world.access().rules.0.len(), 1);
    // A change of the spec is none of them.
    world.user.spec.rules.clear();
    world.user.metadata.generation = Some(2);
    let plan = world.step(None);
    assert_eq!(plan.events[0].reason, "ChangedRules");
    assert!(world.access().rules.0.is_empty());
}

#[test]
fn a_certificate_is_issued_again_when_it_is_due_revoked_or_not_as_wanted() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 8] = [
        ("due", |w| w.observed.now_unix_seconds = NOW + 61 * DAY),
        ("revoked", |w| {
            w.access().revocation = Some(Revocation::Before(NOW));
        }),
        ("serial", |w| {
            let serial = w.certificate().serial.clone();
            w.access().serials.insert(serial);
        }),
        ("algorithm", |w| w.certificate().is_ed25519 = true),
        ("name", |w| {
            w.certificate().names.extend(["other".to_owned()]);
        }),
        ("gone", |w| w.observed.secret = ObservedUserSecret::Missing),
        ("tampered", |w| {
            let roots = vec!["root".to_owned()];
            w.observed.secret = ObservedUserSecret::Own {
                certificate: None,
                roots,
            };
        }),
        ("another CA", |w| {
            w.observed.authority.as_mut().unwrap().key = "new".to_owned();
        }),
    ];
    for (name, change) in changes {
        let mut world = World::new(&json!({}));
        world.settle();
        change(&mut world);
        let leaf = world.plan().secret.unwrap_or_else(|| panic!("{name}"));
        assert!(leaf.issues, "{name}");
        if name == "revoked" {
            assert_eq!(leaf.not_before, NOW, "starts when it would be refused");
        }
    }
}

/// A new CA is in the bundle first, and issues the certificate once everybody trusts it.
#[test]
fn a_certificate_of_a_former_ca_stays_until_the_new_one_is_trusted() {
    let mut world = World::new(&json!({}));
    world.settle();
    world.observed.authority = Some(ObservedAuthority {
        key: "new".to_owned(),
        is_settled: false,
        roots: vec!["new root".to_owned(), "root".to_owned()],
    });
    let leaf = world.plan().secret.unwrap();
    assert!(!leaf.issues);
    // Also if it is due, but not if it ends before that.
    for (hours, issues) in [(61 * 24, false), (90 * 24, true)] {
        world.observed.now_unix_seconds = NOW + hours * HOUR - 60;
        assert_eq!(world.plan().secret.unwrap().issues, issues, "{hours}");
    }
}

#[test]
fn without_an_answer_a_certificate_starts_now() {
    let mut world = World::new(&json!({}));
    world.observed.access = ObservedAccess::Unreachable("no".to_owned());
    let plan = world.step(None);
    assert_eq!(plan.secret.unwrap().not_before, NOW);
    assert_eq!(world.reason(), "ClusterUnreachable");
}

#[test]
fn the_lifetime_is_at_most_that_of_the_cluster() {
    for (validity, wanted) in [("24h", DAY), ("8760h", 90 * DAY)] {
        let world = World::new(&json!({"validity": validity}));
        assert_eq!(world.plan().secret.unwrap().not_after, NOW + wanted);
    }
}

#[test]
fn a_suspension_is_taken_back_with_the_revocation_before_it() {
    let mut world = World::new(&json!({}));
    world.access().revocation = Some(Revocation::Before(NOW - 100));
    world.settle();
    world.user.spec.suspended = true;
    world.settle();
    assert_eq!(world.ready(), ("True".to_owned(), "Suspended".to_owned()));
    assert_eq!(world.access().revocation, Some(Revocation::Suspended));
    world.user.spec.suspended = false;
    world.settle();
    assert_eq!(
        world.access().revocation,
        Some(Revocation::Before(NOW - 100))
    );
    assert!(!world.stored().suspended);
    // One by somebody else stays.
    world.access().revocation = Some(Revocation::Suspended);
    world.settle();
    assert_eq!(world.reason(), "SuspendedByAnother");
    assert_eq!(world.access().revocation, Some(Revocation::Suspended));
}

#[test]
fn before_its_level_nothing_is_requested_but_the_certificate_is_issued() {
    let mut world = World::new(&reads("topic:a"));
    world.access().finalized = FeatureLevel(1);
    let plan = world.step(None);
    assert!(plan.requests.is_empty() && plan.secret.is_some());
    world.settle();
    assert_eq!(world.reason(), "LevelNotFinalized");
    world.user.spec.rules.clear();
    world.settle();
    assert_eq!(world.reason(), "Applied");
}

#[test]
fn nobody_becomes_a_super_user() {
    let mut world = World::new(&json!({}));
    world.cluster().super_users.push("user/orders".to_owned());
    let plan = world.step(None);
    assert!(plan.is_empty(), "{plan:#?}");
    assert_eq!(world.reason(), "NameReserved");
    // The first user is reserved also if others are super users.
    let mut world = World::new(&json!({}));
    world.cluster().super_users = vec!["user/root".to_owned()];
    world.user.metadata.name = Some("admin".to_owned());
    assert!(world.step(None).is_empty());
    assert_eq!(world.reason(), "NameReserved");
}

/// Nobody keeps a user from being suspended by taking the name of its Secret.
#[test]
fn a_secret_of_somebody_else_is_left_alone_and_the_rest_goes_on() {
    let mut world = World::new(&reads("topic:a"));
    world.settle();
    world.observed.secret = ObservedUserSecret::Foreign { owner: None };
    world.user.spec.suspended = true;
    let plan = world.step(None);
    assert_eq!(plan.secret, None);
    assert_eq!(world.access().revocation, Some(Revocation::Suspended));
    assert_eq!(world.reason(), "SecretNotOwned");
    let stored = world.stored();
    assert!(stored.suspended && stored.certificate.is_none());
}

#[test]
fn a_user_with_an_invalid_rule_can_be_suspended() {
    let mut world = World::new(&reads("topic:a"));
    world.settle();
    world.user.spec.rules[0].resource = "cluster".to_owned();
    world.user.spec.suspended = true;
    world.settle();
    assert_eq!(world.access().revocation, Some(Revocation::Suspended));
    assert_eq!(world.access().rules.0.len(), 1);
    assert_eq!(world.reason(), "InvalidSpec");
}

/// No certificate runs out because of a typing error.
#[test]
fn an_invalid_spec_keeps_the_rules_and_its_certificate_is_renewed() {
    type Change = fn(&mut LogUser);
    let changes: [(&str, Change); 4] = [
        ("spec.rules[].resource", |user| {
            user.spec.rules[0].resource = "topic:".to_owned();
        }),
        (
            "spec.rules[].operations must be of alter, describe",
            |user| {
                user.spec.rules[0].resource = "cluster".to_owned();
            },
        ),
        ("spec.validity must be at least 3600 s", |user| {
            user.spec.validity = Some(Period("5m".to_owned()));
        }),
        ("spec.renewBefore must be below spec.validity", |user| {
            user.spec.renew_before = Some(Period("48h".to_owned()));
        }),
    ];
    for (text, change) in changes {
        let mut spec = reads("topic:a");
        spec["validity"] = json!("24h");
        let mut world = World::new(&spec);
        world.settle();
        let rules = world.access().rules.clone();
        change(&mut world.user);
        world.settle();
        assert_eq!(world.reason(), "InvalidSpec");
        let blocked = world.stored().blocked;
        assert!(blocked[0].message.contains(text), "{blocked:?}");
        world.observed.now_unix_seconds = NOW + 20 * HOUR;
        let leaf = world.step(None).secret.unwrap();
        assert!(leaf.issues, "{text}");
        assert_eq!(leaf.not_after, NOW + 44 * HOUR, "{text}");
        world.settle();
        assert_eq!(world.access().rules, rules, "{text}");
        assert_eq!(world.reason(), "InvalidSpec");
    }
}

/// Rights can be taken away while a time is invalid, and a first certificate needs a valid one.
#[test]
fn an_invalid_time_keeps_nothing_else_from_being_applied() {
    let mut world = World::new(&reads("topic:a"));
    world.user.spec.validity = Some(Period("5m".to_owned()));
    world.settle();
    assert_eq!(world.observed.secret, ObservedUserSecret::Missing);
    assert_eq!(world.access().rules.0.len(), 1);
    world.user.spec.rules.clear();
    world.settle();
    assert!(world.access().rules.0.is_empty());
    assert_eq!(world.reason(), "InvalidSpec");
    world.user.spec.validity = None;
    world.settle();
    assert_eq!(world.reason(), "Applied");
}

#[test]
fn a_rule_that_may_not_be_granted_changes_none() {
    let mut world = World::new(&reads("topic:a.x"));
    world.settle();
    world.cluster().user_grants = vec![UserGrant {
        namespace: "logs".to_owned(),
        prefixes: vec!["b.".to_owned()],
    }];
    world.settle();
    assert_eq!(world.reason(), "GrantNotAllowed");
    assert_eq!(world.access().rules.0.len(), 1);
}

#[test]
fn a_failed_request_is_a_condition_and_is_repeated() {
    let mut world = World::new(&reads("topic:a"));
    let why = "no".to_owned();
    world.step(Some(&Failure::Refused(why.clone())));
    assert_eq!(world.reason(), "Refused");
    assert_eq!(world.stored().rules_applied, Some(0));
    world.step(Some(&Failure::Unknown(why)));
    assert_eq!(world.reason(), "ClusterUnreachable");
    world.settle();
    assert_eq!(world.reason(), "Applied");
}

#[test]
fn a_deleted_user_is_revoked_after_the_start_of_its_certificate() {
    let mut world = World::new(&reads("topic:a"));
    // Its certificate starts in this second: it had been deleted and created again.
    world.access().revocation = Some(Revocation::Before(NOW));
    world.settle();
    world.delete();
    let plan = world.step(None);
    assert_eq!(plan.finalizer, FinalizerChange::RemoveOnceDone);
    assert_eq!(world.access().revocation, Some(Revocation::Before(NOW + 1)));
    assert!(world.access().rules.0.is_empty());
}

/// The cluster drops a revocation once it is for no certificate that is valid.
#[test]
fn a_revocation_ends_with_the_last_certificate_that_was_issued() {
    let mut world = World::new(&json!({}));
    world.settle();
    // A shorter one comes after the first, whose end counts.
    world.user.spec.validity = Some(Period("24h".to_owned()));
    world.observed.now_unix_seconds = NOW + HOUR;
    world.observed.secret = ObservedUserSecret::Missing;
    world.settle();
    let first_end = NOW + 90 * DAY;
    assert_eq!(world.certificate().not_after, NOW + 25 * HOUR);
    let last = world.stored().last_not_after.unwrap();
    assert_eq!(last.0.as_second(), first_end);
    world.user.spec.suspended = true;
    world.settle();
    assert_eq!(world.access().revocation_end, Some(first_end));
    let mut deleted = world;
    deleted.delete();
    deleted.step(None);
    assert_eq!(deleted.access().revocation_end, Some(first_end));
    // One of the same name has certificates of its own, and those before it may end later.
    let mut again = World::new(&json!({"validity": "24h"}));
    again.observed.access = deleted.observed.access.clone();
    again.observed.now_unix_seconds = NOW + 2 * HOUR;
    again.settle();
    again.delete();
    again.step(None);
    assert_eq!(again.access().revocation_end, Some(first_end));
    // The end of a revocation by somebody else is not known: it stays.
    again.access().revocation_end = None;
    let requests = again.plan().requests;
    assert!(matches!(
        requests[0],
        AccessRequest::Revoke {
            not_after: None,
            ..
        }
    ));
    // Nor is it without any certificate.
    let mut never = World::new(&json!({}));
    never.observed.authority = None;
    never.step(None);
    never.delete();
    let requests = never.plan().requests;
    assert!(matches!(
        requests[0],
        AccessRequest::Revoke {
            not_after: None,
            ..
        }
    ));
}

/// Each member is listed once it has applied the version in which nothing was to be changed.
#[test]
fn members_that_apply_the_rules_are_listed_until_the_rules_change() {
    fn list(world: &mut World, version: u64, applied: [u64; 3]) {
        let names = ["events-0", "events-1", "events-2"].map(str::to_owned);
        world.access().version = version;
        world.access().members = names.into_iter().zip(applied).collect();
    }
    let state = |world: &World| {
        let stored = world.stored();
        (stored.applied_version, stored.applied_by.join(" "))
    };
    let mut world = World::new(&reads("topic:a"));
    list(&mut world, 5, [5, 5, 5]);
    world.step(None);
    assert_eq!(state(&world), (None, String::new()));
    // The list is from before the change.
    list(&mut world, 0, [5, 5, 5]);
    assert!(world.step(None).requeue_seconds() < 60);
    assert_eq!(state(&world), (None, String::new()));
    list(&mut world, 7, [7, 6, 0]);
    assert!(world.step(None).requeue_seconds() < 60);
    assert_eq!(state(&world), (Some(7), "events-0".to_owned()));
    // The version stays; who is away is not waited for.
    list(&mut world, 9, [9, 8, 0]);
    world.step(None);
    assert_eq!(world.plan().requeue_seconds(), 60);
    assert_eq!(state(&world), (Some(7), "events-0 events-1".to_owned()));
    let before = world.stored();
    list(&mut world, 11, [0, 11, 0]);
    world.step(None);
    assert_eq!(world.stored(), before, "a node that fails is no change");
    // A rule that may not be granted leaves those that are applied.
    world.cluster().user_grants = vec![UserGrant {
        namespace: "logs".to_owned(),
        prefixes: vec!["b.".to_owned()],
    }];
    list(&mut world, 12, [12, 12, 12]);
    world.step(None);
    assert_eq!(
        state(&world),
        (Some(7), "events-0 events-1 events-2".to_owned())
    );
    world.cluster().user_grants.clear();
    world.user.spec.rules.clear();
    world.step(None);
    assert_eq!(state(&world), (None, String::new()));
    // Programs that do not say their version are neither listed nor waited for.
    list(&mut world, 0, [0, 0, 0]);
    world.step(None);
    assert_eq!(world.plan().requeue_seconds(), 60);
    assert_eq!(state(&world), (None, String::new()));
}

/// Somebody has added more rules than one request removes.
fn flooded(mut world: World) -> World {
    for number in 0..=USER_CHANGES_MAX_COUNT {
        world.access().rules.apply(&RuleChange {
            effect: UserRuleEffect::Allow,
            resource: format!("topic:t{number}"),
            operations: ["read".to_owned()].into(),
            is_removal: false,
        });
    }
    world
}

#[test]
fn more_rules_than_a_request_changes_take_more_steps() {
    let mut world = World::new(&reads("topic:a"));
    world.settle();
    let mut world = flooded(world);
    world.step(None);
    assert_eq!(world.ready(), ("False".to_owned(), "Applying".to_owned()));
    world.settle();
    assert_eq!(world.reason(), "Applied");
    assert_eq!(world.access().rules.0.len(), 1);
    let mut world = flooded(world);
    world.delete();
    let plan = world.step(None);
    assert_eq!(plan.finalizer, FinalizerChange::Keep);
    assert_eq!(world.reason(), "Deleting");
    let plan = world.step(None);
    assert_eq!(plan.finalizer, FinalizerChange::RemoveOnceDone);
    assert!(world.access().rules.0.is_empty());
}

#[test]
fn the_states_of_the_cluster_and_its_ca_are_named() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 8] = [
        ("ClusterNotFound", |w| {
            w.observed.cluster = ObservedCluster::Missing;
        }),
        ("NamespaceNotWatched", |w| {
            w.observed.cluster = ObservedCluster::NotWatched;
        }),
        ("ClusterDeleting", |w| w.cluster().is_deleting = true),
        ("ClusterPaused", |w| w.cluster().is_paused = true),
        ("ClusterNotBootstrapped", |w| w.cluster().id = None),
        ("ClusterUnreachable", |w| {
            w.observed.access = ObservedAccess::Unreachable("no".to_owned());
        }),
        ("AuthorityMissing", |w| w.observed.authority = None),
        ("Applied", |_| ()),
    ];
    for (reason, change) in cases {
        let mut world = World::new(&json!({}));
        change(&mut world);
        world.step(None);
        world.step(None);
        assert_eq!(world.reason(), reason);
        let has_certificate = matches!(reason, "Applied" | "ClusterUnreachable");
        let conditions = world.stored().conditions;
        let issued = conditions.iter().find(|it| it.type_ == "CertificateReady");
        let wanted = if has_certificate {
            "Issued"
        } else {
            "NotIssued"
        };
        assert_eq!(issued.unwrap().reason, wanted, "{reason}");
    }
}

#[test]
fn a_deleted_user_waits_for_its_cluster_but_not_for_one_that_is_gone() {
    type Change = fn(&mut World);
    let cases: [(&str, Change, bool); 8] = [
        ("paused", |w| w.cluster().is_paused = true, true),
        (
            "silent",
            |w| w.observed.access = ObservedAccess::Unreachable(String::new()),
            true,
        ),
        ("no ID", |w| w.cluster().id = None, true),
        ("deleted", |w| w.cluster().is_deleting = true, false),
        (
            "gone",
            |w| w.observed.cluster = ObservedCluster::Missing,
            false,
        ),
        (
            "unwatched",
            |w| w.observed.cluster = ObservedCluster::NotWatched,
            false,
        ),
        (
            "another",
            |w| w.cluster().id = Some("other".to_owned()),
            false,
        ),
        ("level", |w| w.access().finalized = FeatureLevel(1), false),
    ];
    for (name, change, waits) in cases {
        let mut world = World::new(&reads("topic:a"));
        world.settle();
        world.delete();
        change(&mut world);
        let plan = world.plan();
        assert!(plan.requests.is_empty(), "{name}");
        if waits {
            assert_eq!(plan.finalizer, FinalizerChange::Keep, "{name}");
            assert_eq!(plan.waits.len(), 1, "{name}");
        } else {
            assert_eq!(plan.finalizer, FinalizerChange::Remove, "{name}");
            assert_eq!(plan.events[0].reason, "NotRevoked", "{name}");
        }
    }
}

#[test]
fn without_consent_a_user_is_suspended_and_its_rules_are_removed() {
    let mut world = World::new(&reads("topic:shop.a"));
    world.user.metadata.namespace = Some("shop".to_owned());
    let plan = world.step(None);
    assert!(plan.is_empty(), "{plan:#?}");
    assert_eq!(world.reason(), "NamespaceNotAllowed");
    let names = json!({"names": ["shop"]});
    world.cluster().allowed = Some(serde_json::from_value(names).unwrap());
    world.settle();
    assert_eq!(
        world.stored().principal.as_deref(),
        Some("user/shop/orders")
    );
    assert_eq!(world.access().rules.0.len(), 1);
    let allowed = world.cluster().allowed.take();
    world.settle();
    assert_eq!(world.reason(), "NamespaceNotAllowed");
    assert_eq!(world.access().revocation, Some(Revocation::Suspended));
    assert!(world.access().rules.0.is_empty());
    world.cluster().allowed = allowed;
    world.settle();
    assert_eq!(
        (world.access().revocation, world.reason()),
        (None, "Applied".to_owned())
    );
}
