//! The futures that a caller gets for sent records.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lograft_core::PartitionId;

use super::outcome::{Outcome, OutcomeFuture};
use super::record::{BatchMetadata, RecordMetadata};
use crate::error::ClientError;

/// A future that resolves once a record is stored or has failed. Dropping it does not cancel the
/// record.
#[derive(Debug)]
#[must_use = "it resolves once the record is stored; `flush` waits for all records together"]
pub struct Delivery {
    future: OutcomeFuture,
    index: u32,
}

impl Delivery {
    pub(super) const fn new(outcome: Arc<Outcome>, index: u32) -> Self {
        Self {
            future: OutcomeFuture::new(outcome),
            index,
        }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        self.future.poll_outcome(cx).map_ok(|ack| RecordMetadata {
            topic: Arc::clone(&self.future.outcome.topic),
            partition: self.future.outcome.partition,
            offset: ack.base_offset.map(|base| base.plus(index)),
            leader_epoch: ack.leader_epoch,
            durability: ack.durability,
            append_time_ms: ack.append_time_ms,
        })
    }
}

/// A future that resolves once consecutive records of one batch are stored or have failed.
#[derive(Debug)]
#[must_use = "it resolves once the records are stored; `flush` waits for all records together"]
pub struct BatchDelivery {
    future: OutcomeFuture,
    first: u32,
    record_count: u32,
}

impl BatchDelivery {
    pub(super) const fn new(outcome: Arc<Outcome>, first: u32) -> Self {
        Self {
            future: OutcomeFuture::new(outcome),
            first,
            record_count: 1,
        }
    }

    /// Whether the record at `index` of the batch of `outcome` directly follows these records.
    pub(super) fn is_followed_by(&self, outcome: &Arc<Outcome>, index: u32) -> bool {
        Arc::ptr_eq(&self.future.outcome, outcome) && index == self.first + self.record_count
    }

    /// Adds the next record.
    pub(super) const fn extend(&mut self) {
        self.record_count += 1;
    }

    /// Number of records.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Partition of the records.
    pub fn partition(&self) -> PartitionId {
        self.future.outcome.partition
    }
}

impl Future for BatchDelivery {
    type Output = Result<BatchMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (first, record_count) = (self.first, self.record_count);
        self.future.poll_outcome(cx).map_ok(|ack| BatchMetadata {
            topic: Arc::clone(&self.future.outcome.topic),
            partition: self.future.outcome.partition,
            base_offset: ack.base_offset.map(|base| base.plus(first)),
            record_count,
            leader_epoch: ack.leader_epoch,
            durability: ack.durability,
            append_time_ms: ack.append_time_ms,
        })
    }
}

/// Collects the deliveries of many records: one per run of records that are consecutive in a batch.
#[derive(Debug, Default)]
pub(super) struct DeliveryRuns {
    deliveries: Vec<BatchDelivery>,
    /// The last run of each partition.
    last: HashMap<usize, usize>,
    /// Partition and run of the previous record; mostly the next record extends the same run.
    current: Option<(usize, usize)>,
}

impl DeliveryRuns {
    pub(super) fn add(&mut self, partition: usize, outcome: Option<&Arc<Outcome>>, index: u32) {
        let Some(outcome) = outcome else { return };
        let known = match self.current {
            Some((current, run)) if current == partition => Some(run),
            _ => self.last.get(&partition).copied(),
        };
        let extended = known
            .and_then(|run| Some((run, self.deliveries.get_mut(run)?)))
            .filter(|(_, delivery)| delivery.is_followed_by(outcome, index));
        let run = if let Some((run, delivery)) = extended {
            delivery.extend();
            run
        } else {
            self.deliveries
                .push(BatchDelivery::new(Arc::clone(outcome), index));
            let run = self.deliveries.len() - 1;
            self.last.insert(partition, run);
            run
        };
        self.current = Some((partition, run));
    }

    pub(super) fn into_deliveries(self) -> Vec<BatchDelivery> {
        self.deliveries
    }
}
