//! The state machine of the meta group: the metadata, and the view of it that the node reads.

use std::sync::Arc;

use bytes::Bytes;
use lograft_core::metadata::{CodecError, Command, Metadata, Outcome};
use lograft_core::{Entry, EntryKind, FeatureLevel, LogId};
use lograft_raft::{BoxError, Response, StateMachine};

use crate::fatal::{FatalError, FatalSink};
use crate::state_machine::MetaView;

/// Applies the commands of the meta group and publishes the metadata.
pub(crate) struct MetaMachine {
    metadata: Metadata,
    is_changed: bool,
    view: MetaView,
    known: FeatureLevel,
    fatal: Arc<dyn FatalSink>,
}

impl MetaMachine {
    /// A state machine that publishes the metadata in `view`, of a node that knows features up to
    /// the level `known`.
    pub(crate) fn new(view: MetaView, known: FeatureLevel, fatal: Arc<dyn FatalSink>) -> Self {
        Self {
            metadata: Metadata::default(),
            is_changed: false,
            view,
            known,
            fatal,
        }
    }

    /// Ends the node if the cluster has finalized a level that it does not know: it would meet
    /// commands and formats that it cannot read, and could answer from metadata that lack them.
    fn check_level(&self) {
        let (finalized, known) = (self.metadata.finalized_level(), self.known);
        if finalized > known {
            let error = FatalError::LevelTooNew { finalized, known };
            self.fatal.report(error);
        }
    }

    /// Decodes a checkpoint. One of a newer version is fatal: a retry cannot succeed.
    fn decode(&self, bytes: &[u8]) -> Result<Metadata, CodecError> {
        let decoded = Metadata::decode(bytes);
        if let Err(CodecError::UnknownVersion { found, newest }) = &decoded {
            let (found, newest) = (*found, *newest);
            let source = CodecError::UnknownVersion { found, newest };
            self.fatal.report(FatalError::Checkpoint { source });
        }
        decoded
    }

    fn apply_command(&mut self, entry: &Entry) -> Response {
        let index = entry.id.index;
        let command = match Command::decode(&entry.proposal.payload) {
            Ok(command) => command,
            // Skipping the command would make this node's metadata diverge from that of the others:
            // state machine safety. Commands of a newer version are proposed only at a finalized
            // level, which all nodes know, so this node was started with too old a version.
            Err(source) => {
                self.fatal.report(FatalError::Command { index, source });
                return Response::None;
            }
        };
        let result = self.metadata.apply(&command, index);
        self.is_changed |= result.is_ok();
        self.check_level();
        match Outcome::encode(&result) {
            Ok(bytes) => Response::Command(bytes.into()),
            Err(source) => {
                self.fatal.report(FatalError::Command { index, source });
                Response::None
            }
        }
    }
}

impl StateMachine for MetaMachine {
    fn apply(&mut self, entry: &Entry) -> Response {
        match entry.proposal.kind {
            EntryKind::Command => self.apply_command(entry),
            EntryKind::Blank | EntryKind::Membership | EntryKind::Records | EntryKind::Trim => {
                Response::None
            }
        }
    }

    fn batch_done(&mut self, _applied: LogId) {
        if std::mem::take(&mut self.is_changed) {
            self.view.store(self.metadata.clone());
        }
    }

