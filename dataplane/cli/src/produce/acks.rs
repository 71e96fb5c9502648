//! Acknowledgements, summed up by partition.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};

use futures_util::FutureExt;
use lograft_client::{BatchDelivery, BatchMetadata, ClientError, Durability};

use crate::error::CliError;
use crate::output::OutputError;
use crate::units;

/// The summary lists partitions only up to this number.
const PARTITIONS_SHOWN_COUNT: usize = 16;

/// Acknowledged records of one partition. Other producers may have records in the same offset
/// range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AckedRange {
    records: u64,
    /// The first and the last offset; none while no leader knows one.
    offsets: Option<(u64, u64)>,
}

/// Pending deliveries and the acknowledgements received so far.
#[derive(Debug)]
pub(crate) struct Acks {
    print_each: bool,
    pending: VecDeque<BatchDelivery>,
    ranges: BTreeMap<u32, AckedRange>,
    durability: Option<Durability>,
}

impl Acks {
    /// `print_each` prints every acknowledgement to standard output.
    pub(crate) fn new(print_each: bool) -> Self {
        Self {
            print_each,
            pending: VecDeque::new(),
            ranges: BTreeMap::new(),
            durability: None,
        }
    }

    /// Adds pending deliveries. Their number is bounded by the producer's buffer.
    pub(crate) fn add(&mut self, deliveries: Vec<BatchDelivery>) {
        self.pending.extend(deliveries);
    }

    /// Collects the outcomes known so far, in the order of sending, up to the first failure.
    pub(crate) fn collect_ready(&mut self) -> Result<Result<(), ClientError>, CliError> {
        while let Some(oldest) = self.pending.front_mut() {
            let Some(outcome) = oldest.now_or_never() else {
                break;
            };
            self.pending.pop_front();
            match outcome {
                Ok(ack) => self.record(&ack)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    /// Waits for all deliveries and returns the first failure.
    pub(crate) async fn collect_all(&mut self) -> Result<Result<(), ClientError>, CliError> {
        let mut outcome = Ok(());
        while let Some(delivery) = self.pending.pop_front() {
            match delivery.await {
                Ok(ack) => self.record(&ack)?,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        Ok(outcome)
    }

    fn record(&mut self, ack: &BatchMetadata) -> Result<(), CliError> {
        self.durability = Some(ack.durability);
        let records = u64::from(ack.record_count);
        let offsets = ack.base_offset.map(|base| {
            let first = base.get();
            (first, first + records.saturating_sub(1))
        });
        if self.print_each {
            let (topic, partition, epoch) = (&ack.topic, ack.partition, ack.leader_epoch);
            let durability = durability_name(ack.durability);
            let offsets = offsets.map_or_else(
                || "unknown".to_owned(),
                |(first, last)| format!("{first}-{last}"),
            );
            writeln!(
                io::stdout(),
                "{topic}/{partition} offsets {offsets} epoch {epoch} {durability}"
            )
            .map_err(|source| OutputError::Write { source })?;
        }
        let range = self
            .ranges
            .entry(ack.partition.get())
            .or_insert(AckedRange {
                records: 0,
                offsets,
            });
        range.records += records;
        range.offsets = match (range.offsets, offsets) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (known, other) => known.or(other),
        };
        Ok(())
    }

    /// Durability and offsets of the acknowledged records.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        if let Some(durability) = self.durability {
            let durability = match durability {
                Durability::MajorityFsync => "after fsync on a majority of replicas",
                Durability::Unspecified => "with unknown durability",
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "  acknowledged {durability}");
        }
        if self.ranges.len() > PARTITIONS_SHOWN_COUNT {
            let _ = writeln!(text, "  on {} partitions", self.ranges.len());
            return text;
        }
        for (partition, range) in &self.ranges {
            let noun = if range.records == 1 {
                "record"
            } else {
                "records"
            };
            let records = units::count(range.records);
            let _ = match range.offsets {
                Some((first, last)) => writeln!(
                    text,
                    "  partition {partition}: {records} {noun}, offsets {first} to {last}"
                ),
                None => writeln!(text, "  partition {partition}: {records} {noun}"),
            };
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
            base_offset: Some(Offset(base_offset)),
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
            acks.record(&ack).unwrap();
        }
        assert_eq!(
            acks.summary(),
            "  acknowledged after fsync on a majority of replicas\n  \
               partition 0: 1 record, offsets 0 to 0\n  \
               partition 1: 10 records, offsets 10 to 19\n"
        );
    }

    #[test]
    fn records_whose_offsets_nobody_knows_are_counted() {
        let mut acks = Acks::new(false);
        let forgotten = |partition| BatchMetadata {
            base_offset: None,
            ..ack(partition, 0, 3)
        };
        for ack in [forgotten(0), forgotten(1), ack(1, 15, 5)] {
            acks.record(&ack).unwrap();
        }
        let summary = acks.summary();
        let (_, partitions) = summary.split_once('\n').unwrap();
        assert_eq!(
            partitions,
            "  partition 0: 3 records\n  partition 1: 8 records, offsets 15 to 19\n"
        );
    }

    #[test]
    fn many_partitions_are_counted_not_listed() {
        let mut acks = Acks::new(false);
        for partition in 0..17 {
            acks.record(&ack(partition, 0, 1)).unwrap();
        }
        assert!(acks.summary().ends_with("\n  on 17 partitions\n"));
    }
}
