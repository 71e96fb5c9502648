//! Acknowledgements: taken as they come, summed up by partition.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};

use futures_util::FutureExt;
use lograft_client::{BatchDelivery, BatchMetadata, ClientError, Durability};

use crate::error::CliError;
use crate::units;

/// Partitions told one by one; more are summed up.
const PARTITIONS_SHOWN_COUNT: usize = 16;

/// What one partition acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    records: u64,
    first: u64,
    last: u64,
}

/// Deliveries under way and what came of the others.
#[derive(Debug)]
pub(crate) struct Acks {
    printed: bool,
    pending: VecDeque<BatchDelivery>,
    spans: BTreeMap<u32, Span>,
    durability: Option<Durability>,
}

impl Acks {
    /// `printed`: each one is told on standard output.
    pub(crate) fn new(printed: bool) -> Self {
        let (pending, spans) = (VecDeque::new(), BTreeMap::new());
        Self {
            printed,
            pending,
            spans,
            durability: None,
        }
    }

    /// Takes what is under way. The producer's buffer bounds how much that can be.
    pub(crate) fn take(&mut self, deliveries: Vec<BatchDelivery>) {
        self.pending.extend(deliveries);
    }

    /// Takes in what has been decided so far, the oldest first.
    pub(crate) fn reap(&mut self) -> Result<Result<(), ClientError>, CliError> {
        while let Some(oldest) = self.pending.front_mut() {
            let Some(outcome) = oldest.now_or_never() else {
                break;
            };
            self.pending.pop_front();
            match outcome {
                Ok(ack) => self.note(&ack)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// Waits for all; answers the first failure.
    pub(crate) async fn reap_all(&mut self) -> Result<Result<(), ClientError>, CliError> {
        let mut outcome = Ok(());
        while let Some(delivery) = self.pending.pop_front() {
            match delivery.await {
                Ok(ack) => self.note(&ack)?,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        Ok(outcome)
    }

    fn note(&mut self, ack: &BatchMetadata) -> Result<(), CliError> {
        self.durability = Some(ack.durability);
        let (first, records) = (ack.base_offset.get(), u64::from(ack.record_count));
        let last = first + records.saturating_sub(1);
        if self.printed {
            let (topic, partition, epoch) = (&ack.topic, ack.partition, ack.leader_epoch);
            let durability = durability_name(ack.durability);
            writeln!(
                io::stdout(),
                "{topic}/{partition} offsets {first}-{last} epoch {epoch} {durability}"
            )
            .map_err(|source| CliError::Output { source })?;
        }
        let span = Span {
            records,
            first,
            last,
        };
        let known = self
            .spans
            .entry(ack.partition.get())
            .or_insert(Span { records: 0, ..span });
        known.records += records;
        known.first = known.first.min(first);
        known.last = known.last.max(last);
        Ok(())
    }

    /// How safe it is, and where it stands.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(durability) = self.durability {
            let sentence = match durability {
                Durability::MajorityFsync => "on the disks of a majority of replicas",
                Durability::Unspecified => "with unknown durability",
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "  acknowledged {sentence}");
        }
        if self.spans.len() > PARTITIONS_SHOWN_COUNT {
            let _ = writeln!(text, "  on {} partitions", self.spans.len());
            return text;
        }
        for (partition, span) in &self.spans {
            let records = units::count(span.records);
            let plural = if span.records == 1 { "" } else { "s" };
            let _ = writeln!(
                text,
                "  partition {partition}: {records} record{plural}, offsets {} to {}",
                span.first, span.last
            );
        }
        text
    }
}

fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::MajorityFsync => "majority-fsync",
        Durability::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use lograft_client::{Offset, PartitionId, Term};

    use super::*;

    fn ack(partition: u32, base_offset: u64, record_count: u32) -> BatchMetadata {
        BatchMetadata {
            topic: "t".into(),
            partition: PartitionId(partition),
            base_offset: Offset(base_offset),
            record_count,
            leader_epoch: Term(1),
            durability: Durability::MajorityFsync,
            append_time_ms: 0,
        }
    }

    #[test]
    fn acknowledgements_are_summed_up_by_partition() {
        let mut acks = Acks::new(false);
        for ack in [ack(1, 10, 5), ack(0, 0, 1), ack(1, 15, 5)] {
            acks.note(&ack).unwrap();
        }
        assert_eq!(
            acks.summary(),
            "  acknowledged on the disks of a majority of replicas\n  \
               partition 0: 1 record, offsets 0 to 0\n  \
               partition 1: 10 records, offsets 10 to 19\n"
        );
    }

    #[test]
    fn many_partitions_are_only_counted() {
        let mut acks = Acks::new(false);
        for partition in 0..17 {
            acks.note(&ack(partition, 0, 1)).unwrap();
        }
        assert!(acks.summary().ends_with("\n  on 17 partitions\n"));
    }
}
