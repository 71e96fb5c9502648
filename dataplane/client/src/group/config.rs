//! Configuration of a group consumer.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use lograft_core::limits::{
    CONSUMER_REPLY_BYTES, CONSUMER_RETRY_TIMEOUT, GROUP_CONSUMER_COMMIT_INTERVAL,
    GROUP_CONSUMER_COMMIT_INTERVAL_MIN, GROUP_CONSUMER_HEARTBEAT_WAIT_MAX,
    GROUP_CONSUMER_POLL_INTERVAL, GROUP_CONSUMER_POLL_INTERVAL_MIN,
    GROUP_CONSUMER_REBALANCE_TIMEOUT, GROUP_CONSUMER_SESSION_TIMEOUT,
};
use lograft_proto::log::v1 as wire;

use crate::consumer::{ConsumerConfig, OutOfRange, ReadReplica, StartAt};
use crate::error::ClientError;

/// The position in a partition for which the group has no committed offset, or one that is not in
/// the log any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupStart {
    /// The first record in the log.
    #[default]
    Earliest,
    /// The end of the log when the partition is first read, or when it has a leader again. It is
    /// committed as soon as it is known, unless commits are manual, so that records that are
    /// written before the first commit are not skipped by another member. With manual commits it is
    /// part of the first [`commit`](super::GroupConsumer::commit), which the application should
    /// make after it was assigned the partition.
    Latest,
    /// Fail. The partition is not read until [`GroupConsumer::seek`](super::GroupConsumer::seek).
    Error,
}

/// How partitions are divided among the members of a group. The assignor of most members is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Even, and partitions move only if they must.
    #[default]
    Sticky,
    /// Topic by topic, a range of partitions for each member: partitions of the same number of
    /// several topics are read by the same member.
    Range,
}

/// Group, topics and behaviour of a [`GroupConsumer`](super::GroupConsumer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Group name: 1 to 249 of `A-Z a-z 0-9 . _ -`.
    pub group: String,
    /// Topics to read. There must be one, or a pattern.
    pub topics: Vec<String>,
    /// Topics whose whole name matches this regular expression (RE2 syntax) are read too, also
    /// those that are created later.
    pub topic_pattern: Option<String>,
    /// Name of the member, which no other member may have. Unset takes a random one.
    pub member_id: Option<String>,
    /// Name that survives restarts (static membership): a member that joins with it replaces the
    /// former one and keeps its partitions. [`GroupConsumer::close`](super::GroupConsumer::close)
    /// then does not leave the group; the partitions wait for the restart until the session ends.
    pub instance_id: Option<String>,
    /// Name of the program, for people.
    pub client_id: String,
    /// How partitions are divided.
    pub assignor: Assignor,
    /// Time without a heartbeat after which the coordinator removes the member.
    pub session_timeout: Duration,
    /// Time that the member may take to give up partitions: the application must ask for the next
    /// records within it. A member that takes longer is removed from the group.
    pub rebalance_timeout: Duration,
    /// Time after which the member leaves the group if the application does not ask for records:
    /// it hangs, and others shall read its partitions.
    pub poll_interval: Duration,
    /// Interval of automatic commits; unset for manual ones.
    pub auto_commit: Option<Duration>,
    /// Start position where there is no committed offset, or one that is not in the log.
    pub start: GroupStart,
    /// The replica to read.
    pub replica: ReadReplica,
    /// Maximum size of one reply with records, in bytes of batches.
    pub reply_max_bytes: u32,
    /// Time without progress after which a failure that is retried is reported.
    pub retry_timeout: Duration,
}

