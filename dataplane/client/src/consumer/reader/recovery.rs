//! Recovery of a reader from failures: classification, back-off, out-of-range positions.

use lograft_core::Reason;
use lograft_core::limits::CONSUMER_CORRUPT_MAX_COUNT;
use lograft_core::record_batch::BatchError;
use tokio::time::{Instant, sleep};

use super::{Identity, PartitionReader, Seen};
use crate::consumer::config::{OutOfRange, StartAt};
use crate::consumer::partition_stream::Source;
use crate::error::ClientError;

impl PartitionReader {
    pub(super) const fn reset_failures(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    /// Closes the stream and waits until a retry makes sense. Fails if `error` is not retryable, or
    /// after the retry timeout without progress.
    pub(super) async fn recover(&mut self, error: ClientError) -> Result<(), ClientError> {
        let stream = self.stream.take();
        self.fetched.clear();
        if error.reason() == Some(Reason::OffsetOutOfRange) {
            return self.on_out_of_range(error);
        }
        if error.reason() == Some(Reason::TopicRecreated) {
            return self.on_recreated(error).await;
        }
        if let ClientError::Batch(cause) = &error {
            // Corruption on the way to the client is cured by fetching again; a batch that the node
            // stores or encodes wrongly is not, so the number of retries is bounded.
            self.corrupt += 1;
            let is_corrupt = matches!(cause.as_ref(), BatchError::Crc { .. });
            if !is_corrupt || self.corrupt > CONSUMER_CORRUPT_MAX_COUNT {
                return Err(error);
            }
        } else if !error.is_retryable() && !self.is_lagging_node(&error) {
            return Err(error);
        }
        if let Some(stream) = stream {
            match &stream.source {
                Source::Leader(leader) => self.update_leader(*leader, &error),
                Source::Replica(place) => self.avoid(place.replica.node, &error),
            }
            // A stream that was open for long is progress, even if it only waited for records.
            if stream.was_stable() {
                self.reset_failures();
            }
        }
        self.failures += 1;
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let after = self.config.retry_timeout;
        if since.elapsed() >= after {
            let last = Some(Box::new(error));
            return Err(ClientError::Timeout {
                action: "consume",
                after,
                last,
            });
        }
        tracing::debug!(
            topic = %self.config.topic,
            partition = %self.partition,
            %error,
            "partition read failed, will retry"
        );
        // The first retry goes at once to the leader that the error named, or to another replica.
        let has_next_node = std::mem::take(&mut self.has_next_node);
        if !has_next_node || self.failures > 1 {
            sleep(self.pool().backoff(self.failures, Some(&error))).await;
            self.pool().refresh().await;
        }
        Ok(())
    }

    /// Whether a node does not know a partition that exists, because its metadata lags behind.
    fn is_lagging_node(&self, error: &ClientError) -> bool {
        let is_unknown = matches!(
            error.reason(),
            Some(Reason::UnknownTopic | Reason::UnknownPartition)
        );
        let partition = self.partition.get() as usize;
        let metadata = self.pool().metadata();
        let topic = metadata.topic(&self.config.topic);
        is_unknown && topic.is_some_and(|topic| topic.partitions.len() > partition)
    }

    /// The position belongs to a topic that was deleted. As with a position that the log does not
    /// have any more, the reset policy decides, unless the caller has named the topic's id.
    async fn on_recreated(&mut self, error: ClientError) -> Result<(), ClientError> {
        if self.identity == Identity::Id {
            // The cached topic may be the older one of the two.
            let name = &self.config.topic;
            let cached = self.pool().metadata().topic(name).map(|topic| topic.id);
            if let Some(cached) = cached {
                self.pool().forget_topic(name, cached);
            }
            return Err(error);
        }
        self.position = match self.config.out_of_range {
            OutOfRange::Error => return Err(error),
            OutOfRange::Earliest => StartAt::Earliest,
            OutOfRange::Latest => StartAt::Latest,
        };
        let name = &self.config.topic;
        self.pool().forget_topic(name, self.topic_id);
        let topic = self.pool().topic(name).await?;
        if self.topic_id == topic.id {
            // The node that replied does not know the new topic yet.
            self.pool().forget_topic(name, topic.id);
            sleep(self.pool().backoff(1, None)).await;
        }
        self.topic_id = topic.id;
        self.end = None;
        self.seen = Seen::default();
        Ok(())
    }

    fn on_out_of_range(&mut self, error: ClientError) -> Result<(), ClientError> {
        let range = error.valid_offsets();
        // The log may have lost its end for good, if an operator has accepted that.
        self.seen = Seen::default();
        self.position = match self.config.out_of_range {
            OutOfRange::Error => return Err(error),
            OutOfRange::Earliest => {
                range.map_or(StartAt::Earliest, |(start, _)| StartAt::Offset(start))
            }
            OutOfRange::Latest => range.map_or(StartAt::Latest, |(_, end)| StartAt::Offset(end)),
        };
        Ok(())
    }
}
