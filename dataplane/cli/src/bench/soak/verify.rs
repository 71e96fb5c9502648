//! Compares the log of a partition with the ledger.

use lograft_client::{
    Client, ClientError, ConsumedBatch, ConsumerConfig, Offset, PartitionId, StartAt,
};
use serde::Serialize;

use super::value::parse_value;

/// Records of a run that were found in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// Records of the run that were read.
    pub(super) read: u64,
    /// Acknowledged records that are missing.
    pub(super) lost: u64,
    /// Acknowledged records at an offset other than the acknowledged one.
    pub(super) moved: u64,
    /// Records that are duplicated, or follow a later record.
    pub(super) doubled: u64,
}

/// The part of a topic that a run has written.
pub(super) struct WrittenRange<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: PartitionId,
    /// End of the partition before the run.
    pub(super) start: Offset,
}

/// Reads the range and compares the records of `run` with the acknowledged offsets.
pub(super) async fn verify(
    client: &Client,
    range: WrittenRange<'_>,
    run: u64,
    acked: &[Option<Offset>],
) -> Result<Verdict, ClientError> {
    let config = ConsumerConfig {
        partitions: vec![range.partition],
        follow: false,
        ..ConsumerConfig::new(range.topic, StartAt::Offset(range.start))
    };
    let mut consumer = client.consumer(config).await?;
    let mut verifier = Verifier::new(run, acked);
    while let Some(batch) = consumer.next_batch().await? {
        verifier.check_batch(&batch)?;
    }
    Ok(verifier.finish())
}

struct Verifier<'a> {
    run: u64,
    acked: &'a [Option<Offset>],
    /// Smallest record number that may follow.
    next: u64,
    found: u64,
    verdict: Verdict,
}

impl<'a> Verifier<'a> {
    fn new(run: u64, acked: &'a [Option<Offset>]) -> Self {
        Self {
            run,
            acked,
            next: 0,
            found: 0,
            verdict: Verdict::default(),
        }
    }

    fn check_batch(&mut self, batch: &ConsumedBatch) -> Result<(), ClientError> {
        for record in batch.iter() {
            let (offset, record) = record?;
            self.check(offset, record.value.unwrap_or_default());
        }
        Ok(())
    }

    /// Checks one record. Ignores records of other producers.
    fn check(&mut self, offset: Offset, value: &[u8]) {
        let Some((_, number)) = parse_value(value).filter(|(run, _)| *run == self.run) else {
            return;
        };
        self.verdict.read += 1;
        if number < self.next {
            self.verdict.doubled += 1;
            return;
        }
        self.next = number + 1;
        let index = usize::try_from(number).ok();
        let acked_offset = index.and_then(|index| self.acked.get(index).copied().flatten());
        self.found += u64::from(acked_offset.is_some());
        self.verdict.moved += u64::from(acked_offset.is_some_and(|acked| acked != offset));
    }

    fn finish(mut self) -> Verdict {
        let acked = self.acked.iter().flatten().count() as u64;
        self.verdict.lost = acked.saturating_sub(self.found);
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::{HEADER_BYTES, write_value};
    use super::*;

    fn verdict(acked: &[Option<u64>], log: &[(u64, u64)]) -> Verdict {
        let acked: Vec<_> = acked.iter().map(|at| at.map(Offset)).collect();
        let mut verifier = Verifier::new(7, &acked);
        for (offset, number) in log {
            let mut value = [0; HEADER_BYTES];
            write_value(&mut value, 7, *number);
            verifier.check(Offset(*offset), &value);
        }
        // A record of another run, and one of another producer.
        verifier.check(Offset(99), &[1; 16]);
        verifier.check(Offset(99), b"x");
        verifier.finish()
    }

    #[test]
    fn lost_moved_and_duplicated_records_are_distinguished() {
        let acked = [Some(4), None, Some(6)];
        let good = Verdict {
            read: 3,
            ..Verdict::default()
        };
        assert_eq!(verdict(&acked, &[(4, 0), (5, 1), (6, 2)]), good);
        // A record that was not acknowledged may be missing.
        assert_eq!(verdict(&acked, &[(4, 0), (6, 2)]).lost, 0);
        assert_eq!(verdict(&acked, &[(4, 0), (5, 1)]).lost, 1);
        assert_eq!(verdict(&acked, &[(4, 0), (5, 0), (6, 2)]).doubled, 1);
        assert_eq!(verdict(&acked, &[(4, 0), (7, 2)]).moved, 1);
        let reversed = verdict(&acked, &[(4, 2), (6, 0)]);
        assert_eq!((reversed.doubled, reversed.lost), (1, 1));
    }
}
