//! Putting records into lanes, many under one lock.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};

use tokio::time::Instant;

use super::outcome::Outcome;
use super::shared::Shared;
use super::topic::{LaneSlot, SlotState};
use super::{BatchDelivery, RecordParts};
use crate::error::ClientError;

/// Records going into one lane under one lock.
pub(super) struct Turn<'a> {
    pub(super) slot: &'a Arc<LaneSlot>,
    pub(super) state: MutexGuard<'a, SlotState>,
    pub(super) bytes: usize,
    pub(super) opened: bool,
    pub(super) closed: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn begin(slot: &'a Arc<LaneSlot>) -> Self {
        Self {
            slot,
            state: slot.state(),
            bytes: 0,
            opened: false,
            closed: false,
        }
    }

    /// Takes a record; its number in the lane's youngest batch.
    pub(super) fn push(
        &mut self,
        shared: &Shared,
        record: &RecordParts<'_>,
    ) -> Result<u32, ClientError> {
        // Checked under the lane's lock: nothing is left behind in it after the end.
        if shared.is_closed() {
            return Err(ClientError::Closed);
        }
        let pushed = self.state.lane.push(record, Instant::now)?;
        self.bytes += pushed.bytes;
        self.opened |= pushed.opened;
        self.closed |= pushed.closed;
        Ok(pushed.index)
    }
}

/// The deliveries of many records, one for each run in a batch.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    deliveries: Vec<BatchDelivery>,
    /// For each lane its last run.
    last: HashMap<usize, usize>,
    /// The lane and run that the record before went to: mostly the same again.
    current: Option<(usize, usize)>,
}

impl Runs {
    pub(super) fn add(&mut self, lane: usize, outcome: Option<&Arc<Outcome>>, index: u32) {
        let Some(outcome) = outcome else { return };
        let known = match self.current {
            Some((current, run)) if current == lane => Some(run),
            _ => self.last.get(&lane).copied(),
        };
        let extended = known
            .and_then(|run| Some((run, self.deliveries.get_mut(run)?)))
            .filter(|(_, delivery)| delivery.is_next(outcome, index));
        let run = if let Some((run, delivery)) = extended {
            delivery.extend();
            run
        } else {
            self.deliveries
                .push(BatchDelivery::new(Arc::clone(outcome), index));
            let run = self.deliveries.len() - 1;
            self.last.insert(lane, run);
            run
        };
        self.current = Some((lane, run));
    }

    pub(crate) fn into_deliveries(self) -> Vec<BatchDelivery> {
        self.deliveries
    }
}