    fn checkpoint(&self) -> Bytes {
        // Encoding cannot fail: all keys of the JSON are strings and the writer is memory. It must
        // not fall back to an empty checkpoint, which would be restored as an empty cluster.
        self.metadata
            .encode()
            .expect("metadata has a JSON form")
            .into()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.metadata = if bytes.is_empty() {
            Metadata::default()
        } else {
            self.decode(bytes)?
        };
        self.check_level();
        self.is_changed = false;
        self.view.store(self.metadata.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use lograft_core::metadata::{Registration, RegistrationToken};
    use lograft_core::{ClusterId, LogIndex, NodeId, Offset, Proposal, Term};

    use super::*;

    #[derive(Default)]
    struct Reports(Mutex<usize>);

    impl FatalSink for Reports {
        fn report(&self, _error: FatalError) {
            *self.0.lock().unwrap() += 1;
        }
    }

    fn machine() -> (MetaMachine, MetaView, Arc<Reports>) {
        let view = MetaView::new(Metadata::default());
        let reports = Arc::new(Reports::default());
        let sink: Arc<dyn FatalSink> = reports.clone();
        let machine = MetaMachine::new(view.clone(), FeatureLevel(1), sink);
        (machine, view, reports)
    }

    fn entry(index: u64, payload: Vec<u8>) -> Entry {
        let id = LogId {
            term: Term(1),
            index: LogIndex(index),
        };
        let proposal = Proposal::control(EntryKind::Command, 1, payload.into());
        Entry {
            id,
            base_offset: Offset(0),
            proposal,
        }
    }

    fn init() -> Command {
        let first_node = Registration {
            token: RegistrationToken::from_random([1; 16]),
            name: "a".into(),
            client_address: "a:1".into(),
            peer_address: "a:2".into(),
            zone: String::new(),
        };
        Command::InitCluster {
            cluster_id: ClusterId::from_bytes([1; 16]),
            first_node,
            level: FeatureLevel::ZERO,
        }
    }

    #[test]
    fn commands_answer_and_are_seen_and_survive_a_checkpoint() {
        let (mut machine, view, _) = machine();
        let first = entry(5, init().encode().unwrap());
        let Response::Command(bytes) = machine.apply(&first) else {
            panic!("no answer")
        };
        assert_eq!(
            Outcome::decode(&bytes).unwrap(),
            Ok(Outcome::Node(NodeId(1)))
        );
        assert_eq!(view.load().cluster_id(), None, "not published yet");
        machine.batch_done(first.id);
        assert_eq!(view.load().version(), LogIndex(5));
        let seen = view.load();

        let refused = Command::DrainNode { node: NodeId(1) };
        let Response::Command(bytes) = machine.apply(&entry(6, refused.encode().unwrap())) else {
            panic!("no answer")
        };
        assert!(Outcome::decode(&bytes).unwrap().is_err());
        machine.batch_done(first.id);
        assert!(
            Arc::ptr_eq(&seen, &view.load()),
            "a refusal publishes nothing new"
        );

        let checkpoint = machine.checkpoint();
        machine.restore(&[]).unwrap();
        assert_eq!(view.load().cluster_id(), None);
        machine.restore(&checkpoint).unwrap();
        assert_eq!(*view.load(), *seen);
    }

    #[test]
    fn a_finalized_level_that_the_node_does_not_know_ends_it() {
        let (mut machine, _, reports) = machine();
        machine.apply(&entry(5, init().encode().unwrap()));
        let finalize = |level| Command::FinalizeLevel {
            level: FeatureLevel(level),
        };
        machine.apply(&entry(6, finalize(1).encode().unwrap()));
        assert_eq!(*reports.0.lock().unwrap(), 0);
        machine.apply(&entry(7, finalize(2).encode().unwrap()));
        assert_eq!(*reports.0.lock().unwrap(), 1, "from the log");
        let checkpoint = machine.checkpoint();
        machine.restore(&checkpoint).unwrap();
        assert_eq!(*reports.0.lock().unwrap(), 2, "from a checkpoint");
        let newer = [&[9], &checkpoint[1..]].concat();
        machine.restore(&newer).unwrap_err();
        assert_eq!(*reports.0.lock().unwrap(), 3, "from a newer checkpoint");
    }

    #[test]
    fn an_unknown_command_ends_the_node() {
        let (mut machine, _, reports) = machine();
        assert_eq!(
            machine.apply(&entry(5, b"\x01{\"later\":{}}".to_vec())),
            Response::None
        );
        assert_eq!(*reports.0.lock().unwrap(), 1);
    }
}