impl GroupConfig {
    /// A member of `group` that reads `topics`, with automatic commits.
    pub fn new<T, S>(group: impl Into<String>, topics: T) -> Self
    where
        T: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            group: group.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            topic_pattern: None,
            member_id: None,
            instance_id: None,
            client_id: String::new(),
            assignor: Assignor::Sticky,
            session_timeout: GROUP_CONSUMER_SESSION_TIMEOUT,
            rebalance_timeout: GROUP_CONSUMER_REBALANCE_TIMEOUT,
            poll_interval: GROUP_CONSUMER_POLL_INTERVAL,
            auto_commit: Some(GROUP_CONSUMER_COMMIT_INTERVAL),
            start: GroupStart::Earliest,
            replica: ReadReplica::Leader,
            reply_max_bytes: CONSUMER_REPLY_BYTES,
            retry_timeout: CONSUMER_RETRY_TIMEOUT,
        }
    }

    /// Checks the bounds that are the client's own. Those of the protocol are the coordinator's.
    pub(super) fn validate(&self) -> Result<(), ClientError> {
        if self.reply_max_bytes == 0 {
            return Err(ClientError::config("reply_max_bytes", "more than 0", 0));
        }
        let at_least = |field, got: Duration, min: Duration| {
            if got >= min {
                return Ok(());
            }
            let bound = format!("at least {min:?}");
            Err(ClientError::config(field, bound, format_args!("{got:?}")))
        };
        let poll_min = GROUP_CONSUMER_POLL_INTERVAL_MIN;
        at_least("poll_interval", self.poll_interval, poll_min)?;
        if let Some(interval) = self.auto_commit {
            at_least("auto_commit", interval, GROUP_CONSUMER_COMMIT_INTERVAL_MIN)?;
        }
        Ok(())
    }

    /// The request to join. A time that does not fit is above the coordinator's bounds anyway.
    pub(super) fn join_request(&self, member_id: &str) -> wire::JoinGroupRequest {
        let assignor = match self.assignor {
            Assignor::Sticky => wire::Assignor::Sticky,
            Assignor::Range => wire::Assignor::Range,
        };
        wire::JoinGroupRequest {
            group: self.group.clone(),
            member_id: member_id.to_owned(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            topics: self.topics.clone(),
            topic_pattern: self.topic_pattern.clone(),
            assignor: assignor.into(),
            session_timeout_ms: millis(self.session_timeout),
            rebalance_timeout_ms: millis(self.rebalance_timeout),
            ..wire::JoinGroupRequest::default()
        }
    }

    /// How long a heartbeat waits for a change in a session of this length.
    pub(super) fn heartbeat_wait(session: Duration) -> Duration {
        (session / 3).min(GROUP_CONSUMER_HEARTBEAT_WAIT_MAX)
    }

    pub(super) fn member_id(&self) -> String {
        self.member_id.clone().unwrap_or_else(random_id)
    }

    /// How the partitions of a topic are read.
    pub(super) fn reading(&self, topic: &str) -> ConsumerConfig {
        ConsumerConfig {
            out_of_range: match self.start {
                GroupStart::Earliest => OutOfRange::Earliest,
                GroupStart::Latest => OutOfRange::Latest,
                GroupStart::Error => OutOfRange::Error,
            },
            replica: self.replica,
            reply_max_bytes: self.reply_max_bytes,
            retry_timeout: self.retry_timeout,
            ..ConsumerConfig::new(topic, StartAt::Earliest)
        }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// 128 random bits: the keys of the hasher are from the operating system.
fn random_id() -> String {
    let random = RandomState::new();
    format!(
        "{:016x}{:016x}",
        random.hash_one(0_u8),
        random.hash_one(1_u8)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_below_their_bounds_are_refused() {
        let good = GroupConfig::new("g", ["t"]);
        good.validate().unwrap();
        let refused = |config: GroupConfig| config.validate().unwrap_err().to_string();
        let poll_interval = Duration::from_millis(99);
        assert_eq!(
            refused(GroupConfig {
                poll_interval,
                ..good.clone()
            }),
            "poll_interval must be at least 100ms, got 99ms"
        );
        let auto_commit = Some(Duration::ZERO);
        assert_eq!(
            refused(GroupConfig {
                auto_commit,
                ..good.clone()
            }),
            "auto_commit must be at least 10ms, got 0ns"
        );
        let reply_max_bytes = 0;
        assert!(
            refused(GroupConfig {
                reply_max_bytes,
                ..good
            })
            .starts_with("reply_max_bytes")
        );
    }

    #[test]
    fn member_ids_are_random_and_valid() {
        let config = GroupConfig::new("g", ["t"]);
        let ids: std::collections::BTreeSet<_> = (0..100).map(|_| config.member_id()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32));
    }

    #[test]
    fn a_lost_heartbeat_leaves_time_for_two_more() {
        let wait = |seconds| GroupConfig::heartbeat_wait(Duration::from_secs(seconds));
        assert_eq!(wait(6), Duration::from_secs(2));
        assert_eq!(wait(1800), GROUP_CONSUMER_HEARTBEAT_WAIT_MAX);
    }
}
