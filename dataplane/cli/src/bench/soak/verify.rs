//! The log held against the ledger.

use lograft_client::{
    Client, ClientError, ConsumedBatch, ConsumerConfig, Offset, PartitionId, StartAt,
};
use serde::Serialize;

use super::HEAD_BYTES;

/// What a partition holds of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// The run's records that were read.
    pub(super) read: u64,
    /// Acknowledged records that are not there.
    pub(super) lost: u64,
    /// Acknowledged records that stand at another offset than was said.
    pub(super) moved: u64,
    /// Records that came after a later one, or again.
    pub(super) doubled: u64,
}

/// Reads a partition from where the run began.
pub(super) async fn verify(
    client: &Client,
    topic: &str,
    (partition, start): (PartitionId, Offset),
    run: u64,
    acked: &[Option<Offset>],
) -> Result<Verdict, ClientError> {
    let config = ConsumerConfig {
        partitions: vec![partition],
        follow: false,
        ..ConsumerConfig::new(topic, StartAt::Offset(start))
    };
    let mut consumer = client.consumer(config).await?;
    let mut reader = Reader::new(run, acked);
    while let Some(batch) = consumer.next_batch().await? {
        take(&mut reader, &batch)?;
    }
    Ok(reader.finish())
}

fn take(reader: &mut Reader<'_>, batch: &ConsumedBatch) -> Result<(), ClientError> {
    for record in batch.iter() {
        let (offset, record) = record?;
        reader.see(offset, record.value.unwrap_or_default());
    }
    Ok(())
}

struct Reader<'a> {
    run: [u8; 8],
    acked: &'a [Option<Offset>],
    /// The number that none below may follow.
    next: u64,
    found: u64,
    verdict: Verdict,
}

impl<'a> Reader<'a> {
    fn new(run: u64, acked: &'a [Option<Offset>]) -> Self {
        Self {
            run: run.to_le_bytes(),
            acked,
            next: 0,
            found: 0,
            verdict: Verdict::default(),
        }
    }

    /// Others may write to the topic too: their records do not count.
    fn see(&mut self, offset: Offset, value: &[u8]) {
        let head: Option<&[u8; HEAD_BYTES]> = value.first_chunk();
        let Some((run, number)) = head.and_then(|head| head.split_first_chunk::<8>()) else {
            return;
        };
        let Some(number) = number.first_chunk().map(|n| u64::from_le_bytes(*n)) else {
            return;
        };
        if *run != self.run {
            return;
        }
        self.verdict.read += 1;
        if number < self.next {
            self.verdict.doubled += 1;
            return;
        }
        self.next = number + 1;
        let said = usize::try_from(number).ok();
        let said = said.and_then(|at| self.acked.get(at).copied().flatten());
        self.found += u64::from(said.is_some());
        self.verdict.moved += u64::from(said.is_some_and(|said| said != offset));
    }

    fn finish(mut self) -> Verdict {
        let acked = self.acked.iter().flatten().count() as u64;
        self.verdict.lost = acked.saturating_sub(self.found);
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(acked: &[Option<u64>], log: &[(u64, u64)]) -> Verdict {
        let acked: Vec<_> = acked.iter().map(|at| at.map(Offset)).collect();
        let mut reader = Reader::new(7, &acked);
        for (offset, number) in log {
            let mut value = 7_u64.to_le_bytes().to_vec();
            value.extend(number.to_le_bytes());
            reader.see(Offset(*offset), &value);
        }
        // Of another run, and of no run at all.
        reader.see(Offset(99), &[1; 16]);
        reader.see(Offset(99), b"x");
        reader.finish()
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let acked = [Some(4), None, Some(6)];
        let good = Verdict {
            read: 3,
            ..Verdict::default()
        };
        assert_eq!(verdict(&acked, &[(4, 0), (5, 1), (6, 2)]), good);
        // What was never acknowledged may be missing.
        assert_eq!(verdict(&acked, &[(4, 0), (6, 2)]).lost, 0);
        assert_eq!(verdict(&acked, &[(4, 0), (5, 1)]).lost, 1);
        assert_eq!(verdict(&acked, &[(4, 0), (5, 0), (6, 2)]).doubled, 1);
        assert_eq!(verdict(&acked, &[(4, 0), (7, 2)]).moved, 1);
        let turned = verdict(&acked, &[(4, 2), (6, 0)]);
        assert_eq!((turned.doubled, turned.lost), (1, 1));
    }
}
