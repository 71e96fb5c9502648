//! The JSON of consumer groups.

use std::sync::LazyLock;

use lograft_core::consumer_group::{Assignor, GroupState, MemberId};
use lograft_core::limits::{COMMIT_OFFSETS_MAX_COUNT, GROUP_SUBSCRIBED_TOPICS_MAX_COUNT};
use lograft_core::metadata::TopicId;
use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::http::bounded_list::BoundedList;
use crate::api::http::content::{ContentForms, Form, HeaderField};
use crate::api::http::number::Int;
use crate::api::http::problem::Problem;
use crate::api::http::record::ReturnedRecord;
use crate::error::ApiError;
use crate::serving::consumer_groups::page::Place as _;
use crate::serving::consumer_groups::poll::PollStart;
use crate::serving::consumer_groups::request::{
    AnsweredPartition, GroupDescription, ListedGroup, MemberAnswer, MemberDescription,
    OffsetToCommit, StoredOffset,
};

// Requests that a test sends, in this order.
pub(super) static JOIN_EXAMPLE: LazyLock<Value> =
    LazyLock::new(|| json!({"member_id": "worker-1", "topics": ["clicks"]}));
pub(super) static HEARTBEAT_EXAMPLE: LazyLock<Value> =
    LazyLock::new(|| json!({"generation": "1", "max_wait_ms": 0}));
pub(super) static POLL_EXAMPLE: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "generation": "1",
        "commit": [{"topic": "clicks", "partition": 0, "offset": "0"}],
        "max_records": 100,
        "max_wait_ms": 1000,
        "value_as": "json",
    })
});
pub(super) static COMMIT_EXAMPLE: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "member_id": "worker-1",
        "generation": "1",
        "offsets": [{"topic": "clicks", "partition": 0, "offset": "0", "metadata": "any text"}],
    })
});

/// How partitions are divided among members.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Assignor)]
pub(crate) enum AssignorName {
    /// Evenly, and a partition moves only if it must.
    Sticky,
    /// Topic by topic, a range of partitions for each member.
    Range,
}

impl From<AssignorName> for Assignor {
    fn from(name: AssignorName) -> Self {
        match name {
            AssignorName::Sticky => Self::Sticky,
            AssignorName::Range => Self::Range,
        }
    }
}

impl From<Assignor> for AssignorName {
    fn from(assignor: Assignor) -> Self {
        match assignor {
            Assignor::Sticky => Self::Sticky,
            Assignor::Range => Self::Range,
        }
    }
}

/// A new member. It subscribes to topics by name, by a pattern, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinGroup {
    /// A name that no other member has; a random UUID by default. Letters, digits, '.', '_' and
    /// '-', at most 64.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub(super) member_id: Option<String>,
    /// A name that survives restarts of the member, of the same characters.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub(super) instance_id: Option<String>,
    /// A name of the program, for people; at most 64 bytes.
    #[serde(default)]
    pub(super) client_id: String,
    /// Names of topics.
    #[serde(default, deserialize_with = "topics")]
    #[schema(max_items = 1000)]
    pub(super) topics: Vec<String>,
    /// A regular expression (RE2 syntax) that the whole name of a topic matches; at most 256 bytes.
    #[serde(default)]
    pub(super) topic_pattern: Option<String>,
    /// `sticky` by default. The assignor of most members is used.
    #[serde(default)]
    #[schema(inline)]
    pub(super) assignor: Option<AssignorName>,
    /// How long the member stays in the group without a call, milliseconds; 30000 by default.
    #[serde(default)]
    #[schema(minimum = 1000, maximum = 1_800_000)]
    pub(super) session_timeout_ms: Option<u32>,
    /// How long the member may take to give up partitions, milliseconds; 60000 by default.
    #[serde(default)]
    #[schema(minimum = 1000, maximum = 1_800_000)]
    pub(super) rebalance_timeout_ms: Option<u32>,
}

