//! A simulated cluster with topics, in which the plans of LogTopics are carried out.

use std::collections::BTreeMap;

use lograft_crds::LogTopic;
use lograft_crds::names::TOPIC_FINALIZER;
use lograft_operator_desired::topic::{
    Claimant, Failure, FinalizerChange, FoundCluster, NewTopic, Observed, ObservedCluster,
    ObservedTopic, ObservedTopics, Outcome, Plan, Request, SettingKey, TopicChange, ValidTopic,
    of_invalid, plan, status,
};
use serde_json::{Value, json};

pub(crate) const CLUSTER_ID: &str = "0b6f1c0e-93a5-4e2e-8d9c-3a1f6f1f0a55";
pub(crate) const NOW: i64 = 1_780_000_000;

/// A LogTopic `shop/clicks` of LogCluster `shop/events` in the form of the API server.
pub(crate) fn topic(spec: &Value) -> LogTopic {
    let mut whole = json!({"clusterRef": {"name": "events"}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "lograft.io/v1alpha1",
        "kind": "LogTopic",
        "metadata": {
            "name": "clicks", "namespace": "shop", "uid": "u", "generation": 1,
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": whole,
    }))
    .unwrap()
}

/// How the data plane answers the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Normal,
    /// It does as asked, and its answer is lost.
    Lost,
    Refused,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) raw: LogTopic,
    /// Whether the API server has removed the LogTopic.
    pub(crate) is_gone: bool,
    pub(crate) cluster: ObservedCluster,
    pub(crate) namespace_labels: Option<BTreeMap<String, String>>,
    pub(crate) topics: BTreeMap<String, ObservedTopic>,
    pub(crate) unreachable: Option<String>,
    pub(crate) rivals: Vec<Claimant>,
    pub(crate) answer: Answer,
    pub(crate) now: i64,
    refusal: Option<(Option<i64>, String)>,
    next_id: u64,
}

impl World {
    pub(crate) fn new(raw: LogTopic) -> Self {
        let found = FoundCluster {
            id: Some(CLUSTER_ID.to_owned()),
            defaults: [(SettingKey::RetentionMs, 86_400_000)].into(),
            ..FoundCluster::default()
        };
        Self {
            raw,
            is_gone: false,
            cluster: ObservedCluster::Found(found),
            namespace_labels: None,
            topics: BTreeMap::new(),
            unreachable: None,
            rivals: Vec::new(),
            answer: Answer::Normal,
            now: NOW,
            refusal: None,
            next_id: 7,
        }
    }

    pub(crate) fn found(&mut self) -> &mut FoundCluster {
        match &mut self.cluster {
            ObservedCluster::Found(found) => found,
            other => panic!("{other:?}"),
        }
    }

