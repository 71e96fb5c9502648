//! The readers of a member's partitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{AbortHandle, Abortable, BoxStream, SelectAll};
use lograft_core::limits::GROUP_CONSUMER_REOPEN_DELAY;
use lograft_core::{Offset, Reason};
use tokio::time::Instant;

use super::config::{GroupConfig, GroupStart};
use super::membership::{Cursor, Held};
use super::partition::GroupPartition;
use super::record::GroupBatch;
use crate::consumer::{AssignedReaders, ConsumerConfig, ReadItem, StartAt};
use crate::error::ClientError;

/// The number of a reader. No two readers of a member have the same, so that an item of a reader
/// that was stopped is known.
type ReaderNumber = u64;
type NumberedItems = BoxStream<'static, (ReaderNumber, Result<ReadItem, ClientError>)>;

/// The readers of the partitions that a member reads now.
pub(super) struct Readers {
    config: GroupConfig,
    open: AssignedReaders,
    /// How the partitions of a topic are read, by topic.
    topics: HashMap<Arc<str>, Arc<ConsumerConfig>>,
    items: SelectAll<NumberedItems>,
    by_number: HashMap<ReaderNumber, Reading>,
    by_partition: BTreeMap<GroupPartition, Running>,
    started_count: ReaderNumber,
}

struct Reading {
    partition: GroupPartition,
    cursor: Arc<Cursor>,
    /// The start position.
    at: StartAt,
    /// Since when the nodes do not know the partition.
    missing_since: Option<Instant>,
}

struct Running {
    number: ReaderNumber,
    stop: AbortHandle,
}

/// Where and when a reader starts.
struct Opening {
    at: StartAt,
    delay: Duration,
    missing_since: Option<Instant>,
}

impl Readers {
    pub(super) fn new(config: GroupConfig, open: AssignedReaders) -> Self {
        Self {
            config,
            open,
            topics: HashMap::new(),
            items: SelectAll::new(),
            by_number: HashMap::new(),
            by_partition: BTreeMap::new(),
            started_count: 0,
        }
    }

    /// Reads a partition from its position, or from where members start without one.
    pub(super) fn start(
        &mut self,
        partition: &GroupPartition,
        held: &Held,
    ) -> Result<(), ClientError> {
        let at = match (held.cursor.position(), held.seek, self.config.start) {
            (Some(offset), _, _) => StartAt::Offset(offset),
            (None, Some(at), _) => at,
            (None, None, GroupStart::Earliest) => StartAt::Earliest,
            (None, None, GroupStart::Latest) => StartAt::Latest,
            (None, None, GroupStart::Error) => {
                return Err(ClientError::NoCommittedOffset {
                    group: self.config.group.clone(),
                    topic: Arc::clone(&partition.topic),
                    partition: partition.partition,
                });
            }
        };
        let opening = Opening {
            at,
            delay: Duration::ZERO,
            missing_since: None,
        };
        self.open(partition, &held.cursor, &opening);
        Ok(())
    }

    fn open(&mut self, partition: &GroupPartition, cursor: &Arc<Cursor>, opening: &Opening) {
        self.stop(partition);
        self.started_count += 1;
        let number = self.started_count;
        let topic = &partition.topic;
        let config = self
            .topics
            .entry(Arc::clone(topic))
            .or_insert_with(|| Arc::new(self.config.reading(topic)));
        let Opening {
            at,
            delay,
            missing_since,
        } = *opening;
        let read = (partition.topic_id, partition.partition);
        let items = self.open.open(Arc::clone(config), read, at, delay);
        let (stop, stopped) = AbortHandle::new_pair();
        let numbered = items.map(move |item| (number, item));
        self.items.push(Abortable::new(numbered, stopped).boxed());
        let reading = Reading {
            partition: partition.clone(),
            cursor: Arc::clone(cursor),
            at,
            missing_since,
        };
        self.by_number.insert(number, reading);
        let running = Running { number, stop };
        self.by_partition.insert(partition.clone(), running);
    }

    /// Stops to read a partition. Batches that were fetched are dropped.
    pub(super) fn stop(&mut self, partition: &GroupPartition) {
        if let Some(running) = self.by_partition.remove(partition) {
            running.stop.abort();
            self.by_number.remove(&running.number);
        }
    }

    /// Stops to read all partitions.
    pub(super) fn stop_all(&mut self) {
        self.by_partition.clear();
        self.by_number.clear();
        self.items = SelectAll::new();
    }

    /// The next batch of any partition; none if there was something else. Waits for ever without
    /// partitions. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<GroupBatch>, ClientError> {
        let Some((number, item)) = self.items.next().await else {
            return std::future::pending().await;
        };
        let Some(reading) = self.by_number.get_mut(&number) else {
            return Ok(None);
        };
        match item {
            Ok(ReadItem::Start(offset)) => {
                reading.cursor.restart_at(Some(offset));
                Ok(None)
            }
            Ok(ReadItem::Batch(batch)) => {
                reading.missing_since = None;
                if reading.cursor.position().is_none() {
                    reading.cursor.restart_at(Some(batch.base_offset()));
                }
                reading.cursor.set_high_watermark(batch.high_watermark());
                Ok(Some(GroupBatch {
                    partition: reading.partition.clone(),
                    cursor: Arc::clone(&reading.cursor),
                    batch,
                }))
            }
            Err(error) => self.on_error(number, error).map(|()| None),
        }
    }

    /// A reader has failed. It is opened again where it was if the failure may pass, which is
    /// reported, and if its topic is gone, which is not: the coordinator takes the partition away
    /// soon.
    fn on_error(&mut self, number: ReaderNumber, error: ClientError) -> Result<(), ClientError> {
        let Some(reading) = self.by_number.remove(&number) else {
            return Ok(());
        };
        let Reading {
            partition,
            cursor,
            at,
            missing_since,
        } = reading;
        self.by_partition.remove(&partition);
        let is_gone = matches!(
            error.reason(),
            Some(Reason::TopicRecreated | Reason::UnknownTopic | Reason::UnknownPartition)
        );
        let since = missing_since.unwrap_or_else(Instant::now);
        let is_expected = is_gone && since.elapsed() < self.config.retry_timeout;
        if is_expected || error.is_retryable() {
            let opening = Opening {
                at: cursor.position().map_or(at, StartAt::Offset),
                delay: GROUP_CONSUMER_REOPEN_DELAY,
                missing_since: is_expected.then_some(since),
            };
            self.open(&partition, &cursor, &opening);
        }
        if is_expected { Ok(()) } else { Err(error) }
    }
}

/// The position of a seek, if it is an offset.
pub(super) const fn seek_offset(at: StartAt) -> Option<Offset> {
    match at {
        StartAt::Offset(offset) => Some(offset),
        StartAt::Earliest | StartAt::Latest | StartAt::Timestamp(_) => None,
    }
}