fn topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let list = BoundedList::new(("topics", "names"), GROUP_SUBSCRIBED_TOPICS_MAX_COUNT);
    deserializer.deserialize_seq(list)
}

/// A sign of life.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatBody {
    /// The generation of the last answer: the member reads the partitions of that answer, and no
    /// others any more.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) generation: Int<u64>,
    /// How long to wait for another assignment, milliseconds; 10000 by default, at most 30000 and
    /// two thirds of the session.
    #[serde(default)]
    pub(super) max_wait_ms: Option<u32>,
    /// The instance id with which the member joined.
    #[serde(default)]
    pub(super) instance_id: Option<String>,
}

/// An offset to commit. A committed offset that was read may be sent as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOffset {
    pub(super) topic: String,
    /// The id of the topic: one that was created again under the same name is refused with
    /// TOPIC_RECREATED.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    topic_id: Option<Int<u64>>,
    partition: u32,
    /// The next offset to read: that of the last processed record plus 1.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    offset: Int<u64>,
    /// Any text, at most 4096 bytes.
    #[serde(default)]
    metadata: String,
    /// Ignored.
    #[serde(default, rename = "committed_at_ms")]
    #[schema(value_type = Option<String>)]
    _committed_at_ms: Option<IgnoredAny>,
}

fn new_offsets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NewOffset>, D::Error> {
    let list = BoundedList::new(("offsets", "offsets"), COMMIT_OFFSETS_MAX_COUNT);
    deserializer.deserialize_seq(list)
}

/// The topic and partition of an offset.
pub(super) type Place = (String, u32);

/// The offsets of a request, and the partition of each.
pub(super) fn to_commit(offsets: Vec<NewOffset>) -> (Vec<Place>, Vec<OffsetToCommit>) {
    let offset = |offset: NewOffset| {
        let NewOffset {
            topic,
            topic_id,
            partition,
            offset: Int(offset),
            metadata,
            _committed_at_ms: _,
        } = offset;
        let place = (topic.clone(), partition);
        let offset = OffsetToCommit {
            topic,
            topic_id: topic_id.map(|Int(id)| TopicId(id)),
            partition,
            offset,
            metadata,
        };
        (place, offset)
    };
    offsets.into_iter().map(offset).unzip()
}

/// Offsets to commit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitBody {
    /// The member. Without one, offsets are set from outside: the group must have no members.
    #[serde(default)]
    pub(super) member_id: Option<String>,
    /// The instance id with which the member joined.
    #[serde(default)]
    pub(super) instance_id: Option<String>,
    /// The generation of the last answer to the member.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    pub(super) generation: Option<Int<u64>>,
    /// The number of the member's commit, greater than those of all its commits before; best the
    /// time in microseconds since the Unix epoch. A commit below one that is in effect is a late
    /// duplicate, and is refused with COMMIT_SUPERSEDED. Without it late duplicates are not
    /// noticed, and set offsets back.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    pub(super) sequence: Option<Int<u64>>,
    #[serde(deserialize_with = "new_offsets")]
    #[schema(min_items = 1, max_items = 1000)]
    pub(super) offsets: Vec<NewOffset>,
    /// Ignored: a page of offsets may be sent as it was read.
    #[serde(default, rename = "next_page_token")]
    #[schema(value_type = Option<String>)]
    pub(super) _next_page_token: Option<IgnoredAny>,
}

/// Where a partition is read from if its committed offset is missing or deleted.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StartName {
    Earliest,
    Latest,
    Error,
}

impl From<StartName> for PollStart {
    fn from(name: StartName) -> Self {
        match name {
            StartName::Earliest => Self::Earliest,
            StartName::Latest => Self::Latest,
            StartName::Error => Self::Error,
        }
    }
}

