//! The state machine of a partition: moves the watermarks and the producer table, never reads the
//! payload.

use std::sync::Arc;

use bytes::Bytes;
use lograft_core::partition::PartitionStateError;
use lograft_core::{Applied, Entry, GroupId, LogId, PartitionState};
use lograft_raft::{BoxError, Response, StateMachine};

use crate::fatal::{FatalError, FatalSink};
use crate::state_machine::SharedState;

/// Applies the entries of a partition to its shared state.
pub(crate) struct PartitionMachine {
    group: GroupId,
    state: SharedState,
    fatal: Arc<dyn FatalSink>,
}

impl PartitionMachine {
    /// A state machine that applies to `state`.
    pub(crate) fn new(group: GroupId, state: SharedState, fatal: Arc<dyn FatalSink>) -> Self {
        Self {
            group,
            state,
            fatal,
        }
    }
}

impl PartitionMachine {
    /// Ends the node if a newer version wrote the state. The replica is intact and would otherwise
    /// count as corrupt.
    fn report_newer(&self, source: PartitionStateError) {
        if matches!(source, PartitionStateError::Version { .. }) {
            let group = self.group;
            self.fatal
                .report(FatalError::PartitionState { group, source });
        }
    }
}

impl StateMachine for PartitionMachine {
    fn apply(&mut self, entry: &Entry) -> Response {
        match self.state.lock().apply(entry) {
            Applied::Records {
                base_offset,
                record_count,
            } => Response::Records {
                base_offset,
                record_count,
            },
            Applied::Nothing | Applied::Trimmed { .. } => Response::None,
            // The entry's base offset was computed from this very log prefix when it was appended.
            // If it does not match, this replica has applied something else than the others, and
            // every offset it would acknowledge or serve from here on could be wrong.
            Applied::Diverged { expected, found } => {
                let group = self.group;
                let index = entry.id.index;
                self.fatal.report(FatalError::Diverged {
                    group,
                    index,
                    expected,
                    found,
                });
                Response::None
            }
        }
    }

    fn batch_done(&mut self, applied: LogId) {
        self.state.publish(Some(applied.index));
    }

    fn checkpoint(&self) -> Bytes {
        self.state.lock().encode()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let state = if bytes.is_empty() {
            PartitionState::default()
        } else {
            PartitionState::decode(bytes).inspect_err(|error| self.report_newer(*error))?
        };
        *self.state.lock() = state;
        self.state.publish(None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use lograft_core::{EntryKind, LogIndex, Offset, Proposal, Term};

    use super::*;

    #[derive(Default)]
    struct Reports(Mutex<Vec<String>>);

    impl FatalSink for Reports {
        fn report(&self, error: FatalError) {
            self.0.lock().unwrap().push(error.to_string());
        }
    }

    fn entry(index: u64, kind: EntryKind, base_offset: u64, payload: Bytes) -> Entry {
        let mut proposal = Proposal::control(kind, 1, payload);
        proposal.record_count = if kind == EntryKind::Records { 10 } else { 0 };
        let id = LogId {
            term: Term(1),
            index: LogIndex(index),
        };
        Entry {
            id,
            base_offset: Offset(base_offset),
            proposal,
        }
    }

    fn machine() -> (PartitionMachine, SharedState, Arc<Reports>) {
        let state = SharedState::new(PartitionState::default());
        let reports = Arc::new(Reports::default());
        let sink: Arc<dyn FatalSink> = reports.clone();
        (
            PartitionMachine::new(GroupId(3), state.clone(), sink),
            state,
            reports,
        )
    }

    #[test]
    fn watermarks_are_seen_once_a_run_is_done_and_survive_a_checkpoint() {
        let (mut machine, state, reports) = machine();
        let first = entry(0, EntryKind::Records, 0, Bytes::new());
        let response = machine.apply(&first);
        assert_eq!(
            response,
            Response::Records {
                base_offset: Offset(0),
                record_count: 10
            }
        );
        assert_eq!(
            state.watermarks().high_watermark,
            Offset(0),
            "not published yet"
        );
        machine.batch_done(first.id);
        assert_eq!(state.watermarks().high_watermark, Offset(10));
        let trim = entry(
            1,
            EntryKind::Trim,
            10,
            PartitionState::trim_payload(Offset(4)),
        );
        machine.apply(&trim);
        machine.batch_done(trim.id);
        assert_eq!(state.watermarks().log_start_offset, Offset(4));

        let checkpoint = machine.checkpoint();
        machine.restore(&[]).unwrap();
        assert_eq!(state.watermarks().high_watermark, Offset(0));
        machine.restore(&checkpoint).unwrap();
        assert_eq!(state.watermarks().high_watermark, Offset(10));
        assert!(machine.restore(b"\x01nonsense").is_err());
        assert_eq!(reports.0.lock().unwrap().len(), 0);
    }

    /// A replica that is marked corrupt may be repaired, and its files deleted.
    #[test]
    fn a_state_of_a_newer_version_ends_the_node() {
        let (mut machine, _state, reports) = machine();
        let mut state = machine.checkpoint().to_vec();
        state[0] += 1;
        assert!(machine.restore(&state).is_err());
        let reports = reports.0.lock().unwrap();
        assert_eq!(reports.len(), 1);
        assert!(reports[0].contains("group 3"), "{}", reports[0]);
    }

    #[test]
    fn an_entry_at_the_wrong_offset_ends_the_node() {
        let (mut machine, _state, reports) = machine();
        machine.apply(&entry(0, EntryKind::Records, 7, Bytes::new()));
        let reports = reports.0.lock().unwrap();
        assert_eq!(reports.len(), 1);
        assert!(reports[0].contains("group 3"), "{}", reports[0]);
    }
}
