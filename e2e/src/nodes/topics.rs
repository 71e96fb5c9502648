//! The state of a cluster that is simulated: its topics, and how it answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lograft_client::{Reason, TopicKey, admin_wire as wire};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::rules::Access;

/// Replicas of a partition whose topic says nothing.
const FACTOR_DEFAULT: u32 = 3;
/// Number of nodes.
const NODES_COUNT: u32 = 3;

/// How the cluster answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As usual.
    Normal,
    /// New connections are closed.
    Silent,
    /// New connections to the first node are closed, and the others do not reach it.
    FirstLost,
    /// It creates and changes topics, and its answers to that are lost.
    Forgetful,
    /// Partitions have no leader.
    Leaderless,
    /// Partitions lack a replica.
    UnderReplicated,
    /// Changes of rules and revocations are refused.
    Refusing,
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FakeTopic {
    pub(crate) id: u64,
    pub(crate) partitions: u32,
    pub(crate) replication_factor: u32,
    pub(crate) settings: BTreeMap<String, u64>,
}

struct State {
    topics: BTreeMap<String, FakeTopic>,
    next_id: u64,
    mood: Mood,
    access: Access,
    /// The finalized feature level.
    level: u32,
    /// Version of the metadata: the number of changes.
    version: u64,
    /// Version that the last node does not get beyond.
    held: Option<u64>,
    calls: BTreeMap<&'static str, usize>,
}

/// A cluster.
pub(crate) struct FakeCluster {
    id: String,
    state: Mutex<State>,
}

impl FakeCluster {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                topics: BTreeMap::new(),
                next_id: 1,
                mood: Mood::Normal,
                access: Access::default(),
                level: 2,
                version: 1,
                held: None,
                calls: BTreeMap::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mood(&self) -> Mood {
        self.lock().mood
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    pub(super) fn with_access<T>(&self, with: impl FnOnce(&mut Access) -> T) -> T {
        with(&mut self.lock().access)
    }

    /// Counts a change of the metadata.
    pub(super) fn count_change(&self) {
        self.lock().version += 1;
    }

    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Whether the last node applies no further version.
    pub(crate) fn hold_last(&self, is_held: bool) {
        let mut state = self.lock();
        state.held = is_held.then_some(state.version);
    }

    pub(super) fn level(&self) -> u32 {
        self.lock().level
    }

    pub(crate) fn set_level(&self, level: u32) {
        self.lock().level = level;
    }

    /// Number of calls with this name.
    pub(crate) fn calls(&self, call: &str) -> usize {
        self.lock().calls.get(call).copied().unwrap_or(0)
    }

    /// The topic with this name.
    pub(crate) fn topic(&self, name: &str) -> Option<FakeTopic> {
        self.lock().topics.get(name).cloned()
    }

    /// Number of topics.
    pub(crate) fn count(&self) -> usize {
        self.lock().topics.len()
    }

    /// Creates a topic, as somebody else would.
    pub(crate) fn put(&self, name: &str, partitions: u32, replication_factor: u32) {
        let mut state = self.lock();
        state.version += 1;
        let topic = FakeTopic {
            id: state.next_id,
            partitions,
            replication_factor,
            settings: BTreeMap::new(),
        };
        state.next_id += 1;
        state.topics.insert(name.to_owned(), topic);
    }

    /// Changes a topic, as somebody else would.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut FakeTopic)) {
        if let Some(topic) = self.lock().topics.get_mut(name) {
            change(topic);
        }
    }

    /// Deletes a topic, as somebody else would.
    pub(crate) fn remove(&self, name: &str) {
        self.lock().topics.remove(name);
    }

    pub(super) fn count_call(&self, call: &'static str) {
        *self.lock().calls.entry(call).or_default() += 1;
    }