/// A poll of a member.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PollBody {
    /// The generation of the last answer to the member.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) generation: Int<u64>,
    /// `commit` of the last answer, if its records are processed.
    #[serde(default, deserialize_with = "new_offsets")]
    #[schema(max_items = 1000)]
    pub(super) commit: Vec<NewOffset>,
    /// `sequence` of the last answer. A poll that arrives late, after one with a greater number,
    /// does not set offsets back. Without it, it does.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    pub(super) sequence: Option<Int<u64>>,
    /// Where to read a partition without a committed offset, or whose committed offset is not in
    /// the log any more: at the oldest record (the default), behind the newest one, or not at all.
    #[serde(default)]
    #[schema(inline)]
    pub(super) start: Option<StartName>,
    /// Most records to return; 500 by default.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100_000)]
    pub(super) max_records: Option<u32>,
    /// Most bytes of records to return, about; 524288 by default, at most 2097152.
    #[serde(default)]
    pub(super) max_bytes: Option<u32>,
    /// How long to wait for records or another assignment, milliseconds; 10000 by default, at most
    /// 30000 and two thirds of the session.
    #[serde(default)]
    pub(super) max_wait_ms: Option<u32>,
    /// The instance id with which the member joined.
    #[serde(default)]
    pub(super) instance_id: Option<String>,
    /// Form of keys.
    #[serde(default)]
    #[schema(inline)]
    pub(super) key_as: Option<Form>,
    /// Form of values and of the values of headers.
    #[serde(default)]
    #[schema(inline)]
    pub(super) value_as: Option<Form>,
}

/// A partition that a member reads.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AssignedPartition)]
pub(crate) struct Assigned {
    topic: String,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    topic_id: Int<u64>,
    partition: u32,
    /// The next offset to read; null if the group has committed none.
    #[schema(value_type = Option<String>, pattern = "^[0-9]+$")]
    committed_offset: Option<Int<u64>>,
    /// The generation since which the member has the partition.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    since_generation: Int<u64>,
}

impl From<AnsweredPartition> for Assigned {
    fn from(partition: AnsweredPartition) -> Self {
        let AnsweredPartition {
            topic,
            at,
            committed,
            since,
        } = partition;
        Self {
            topic,
            topic_id: Int(at.topic.0),
            partition: at.partition.get(),
            committed_offset: committed.map(Int),
            since_generation: Int(since.get()),
        }
    }
}

/// A member and its assignment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberStatus {
    member_id: String,
    /// To be sent with the next heartbeat or poll, and with commits.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    generation: Int<u64>,
    /// All partitions that the member reads from now on.
    partitions: Vec<Assigned>,
    /// Whether the member gets further partitions once others have given them up.
    incomplete: bool,
    session_timeout_ms: u32,
    rebalance_timeout_ms: u32,
    /// The node that coordinates the group.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    coordinator_node: Int<u64>,
}

impl MemberStatus {
    pub(super) fn new(member: &MemberId, answer: MemberAnswer) -> Self {
        let MemberAnswer {
            generation,
            partitions,
            is_incomplete,
            session_timeout_ms,
            rebalance_timeout_ms,
            node,
        } = answer;
        Self {
            member_id: member.to_string(),
            generation: Int(generation.get()),
            partitions: partitions.into_iter().map(Assigned::from).collect(),
            incomplete: is_incomplete,
            session_timeout_ms,
            rebalance_timeout_ms,
            coordinator_node: Int(node.get()),
        }
    }
}

/// The outcome of one partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionOutcome {
    topic: String,
    partition: u32,
    /// Null if it succeeded.
    error: Option<Problem>,
}

/// The outcomes of a commit, beside the partitions that the request named.
pub(super) fn outcomes(
    places: Vec<Place>,
    outcomes: Vec<Result<(), ApiError>>,
) -> Vec<PartitionOutcome> {
    let outcomes = places.into_iter().zip(outcomes);
    let outcome = |((topic, partition), outcome): (Place, Result<(), ApiError>)| PartitionOutcome {
        topic,
        partition,
        error: outcome.err().map(|error| Problem::of(&error.into())),
    };
    outcomes.map(outcome).collect()
}

