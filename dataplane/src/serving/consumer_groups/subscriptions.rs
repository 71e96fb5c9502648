//! The topics of subscriptions: from the metadata, those that the member may read.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use lograft_core::LogIndex;
use lograft_core::acl::{Principal, RuleTable};
use lograft_core::consumer_group::{GroupTopic, MemberSpec, TopicLookup};
use lograft_core::limits::GROUP_PATTERN_MEMORY_MAX_BYTES;
use lograft_core::metadata::{Metadata, Topic, TopicId};
use regex::bytes::{Regex, RegexBuilder};

use crate::config::AuthorizationSettings;
use crate::error::ApiError;

/// The rights to read topics.
pub(crate) trait ReadRights: Send + Sync + 'static {
    /// Whether a principal may read a topic.
    fn may_read(&self, principal: &Principal, topic: &str) -> bool;

    /// The settings that rights depend on besides the rules of the metadata: the mode, for example.
    /// Others when they change.
    fn settings(&self) -> Arc<AuthorizationSettings>;
}

/// Compiles the pattern of a subscription, which matches whole names. Names are ASCII, so that
/// small programs do. Fails with INVALID_ARGUMENT.
pub(super) fn compile(pattern: &str) -> Result<Regex, ApiError> {
    let whole = format!("^(?:{pattern})$");
    let compiled = RegexBuilder::new(&whole)
        .unicode(false)
        .size_limit(GROUP_PATTERN_MEMORY_MAX_BYTES)
        .dfa_size_limit(GROUP_PATTERN_MEMORY_MAX_BYTES)
        .build();
    compiled.map_err(|error| {
        let bound = format_args!("a regular expression of RE2 syntax: {error}");
        ApiError::invalid("topic_pattern", bound)
    })
}

/// The topics of the cluster, for one division of partitions: each pattern is matched once.
pub(super) struct Topics<'a> {
    metadata: &'a Metadata,
    rights: &'a dyn ReadRights,
    ids: BTreeSet<TopicId>,
    matching: RefCell<HashMap<String, Vec<&'a Arc<Topic>>>>,
}

impl<'a> Topics<'a> {
    pub(super) fn new(metadata: &'a Metadata, rights: &'a dyn ReadRights) -> Self {
        Self {
            metadata,
            rights,
            ids: metadata.topics().map(|topic| topic.id).collect(),
            matching: RefCell::default(),
        }
    }

    fn matching(&self, pattern: &str) -> Vec<&'a Arc<Topic>> {
        if let Some(known) = self.matching.borrow().get(pattern) {
            return known.clone();
        }
        // It was compiled when the member joined.
        let compiled = compile(pattern).ok();
        let is_match = |topic: &&Arc<Topic>| {
            let name = topic.name.as_bytes();
            compiled.as_ref().is_some_and(|regex| regex.is_match(name))
        };
        let found: Vec<_> = self.metadata.topics().filter(is_match).collect();
        let mut all = self.matching.borrow_mut();
        all.insert(pattern.to_owned(), found.clone());
        found
    }
}

impl TopicLookup for Topics<'_> {
    /// A topic that the member may not read any more is none of them.
    fn subscribed(&self, spec: &MemberSpec) -> Vec<GroupTopic> {
        let Ok(principal) = spec.principal.parse::<Principal>() else {
            return Vec::new();
        };
        let subscription = &spec.subscription;
        let named = subscription.topics.iter();
        let named = named.filter_map(|name| self.metadata.topic(name));
        let pattern = subscription.pattern.iter();
        let matching = pattern.flat_map(|pattern| self.matching(pattern));
        named
            .chain(matching)
            .filter(|topic| self.rights.may_read(&principal, &topic.name))
            .map(|topic| group_topic(topic))
            .collect()
    }

    /// Ids are allocated in order and never again, so an id that these metadata have allocated and
    /// do not have was deleted.
    fn is_deleted(&self, topic: TopicId) -> bool {
        topic < self.metadata.next_ids().topic && !self.ids.contains(&topic)
    }
}

fn group_topic(topic: &Topic) -> GroupTopic {
    GroupTopic {
        id: topic.id,
        name: topic.name.clone(),
        partition_count: topic.partition_count(),
    }
}

/// The topics and rights that subscriptions depend on, to see when they change.
#[derive(Debug, Default)]
pub(super) struct FollowedTopics {
    version: LogIndex,
    topics: u64,
    rules: Option<Arc<RuleTable>>,
    settings: Arc<AuthorizationSettings>,
}

impl FollowedTopics {
    /// Takes over the metadata and settings. Returns whether topics or rights differ from the last
    /// ones.
    pub(super) fn changed(
        &mut self,
        metadata: &Metadata,
        settings: Arc<AuthorizationSettings>,
    ) -> bool {
        let same_settings = Arc::ptr_eq(&self.settings, &settings);
        if same_settings && self.rules.is_some() && self.version == metadata.version() {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        for topic in metadata.topics() {
            (topic.id, topic.partition_count()).hash(&mut hasher);
        }
        let (topics, rules) = (hasher.finish(), metadata.rules());
        let same_rules = |known: &Arc<RuleTable>| Arc::ptr_eq(known, rules);
        let same_topics = same_settings && topics == self.topics;
        let is_same = same_topics && self.rules.as_ref().is_some_and(same_rules);
        *self = Self {
            version: metadata.version(),
            topics,
            rules: Some(Arc::clone(rules)),
            settings,
        };
        !is_same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_settings_of_authorization_changes_the_topics_of_patterns() {
        let metadata = Metadata::default();
        let mut followed = FollowedTopics::default();
        let settings = Arc::new(AuthorizationSettings::default());
        assert!(followed.changed(&metadata, Arc::clone(&settings)));
        assert!(!followed.changed(&metadata, Arc::clone(&settings)));
        let newer = Arc::new(AuthorizationSettings::default());
        assert!(followed.changed(&metadata, Arc::clone(&newer)));
        assert!(!followed.changed(&metadata, newer));
    }
}