    pub(super) fn create(
        &self,
        request: &wire::CreateTopicRequest,
    ) -> Result<wire::TopicDescription, Status> {
        let name = &request.name;
        if self.topic(name).is_some() {
            let text = format!("topic {name} already exists");
            return Err(refusal(Reason::TopicExists, &text, &[]));
        }
        let set = |number: u32, default| if number == 0 { default } else { number };
        let factor = set(request.replication_factor, FACTOR_DEFAULT);
        if factor > NODES_COUNT {
            let text = format!("replication factor must be between 1 and {NODES_COUNT}");
            let facts = [("field", "replication_factor"), ("bound", "1..=3")];
            return Err(refusal(Reason::InvalidReplicationFactor, &text, &facts));
        }
        check(&request.settings)?;
        self.put(name, set(request.partitions, 1), factor);
        let retention = request.retention.unwrap_or_default();
        let bounds = [
            ("retention.bytes", retention.bytes),
            ("retention.ms", retention.ms),
        ];
        let set = bounds
            .into_iter()
            .filter_map(|(key, it)| Some((key.to_owned(), it?)));
        self.set(name, set.chain(numbers(&request.settings)));
        self.answer(name)
    }

    pub(super) fn alter(
        &self,
        request: &wire::AlterTopicRequest,
    ) -> Result<wire::TopicDescription, Status> {
        let name = &request.name;
        self.check_id(name, request.topic_id)?;
        check(&request.settings)?;
        for key in &request.reset_settings {
            TopicKey::from_name(key).map_err(|error| invalid(&error.to_string()))?;
        }
        self.change(name, |topic| {
            topic.partitions = request.partitions.unwrap_or(topic.partitions);
            let factor = request.replication_factor;
            topic.replication_factor = factor.unwrap_or(topic.replication_factor);
            for key in &request.reset_settings {
                topic.settings.remove(key);
            }
        });
        self.set(name, numbers(&request.settings));
        self.answer(name)
    }

    fn set(&self, name: &str, settings: impl Iterator<Item = (String, u64)>) {
        self.change(name, |topic| topic.settings.extend(settings));
    }

    fn answer(&self, name: &str) -> Result<wire::TopicDescription, Status> {
        if self.mood() == Mood::Forgetful {
            return Err(Status::unavailable("the answer is lost"));
        }
        self.described(name)
    }

    pub(super) fn delete(&self, request: &wire::DeleteTopicRequest) -> Result<(), Status> {
        self.check_id(&request.name, request.topic_id)?;
        self.remove(&request.name);
        Ok(())
    }

    fn check_id(&self, name: &str, expected: Option<u64>) -> Result<(), Status> {
        let found = self.described(name)?.topic_id;
        if expected.is_none_or(|id| id == found) {
            return Ok(());
        }
        let text = format!("topic {name} has the id {found}");
        Err(refusal(Reason::TopicRecreated, &text, &[]))
    }

    pub(super) fn described(&self, name: &str) -> Result<wire::TopicDescription, Status> {
        let Some(topic) = self.topic(name) else {
            let text = format!("topic {name} not found");
            return Err(refusal(Reason::UnknownTopic, &text, &[]));
        };
        Ok(wire::TopicDescription {
            name: name.to_owned(),
            topic_id: topic.id,
            replication_factor: topic.replication_factor,
            partitions: self.partitions(name, &topic),
            settings: settings(&topic),
            ..wire::TopicDescription::default()
        })
    }

    fn partitions(&self, name: &str, topic: &FakeTopic) -> Vec<wire::PartitionDescription> {
        let has_leaders = self.mood() != Mood::Leaderless;
        let health = match self.mood() {
            Mood::Leaderless => wire::PartitionHealth::Unavailable,
            Mood::UnderReplicated => wire::PartitionHealth::UnderReplicated,
            Mood::Normal | Mood::Silent | Mood::FirstLost | Mood::Forgetful | Mood::Refusing => {
                wire::PartitionHealth::Healthy
            }
        };
        let partition = |partition| wire::PartitionDescription {
            topic: name.to_owned(),
            partition,
            leader_node: has_leaders.then_some(1),
            bytes: 1 << 20,
            health: health.into(),
            ..wire::PartitionDescription::default()
        };
        (0..topic.partitions).map(partition).collect()
    }