/// A partition that could not be read.
pub(super) fn refused(partition: AnsweredPartition, error: ApiError) -> PartitionOutcome {
    PartitionOutcome {
        topic: partition.topic,
        partition: partition.at.partition.get(),
        error: Some(Problem::of(&error.into())),
    }
}

/// The outcome of each offset.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommitAnswer {
    /// In the order of the request.
    pub(super) results: Vec<PartitionOutcome>,
}

/// A committed offset.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupOffset {
    topic: String,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    topic_id: Int<u64>,
    partition: u32,
    /// The next offset to read.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    offset: Int<u64>,
    metadata: String,
    /// Milliseconds since the Unix epoch.
    #[schema(value_type = String, pattern = "^-?[0-9]+$")]
    committed_at_ms: Int<i64>,
}

impl From<StoredOffset> for GroupOffset {
    fn from(stored: StoredOffset) -> Self {
        let StoredOffset {
            topic,
            topic_id,
            partition,
            offset,
            metadata,
            committed_at_ms,
        } = stored;
        Self {
            topic,
            topic_id: Int(topic_id.0),
            partition: partition.get(),
            offset: Int(offset),
            metadata,
            committed_at_ms: Int(committed_at_ms),
        }
    }
}

/// A page of committed offsets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupOffsets {
    /// By topic id and partition.
    pub(super) offsets: Vec<GroupOffset>,
    /// For the next page; null if this was the last one.
    pub(super) next_page_token: Option<String>,
}

/// Offsets that are forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeletedOffsets {
    /// The number of offsets.
    pub(super) deleted_count: u32,
}

/// An offset for the `commit` of the next poll.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToCommit {
    pub(super) topic: String,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) topic_id: Int<u64>,
    pub(super) partition: u32,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub(super) offset: Int<u64>,
}

/// Records of a member, and its assignment.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of PolledPage")]
pub(crate) struct PollAnswer {
    /// For the next poll.
    #[schema(pattern = "^[0-9]+$")]
    generation: String,
    /// All partitions that the member reads from now on.
    partitions: Vec<Assigned>,
    /// Whether the member gets further partitions once others have given them up.
    incomplete: bool,
    /// How long the member stays in the group without a call, milliseconds.
    session_timeout_ms: u32,
    /// The outcome of each offset in `commit` of the request.
    committed: Vec<PartitionOutcome>,
    /// In order within each partition.
    records: Vec<PolledRecordFields>,
    /// For `commit` of the next poll, once all of the records are processed.
    commit: Vec<ToCommit>,
    /// For the next poll: the number of its commit.
    #[schema(pattern = "^[0-9]+$")]
    sequence: String,
    /// Partitions that could not be read. The next poll tries again.
    errors: Vec<PartitionOutcome>,
}

#[derive(Serialize)]
pub(super) struct PolledPage<'a> {
    pub(super) generation: Int<u64>,
    pub(super) partitions: Vec<Assigned>,
    pub(super) incomplete: bool,
    pub(super) session_timeout_ms: u32,
    pub(super) committed: Vec<PartitionOutcome>,
    pub(super) records: Vec<PolledRecord<'a>>,
    pub(super) commit: Vec<ToCommit>,
    pub(super) sequence: Int<u64>,
    pub(super) errors: Vec<PartitionOutcome>,
}

/// A record of one of the member's partitions.
#[derive(ToSchema)]
#[schema(as = PolledRecord)]
#[expect(dead_code, reason = "the schema of PolledRecord")]
pub(crate) struct PolledRecordFields {
    topic: String,
    partition: u32,
    #[schema(pattern = "^[0-9]+$", example = "42")]
    offset: String,
    /// The producer's timestamp, milliseconds since the Unix epoch.
    #[schema(pattern = "^-?[0-9]+$", example = "1767225600000")]
    timestamp_ms: Option<String>,
    /// Time of the append by the leader's clock, milliseconds since the Unix epoch.
    #[schema(pattern = "^-?[0-9]+$", example = "1767225600000")]
    append_time_ms: String,
    /// The key; null if there is none.
    key: Option<ContentForms>,
    /// The value; null if there is none.
    value: Option<ContentForms>,
    headers: Vec<HeaderField>,
}

