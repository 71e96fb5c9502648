//! LogTopics: each state as a case with its plan and status in a golden file, and properties over
//! random histories. Every case is planned twice: the second plan is empty.

use std::fmt::Write as _;

use lograft_crds::conditions::topic::{TOPIC_TABLE, TopicConditionType};
use lograft_crds::log_cluster::{AllowedNamespaces, NamespaceSelector};
use lograft_crds::log_topic::{DeletionPolicy, TopicRetention};
use lograft_crds::{LogTopic, Period};
use lograft_operator_desired::topic::{
    Claimant, FinalizerChange, FoundCluster, ObservedCluster, Plan, Request, SettingKey, status,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::topic_world::{Answer, CLUSTER_ID, NOW, World, topic};

fn usual() -> Value {
    json!({
        "topicName": "shop.Clicks", "partitions": 6, "replicationFactor": 3,
        "retention": {"size": "1Gi", "time": "24h"}, "config": {"maxBatchSize": "1Mi"},
    })
}

/// A world in which the LogTopic has created its topic.
fn settled(change: impl FnOnce(&mut Value)) -> World {
    let mut spec = usual();
    change(&mut spec);
    let mut world = World::new(topic(&spec));
    world.step();
    assert_eq!(world.ready(), "Serving");
    assert!(world.plan().is_empty());
    world
}

/// A LogTopic of another namespace than its LogCluster's.
fn foreign(allowed: Option<AllowedNamespaces>) -> World {
    let mut spec = usual();
    spec["clusterRef"] = json!({"name": "events", "namespace": "logs"});
    let mut world = World::new(topic(&spec));
    world.found().allowed = allowed;
    world
}

fn selecting() -> AllowedNamespaces {
    AllowedNamespaces {
        names: vec!["other".to_owned()],
        selector: Some(NamespaceSelector {
            match_labels: [("logs".to_owned(), "yes".to_owned())].into(),
        }),
    }
}

fn rival(created_unix_seconds: i64, topic_id: Option<u64>) -> Claimant {
    Claimant {
        namespace: "shop".to_owned(),
        name: "older".to_owned(),
        created_unix_seconds,
        topic_id,
        namespace_labels: None,
    }
}

fn deleting(world: World) -> World {
    let mut world = world;
    world.delete();
    assert!(!world.is_gone);
    world
}

fn deletes(spec: &mut Value) {
    spec["deletionPolicy"] = json!("Delete");
}

/// Changes a world.
fn with(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world
}

fn cluster_cases() -> Vec<(&'static str, World)> {
    let fresh = || World::new(topic(&usual()));
    let set = |change: fn(&mut FoundCluster)| with(fresh(), |world| change(world.found()));
    let by_label = with(foreign(Some(selecting())), |world| {
        world.namespace_labels = Some([("logs".to_owned(), "yes".to_owned())].into());
    });
    let gone = |world| with(world, |world| world.cluster = ObservedCluster::Missing);
    vec![
        ("the cluster is missing", gone(fresh())),
        (
            "the cluster is missing in another namespace",
            gone(foreign(None)),
        ),
        ("the namespace is not allowed", foreign(None)),
        (
            "the labels of the namespace are not known",
            foreign(Some(selecting())),
        ),
        ("the namespace is allowed by its labels", by_label),
        (
            "the namespace of the cluster is not watched",
            with(foreign(None), |world| {
                world.cluster = ObservedCluster::NotWatched;
            }),
        ),
        (
            "the cluster is being deleted",
            set(|cluster| cluster.is_deleting = true),
        ),
        (
            "the cluster is paused",
            set(|cluster| cluster.is_paused = true),
        ),
        (
            "the cluster is not bootstrapped",
            set(|cluster| cluster.id = None),
        ),
        (
            "no node answers",
            with(fresh(), |world| {
                world.unreachable = Some("timed out".to_owned());
            }),
        ),
    ]
}

fn topic_cases() -> Vec<(&'static str, World)> {
    let fresh = || World::new(topic(&usual()));
    let existing = |partitions| {
        with(fresh(), |world| {
            world.put("shop.Clicks", partitions, 3);
        })
    };
    let adopting = |partitions, factor| {
        let mut spec = usual();
        spec["adopt"] = json!(true);
        with(World::new(topic(&spec)), |world| {
            world.put("shop.Clicks", partitions, factor);
        })
    };
    vec![
        ("a new topic", fresh()),
        (
            "a new topic that is deleted with its LogTopic",
            with(fresh(), |world| {
                world.raw.spec.deletion_policy = DeletionPolicy::Delete;
            }),
        ),
        (
            "a new topic with the defaults of its cluster",
            World::new(topic(&json!({}))),
        ),
        (
            "a new topic that keeps everything",
            World::new(topic(&json!({"retention": {}}))),
        ),
        (
            "the cluster refuses the topic",
            with(fresh(), |world| world.answer = Answer::Refused),
        ),
        (
            "the name is none of a topic",
            World::new(topic(&json!({"topicName": "a b"}))),
        ),
        ("a topic of somebody else exists", existing(6)),
        ("an existing topic is adopted", adopting(3, 3)),
        (
            "an existing topic is adopted as far as possible",
            adopting(9, 1),
        ),
        ("an adopted topic has another factor", adopting(6, 1)),
        (
            "an older LogTopic owns the topic",
            with(fresh(), |world| world.rivals = vec![rival(0, None)]),
        ),
        (
            "a younger LogTopic has created the topic",
            with(existing(6), |world| {
                world.rivals = vec![rival(NOW, Some(7))];
            }),
        ),
    ]
}

fn change_cases() -> Vec<(&'static str, World)> {
    let found = |world: &mut World| world.topics.remove("shop.Clicks").unwrap();
    vec![
        (
            "partitions are added",
            with(settled(|_| {}), |world| {
                world.edit(|topic| topic.spec.partitions = Some(12));
            }),
        ),
        (
            "settings are changed and removed",
            with(settled(|_| {}), |world| {
                world.edit(|topic| {
                    topic.spec.retention = None;
                    topic.spec.config.max_batch_size = None;
                    topic.spec.config.timestamp_after_max = Some(Period::from("5m"));
                });
            }),
        ),
        (
            "somebody has changed the topic",
            with(settled(|_| {}), |world| {
                let topic = world.topics.get_mut("shop.Clicks").unwrap();
                topic.settings.insert(SettingKey::RetentionMs, 1000);
                topic.settings.remove(&SettingKey::BatchMaxBytes);
            }),
        ),
        (
            "somebody has added partitions",
            with(settled(|_| {}), |world| {
                world.topics.get_mut("shop.Clicks").unwrap().partitions = 8;
            }),
        ),
        (
            "somebody has deleted the topic",
            with(settled(|_| {}), |world| drop(found(world))),
        ),
        (
            "somebody has created the topic again",
            with(settled(|_| {}), |world| {
                found(world);
                world.put("shop.Clicks", 6, 3);
            }),
        ),
        (
            "partitions have no leader or lack replicas",
            with(settled(|_| {}), |world| {
                let topic = world.topics.get_mut("shop.Clicks").unwrap();
                (topic.leaderless, topic.under_replicated) = (1, 2);
                topic.bytes = Some(123_456_789);
            }),
        ),
        (
            "another cluster has the name of the former",
            with(settled(|_| {}), |world| {
                world.found().id = Some("11111111-93a5-4e2e-8d9c-3a1f6f1f0a55".to_owned());
            }),
        ),
    ]
}

fn removal_cases() -> Vec<(&'static str, World)> {
    let held = || deleting(settled(deletes));
    let set = |change: fn(&mut FoundCluster)| with(held(), |world| change(world.found()));
    vec![
        ("deleted: the topic goes too", held()),
        (
            "deleted: the topic stays",
            with(held(), |world| {
                world.raw.spec.deletion_policy = DeletionPolicy::Retain;
            }),
        ),
        (
            "deleted: the cluster is missing",
            with(held(), |world| world.cluster = ObservedCluster::Missing),
        ),
        (
            "deleted: the cluster is being deleted",
            set(|cluster| cluster.is_deleting = true),
        ),
        (
            "deleted: another cluster has the name",
            set(|cluster| cluster.id = Some("other".to_owned())),
        ),
        (
            "deleted: the cluster is paused",
            set(|cluster| cluster.is_paused = true),
        ),
        (
            "deleted: the cluster is not bootstrapped",
            set(|cluster| cluster.id = None),
        ),
        (
            "deleted: no node answers",
            with(held(), |world| {
                world.unreachable = Some("timed out".to_owned());
            }),
        ),
        (
            "deleted: the cluster refuses",
            with(held(), |world| world.answer = Answer::Refused),
        ),
        (
            "deleted: the topic is gone",
            with(held(), |world| world.topics.clear()),
        ),
        (
            "deleted: somebody has created the topic again",
            with(held(), |world| {
                world.put("shop.Clicks", 6, 3);
            }),
        ),
        (
            "deleted: the LogTopic is invalid",
            with(held(), |world| world.raw.spec.partitions = Some(0)),
        ),
    ]
}

fn describe(name: &str, plan: &Plan, world: &World) -> String {
    let mut text = format!("# {name}\nplan:\n");
    let mut line = |line: String| writeln!(text, "- {line}").unwrap();
    if plan.finalizer != FinalizerChange::Keep {
        line(format!("finalizer {:?}", plan.finalizer));
    }
    if plan.marks_creation {
        line("mark the creation in status".to_owned());
    }
    if let Some(request) = &plan.request {
        line(format!("{request:?}").replace(": ", "="));
    }
    for event in plan.done.iter().chain(&plan.events) {
        let kind = if event.is_warning {
            "Warning"
        } else {
            "Normal"
        };
        line(format!("{kind} {}, {:?}", event.reason, event.text));
    }
    let end = if world.is_gone { "gone\n" } else { "" };
    let status = serde_yaml::to_string(world.raw.status.as_ref().unwrap()).unwrap();
    format!("{text}{end}status:\n{status}")
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the person who runs the tests decides whether to write the file"
)]
fn cases_give_the_golden_file_and_are_planned_once() {
    let mut documents = Vec::new();
    let mut reasons = Vec::new();
    let cases = [
        cluster_cases(),
        topic_cases(),
        change_cases(),
        removal_cases(),
    ];
    let cases = cases.concat();
    for (name, mut world) in cases {
        let before = world.raw.status.clone();
        let plan = world.step();
        let warning = status::warning(before.as_ref(), world.raw.status.as_ref().unwrap());
        let warning = warning.map(|it| format!("warning: {}\n", it.reason));
        let text = describe(name, &plan, &world) + &warning.unwrap_or_default();
        documents.push(text);
        reasons.push(world.ready());
        if world.is_gone {
            continue;
        }
        let again = world.plan();
        assert!(again.is_empty(), "{name}: {again:#?}");
        let settled = world.raw.status.clone();
        world.step();
        // A wait for the answer of the request may end with the next look.
        world.step();
        assert_eq!(world.raw.status, settled, "{name}");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/topics.yaml");
    let made = documents.join("---\n");
    if std::env::var("LOGRAFT_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(path, &made).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    let mut pairs = stored.lines().zip(made.lines()).enumerate();
    let first = pairs.find(|(_, (old, new))| old != new);
    assert!(stored == made, "first difference {first:?}");
    // Requests in flight are no state at rest.
    let in_flight = ["Creating", "Changing", "Deleting"];
    let rows = TOPIC_TABLE.iter();
    let ready = rows.filter(|row| row.condition == TopicConditionType::Ready);
    for row in ready.filter(|row| !in_flight.contains(&row.name)) {
        let has_case = reasons.iter().any(|reason| reason == row.name);
        assert!(has_case, "no case for {}", row.name);
    }
}

#[test]
fn a_lost_answer_to_the_creation_is_recognized() {
    let mut world = World::new(topic(&usual()));
    world.answer = Answer::Lost;
    world.step();
    assert_eq!(world.ready(), "ClusterUnreachable");
    assert!(world.raw.status.as_ref().unwrap().creating);
    world.answer = Answer::Normal;
    assert!(world.plan().is_empty());
    world.step();
    assert_eq!(world.ready(), "Serving");
    let status = world.raw.status.clone().unwrap();
    assert_eq!((status.topic_id, status.creating), (Some(7), false));
    // A topic with other properties is not the one that was asked for.
    let mut world = World::new(topic(&usual()));
    world.raw.status = Some(status::marked_as_creating(&world.raw));
    world.put("shop.Clicks", 5, 3);
    world.step();
    assert_eq!(world.ready(), "TopicExists");
}

#[test]
fn a_list_from_before_the_creation_is_not_relied_on() {
    let mut world = settled(deletes);
    let topics = std::mem::take(&mut world.topics);
    assert!(world.plan().needs_recent_list);
    world.topics = topics;
    assert!(!world.plan().needs_recent_list);
    world.delete();
    assert!(world.plan().needs_recent_list);
    let world = World::new(topic(&usual()));
    assert!(!world.plan().needs_recent_list, "a thousand new topics");
}

#[test]
fn a_retention_that_is_removed_returns_to_the_default() {
    let mut world = settled(|_| {});
    world.edit(|topic| topic.spec.retention = None);
    world.step();
    let settings = &world.topics["shop.Clicks"].settings;
    assert_eq!(settings.get(&SettingKey::RetentionBytes), None);
    assert_eq!(settings.get(&SettingKey::RetentionMs), Some(&86_400_000));
    let managed = &world.raw.status.as_ref().unwrap().managed_settings;
    assert_eq!(managed, &["batch.max.bytes"]);
    // From now on it is nobody's business.
    let found = world.topics.get_mut("shop.Clicks").unwrap();
    found.settings.insert(SettingKey::RetentionMs, 5000);
    assert!(world.plan().is_empty());
}

#[test]
fn a_retention_without_bounds_removes_both() {
    let mut world = settled(|_| {});
    world.edit(|topic| topic.spec.retention = Some(TopicRetention::default()));
    world.step();
    let settings = &world.topics["shop.Clicks"].settings;
    let kept: Vec<&SettingKey> = settings.keys().collect();
    assert_eq!(kept, [&SettingKey::BatchMaxBytes]);
}

/// One thing that happens to a LogTopic, its cluster or its topic.
fn happen(world: &mut World, dice: &mut Dice) {
    let exists = world.topics.contains_key("shop.Clicks");
    match dice.below(14) {
        0 if exists => drop(world.topics.remove("shop.Clicks")),
        1 if !exists => drop(world.put("shop.Clicks", 6, 3)),
        2 => world.unreachable = None,
        3 => world.unreachable = Some("timed out".to_owned()),
        4 => world.answer = Answer::Lost,
        5 => world.answer = Answer::Refused,
        6 => world.answer = Answer::Normal,
        7 => edit(world, |topic| topic.spec.adopt = !topic.spec.adopt),
        8 => edit(world, |topic| {
            topic.spec.partitions = topic.spec.partitions.map(|it| it + 1);
        }),
        9 => edit(world, |topic| {
            topic.spec.deletion_policy = match topic.spec.deletion_policy {
                DeletionPolicy::Retain => DeletionPolicy::Delete,
                DeletionPolicy::Delete => DeletionPolicy::Retain,
            };
        }),
        10 => {
            let id = [CLUSTER_ID, "other"][usize::from(dice.one_in(3))].to_owned();
            let is_paused = dice.one_in(3);
            if let ObservedCluster::Found(found) = &mut world.cluster {
                found.id = Some(id);
                found.is_paused = is_paused;
            }
        }
        11 if exists => {
            let found = world.topics.get_mut("shop.Clicks").unwrap();
            found.settings.insert(SettingKey::RetentionMs, 5000);
        }
        12 if dice.one_in(6) => world.cluster = ObservedCluster::Missing,
        13 if dice.one_in(6) => world.delete(),
        _ => {}
    }
}

fn edit(world: &mut World, change: impl FnOnce(&mut LogTopic)) {
    world.edit(change);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Whatever happens: only the topic whose ID is in status is changed or deleted, except that one
    /// is adopted as told, and at the end the LogTopic is at rest.
    #[test]
    fn only_the_own_topic_is_touched_and_all_histories_come_to_rest(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let mut spec = usual();
        if dice.one_in(2) {
            deletes(&mut spec);
        }
        let mut world = World::new(topic(&spec));
        for _ in 0..40 {
            if world.is_gone {
                break;
            }
            happen(&mut world, &mut dice);
            let stored = world.raw.status.clone().unwrap_or_default();
            let may_be = stored.creating || world.raw.spec.adopt;
            let plan = world.step();
            let own = stored.topic_id.and_then(|id| u64::try_from(id).ok());
            match plan.request {
                Some(Request::Delete { id, .. }) => prop_assert_eq!(Some(id), own),
                Some(Request::Alter(change)) => {
                    prop_assert!(Some(change.id) == own || may_be);
                }
                Some(Request::Create(_)) | None => {}
            }
        }
        world.answer = Answer::Normal;
        world.unreachable = None;
        if let ObservedCluster::Found(found) = &mut world.cluster {
            found.is_paused = false;
        }
        // A refusal counts until the spec changes or its pause is over.
        world.edit(|_| {});
        for _ in 0..4 {
            if !world.is_gone {
                world.step();
            }
        }
        prop_assert!(world.is_gone || world.raw.metadata.deletion_timestamp.is_none());
        prop_assert!(world.is_gone || world.plan().is_empty(), "{:#?}", world.plan());
    }
}