    pub(super) fn list(&self, request: &wire::ListTopicsRequest) -> wire::ListTopicsReply {
        let mut topics = self.lock().topics.clone();
        topics.retain(|name, _| *name > request.after);
        let is_last = topics.len() <= request.max_count as usize;
        let summary = |(name, topic): (String, FakeTopic)| wire::TopicSummary {
            settings: settings(&topic),
            name,
            topic_id: topic.id,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            retention: None,
        };
        let page = topics.into_iter().take(request.max_count as usize);
        let topics: Vec<wire::TopicSummary> = page.map(summary).collect();
        let last = topics.last().filter(|_| !is_last);
        wire::ListTopicsReply {
            next: last.map(|topic| topic.name.clone()).unwrap_or_default(),
            topics,
        }
    }

    /// The nodes, each with the version that it has applied.
    fn nodes(&self) -> Vec<wire::NodeDescription> {
        let (version, held) = {
            let state = self.lock();
            (state.version, state.held)
        };
        let is_lost = |number: u32| number == 1 && self.mood() == Mood::FirstLost;
        let node = |number: u32| wire::NodeDescription {
            node_id: u64::from(number),
            name: format!("events-{}", number - 1),
            state: wire::NodeState::Active.into(),
            reachable: !is_lost(number),
            meta_role: wire::MetaRole::Voter.into(),
            metadata_version: if number == NODES_COUNT {
                held.unwrap_or(version)
            } else {
                version
            },
            ..wire::NodeDescription::default()
        };
        (1..=NODES_COUNT).map(node).collect()
    }

    pub(super) fn describe(&self) -> wire::DescribeClusterReply {
        let topics = self.lock().topics.clone();
        let partitions = topics.iter();
        let partitions = partitions.flat_map(|(name, topic)| self.partitions(name, topic));
        let partitions: Vec<wire::PartitionDescription> = partitions.collect();
        wire::DescribeClusterReply {
            cluster_id: self.id.clone(),
            partition_count: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            partitions,
            meta_leader_node: Some(1),
            answered_by: 1,
            finalized_level: self.level(),
            nodes: self.nodes(),
            ..wire::DescribeClusterReply::default()
        }
    }
}

/// Refuses settings that the data plane's table does not have, or whose values are out of bounds.
fn check(settings: &[wire::TopicSetting]) -> Result<(), Status> {
    for setting in settings {
        let key = TopicKey::from_name(&setting.key).map_err(|error| invalid(&error.to_string()))?;
        match setting.value {
            Some(wire::topic_setting::Value::Number(number)) => {
                key.check(number)
                    .map_err(|error| invalid(&error.to_string()))?;
            }
            _ => return Err(invalid("a setting must be a number")),
        }
    }
    Ok(())
}

fn invalid(text: &str) -> Status {
    refusal(Reason::InvalidArgument, text, &[])
}

fn numbers(settings: &[wire::TopicSetting]) -> impl Iterator<Item = (String, u64)> {
    settings.iter().filter_map(|setting| match setting.value {
        Some(wire::topic_setting::Value::Number(number)) => Some((setting.key.clone(), number)),
        _ => None,
    })
}

fn settings(topic: &FakeTopic) -> Vec<wire::TopicSetting> {
    let setting = |(key, value): (&String, &u64)| wire::TopicSetting {
        key: key.clone(),
        value: Some(wire::topic_setting::Value::Number(*value)),
    };
    topic.settings.iter().map(setting).collect()
}

pub(super) fn refusal(reason: Reason, text: &str, facts: &[(&str, &str)]) -> Status {
    let facts = facts.iter();
    let facts: HashMap<String, String> = facts
        .map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned()))
        .collect();
    let details = ErrorDetails::with_error_info(reason.as_str(), Reason::DOMAIN, facts);
    let code = Code::from(reason.status() as i32);
    Status::with_error_details(code, text, details)
}