#[derive(Serialize)]
pub(super) struct PolledRecord<'a> {
    pub(super) topic: &'a str,
    #[serde(flatten)]
    pub(super) record: ReturnedRecord<'a>,
}

/// State of a group.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = GroupState)]
pub(crate) enum State {
    /// It has no members, and offsets.
    Empty,
    /// Partitions are moving between members.
    Rebalancing,
    /// All members have the partitions that they should have.
    Stable,
}

impl From<GroupState> for State {
    fn from(state: GroupState) -> Self {
        match state {
            GroupState::Empty => Self::Empty,
            GroupState::Rebalancing => Self::Rebalancing,
            GroupState::Stable => Self::Stable,
        }
    }
}

/// A group in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupSummary {
    group: String,
    state: State,
    member_count: u32,
}

pub(super) fn summary(listed: ListedGroup) -> GroupSummary {
    let ListedGroup {
        group,
        state,
        member_count,
    } = listed;
    GroupSummary {
        group,
        state: state.into(),
        member_count,
    }
}

/// A page of groups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupPage {
    /// In the order of their names.
    pub(super) groups: Vec<GroupSummary>,
    /// For the next page; null if this was the last one.
    pub(super) next_page_token: Option<String>,
}

/// A partition that a member has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemberPartition)]
pub(crate) struct HeldPartition {
    topic: String,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    topic_id: Int<u64>,
    partition: u32,
    /// Whether the member is about to give it up.
    revoking: bool,
}

/// A member of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupMember {
    member_id: String,
    instance_id: Option<String>,
    client_id: String,
    /// The user that joined.
    principal: String,
    /// The topics that it asked for.
    topics: Vec<String>,
    topic_pattern: Option<String>,
    /// The partitions that it has, those that it gives up included.
    partitions: Vec<HeldPartition>,
}

impl From<MemberDescription> for GroupMember {
    fn from(member: MemberDescription) -> Self {
        let MemberDescription { spec, partitions } = member;
        let partitions = partitions.into_iter().map(|partition| HeldPartition {
            topic: partition.topic,
            topic_id: Int(partition.at.topic.0),
            partition: partition.at.partition.get(),
            revoking: partition.is_revoking,
        });
        Self {
            member_id: spec.id.to_string(),
            instance_id: spec.instance_id,
            client_id: spec.client_id,
            principal: spec.principal,
            topics: spec.subscription.topics.into_iter().collect(),
            topic_pattern: spec.subscription.pattern,
            partitions: partitions.collect(),
        }
    }
}

/// A page of a group: its members, then its offsets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupStatus {
    group: String,
    state: State,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    generation: Int<u64>,
    #[schema(inline)]
    assignor: AssignorName,
    /// By id.
    members: Vec<GroupMember>,
    /// By topic id and partition, without `metadata`.
    offsets: Vec<GroupOffset>,
    /// For the next page; null if this was the last one.
    next_page_token: Option<String>,
    /// The node that coordinates it.
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    coordinator_node: Int<u64>,
}

impl GroupStatus {
    pub(super) fn new(group: String, description: GroupDescription) -> Self {
        let GroupDescription {
            state,
            generation,
            assignor,
            members,
            offsets,
            next,
            node,
        } = description;
        Self {
            group,
            state: state.into(),
            generation: Int(generation.get()),
            assignor: assignor.into(),
            members: members.into_iter().map(GroupMember::from).collect(),
            offsets: offsets.into_iter().map(GroupOffset::from).collect(),
            next_page_token: next.map(|place| place.token()),
            coordinator_node: Int(node.get()),
        }
    }
}