    /// Somebody creates the topic of this name.
    pub(crate) fn put(&mut self, name: &str, partitions: u32, factor: u32) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let topic = ObservedTopic {
            id,
            partitions,
            replication_factor: factor,
            settings: match &self.cluster {
                ObservedCluster::Found(found) => found.defaults.clone(),
                ObservedCluster::Missing | ObservedCluster::NotWatched => BTreeMap::new(),
            },
            ..ObservedTopic::default()
        };
        self.topics.insert(name.to_owned(), topic);
        id
    }

    /// Changes the spec as a user.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut LogTopic)) {
        change(&mut self.raw);
        let generation = &mut self.raw.metadata.generation;
        *generation = generation.map(|number| number + 1);
    }

    /// Deletes the LogTopic as a user.
    pub(crate) fn delete(&mut self) {
        self.raw.metadata.deletion_timestamp = self.raw.metadata.creation_timestamp.clone();
        self.is_gone = self.finalizers().is_empty();
    }

    fn finalizers(&mut self) -> &mut Vec<String> {
        self.raw.metadata.finalizers.get_or_insert_default()
    }

    pub(crate) fn observe(&self) -> Observed {
        let may_ask = match &self.cluster {
            ObservedCluster::Found(found) => found.may_be_asked(),
            _ => false,
        };
        let name = lograft_operator_desired::topic::topic_name(&self.raw);
        let topics = match &self.unreachable {
            _ if !may_ask => ObservedTopics::NotAsked,
            Some(why) => ObservedTopics::Unreachable(why.clone()),
            None => ObservedTopics::Listed(self.topics.get(name).cloned()),
        };
        let refusal = self.refusal.as_ref();
        let refusal = refusal.filter(|(at, _)| *at == self.raw.metadata.generation);
        Observed {
            now_unix_seconds: self.now,
            cluster: self.cluster.clone(),
            namespace_labels: self.namespace_labels.clone(),
            topics,
            rivals: self.rivals.clone(),
            refusal: refusal.map(|(_, why)| why.clone()),
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        match ValidTopic::new(&self.raw) {
            Ok(valid) => plan(&valid, &self.observe()),
            Err(error) => of_invalid(&self.raw, &error),
        }
    }

    /// Plans and carries the plan out. Returns the plan.
    pub(crate) fn step(&mut self) -> Plan {
        let observed = self.observe();
        let planned = self.plan();
        match planned.finalizer {
            FinalizerChange::Add => self.finalizers().push(TOPIC_FINALIZER.to_owned()),
            FinalizerChange::Remove => self.release(),
            FinalizerChange::Keep | FinalizerChange::RemoveOnceDone => {}
        }
        if planned.marks_creation {
            self.raw.status = Some(status::marked_as_creating(&self.raw));
        }
        let outcome = match &planned.request {
            Some(request) => self.carry_out(request),
            None => Outcome::Unchanged,
        };
        if outcome == Outcome::Deleted && planned.finalizer == FinalizerChange::RemoveOnceDone {
            self.release();
        }
        self.raw.status = Some(match ValidTopic::new(&self.raw) {
            Ok(valid) => status::next(&self.raw, &valid, &observed, &planned, &outcome),
            Err(_) => status::invalid(&self.raw, &planned, self.now),
        });
        planned
    }

    fn release(&mut self) {
        self.finalizers().clear();
        self.is_gone = self.raw.metadata.deletion_timestamp.is_some();
    }

    fn carry_out(&mut self, request: &Request) -> Outcome {
        if self.answer == Answer::Refused {
            let why = "cannot do it: LIMIT_EXCEEDED, partitions must be 1..=3".to_owned();
            self.refusal = Some((self.raw.metadata.generation, why.clone()));
            return Outcome::Failed(Failure::Refused(why));
        }
        let outcome = match request {
            Request::Create(new) => self.create(new),
            Request::Alter(change) => self.alter(change),
            Request::Delete { topic, id } => {
                if self.topics.get(topic).is_some_and(|found| found.id != *id) {
                    return Outcome::Failed(Failure::Replaced);
                }
                self.topics.remove(topic);
                Outcome::Deleted
            }
        };
        match self.answer {
            Answer::Lost => Outcome::Failed(Failure::Unknown("no answer".to_owned())),
            _ => outcome,
        }
    }

    fn create(&mut self, new: &NewTopic) -> Outcome {
        if self.topics.contains_key(&new.topic) {
            return Outcome::Failed(Failure::Exists);
        }
        let factor = new.replication_factor.unwrap_or(3);
        self.put(&new.topic, new.partitions.unwrap_or(1), factor);
        self.set(&new.topic, &new.settings)
    }

    fn alter(&mut self, change: &TopicChange) -> Outcome {
        match self.topics.get_mut(&change.topic) {
            Some(found) if found.id == change.id => {
                found.partitions = change.partitions.unwrap_or(found.partitions);
                let factor = change.replication_factor;
                found.replication_factor = factor.unwrap_or(found.replication_factor);
            }
            _ => return Outcome::Failed(Failure::Replaced),
        }
        self.set(&change.topic, &change.settings)
    }

    fn set(&mut self, topic: &str, settings: &BTreeMap<SettingKey, Option<u64>>) -> Outcome {
        let found = self.topics.get_mut(topic).unwrap();
        for (key, value) in settings {
            match value {
                Some(value) => found.settings.insert(*key, *value),
                None => found.settings.remove(key),
            };
        }
        Outcome::Topic(found.clone())
    }

    /// Reason of the condition `Ready`.
    pub(crate) fn ready(&self) -> String {
        let status = self.raw.status.clone().unwrap_or_default();
        let ready = status.conditions.first().unwrap();
        assert_eq!(ready.type_, "Ready");
        ready.reason.clone()
    }
}
