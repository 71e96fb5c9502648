//! openraft's test suite for log storages and state machines, run on [`LogStore`] and
//! [`StateMachineAdapter`].

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use lograft_core::{ClusterId, Entry, GroupId, LogId, LogIndex, NodeId, Offset, Term};
use lograft_storage::{
    Checkpoint, FaultFs, Fs, GroupLog, GroupOptions, Identity, RealFs, Storage, StorageConfig,
};
use openraft::StorageError;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::convert::log_id_from_raft;
use crate::error::BoxError;
use crate::flush::flushed;
use crate::log_store::LogStore;
use crate::membership::encode_membership;
use crate::snapshot::Snapshots;
use crate::state_machine::{Response, StateMachine};
use crate::state_machine_adapter::StateMachineAdapter;
use crate::types::{RaftEntry, RaftLogId, RaftVote, Types};

struct Idle;

impl StateMachine for Idle {
    fn apply(&mut self, _: &Entry) -> Response {
        Response::None
    }

    fn batch_done(&mut self, _: LogId) {}

    fn checkpoint(&self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Accepts a first entry with an index above 0. The suite starts some logs like this; the storage
/// accepts it only after an installed snapshot, so this store installs one.
struct LateStartStore {
    store: LogStore,
    log: GroupLog,
    /// Whether such a snapshot was installed. The suite has then purged nothing.
    started_late: bool,
    snapshots: Snapshots,
}

/// A checkpoint of [`Idle`] after `last`.
fn checkpoint(last: LogId) -> Checkpoint {
    Checkpoint {
        last,
        next_offset: Offset::ZERO,
        membership: encode_membership(&lograft_core::Membership::default()),
        membership_id: None,
        state: Bytes::new(),
    }
}

impl LateStartStore {
    async fn start_at(&mut self, index: LogIndex) -> io::Result<()> {
        let Some(before) = index.prev().filter(|_| self.log.last_id().is_none()) else {
            return Ok(());
        };
        self.started_late = true;
        let snapshot = checkpoint(LogId {
            term: Term(0),
            index: before,
        });
        flushed(|done| self.log.reset_to(snapshot, done)).await
    }
}

impl RaftLogReader<Types> for LateStartStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        self.store.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        self.store.read_vote().await
    }
}

impl RaftLogStorage<Types> for LateStartStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let mut state = self.store.get_log_state().await?;
        if state
            .last_purged_log_id
            .is_some_and(|id| id.committed_leader_id().term == 0)
            && self.started_late
        {
            state.last_purged_log_id = None;
        }
        Ok(state)
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.store.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        self.store.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        self.store.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        self.store.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.start_at(LogIndex(first.log_id.index())).await?;
        }
        self.store.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        self.store.truncate_after(last).await
    }

    async fn purge(&mut self, up_to: RaftLogId) -> io::Result<()> {
        self.started_late = false;
        // openraft purges only up to a snapshot.
        self.snapshots
            .set_current(Some(checkpoint(log_id_from_raft(&up_to))));
        self.store.purge(up_to).await
    }
}

/// Opens an empty storage for each case.
struct Builder {
    fs: fn() -> Arc<dyn Fs>,
}

type Case = BoxFuture<'static, io::Result<()>>;
/// The storage flushes when it is dropped, so it must be dropped before its directory.
type Guard = (Storage, TempDir);
type Opened = (Guard, LateStartStore, StateMachineAdapter);

impl Builder {
    fn open(&self) -> Opened {
        let dir = TempDir::new().unwrap();
        let config = StorageConfig {
            reserve_bytes: 0,
            ..StorageConfig::new(dir.path())
        };
        let on_fatal = Arc::new(|error| panic!("{error}"));
        let storage = Storage::open((self.fs)(), config, on_fatal).unwrap();
        let cluster_id = ClusterId::from_bytes([3; 16]);
        storage
            .write_identity(&Identity {
                cluster_id,
                node_id: NodeId(1),
            })
            .unwrap();
        let (log, _) = storage
            .open_group(GroupId(1), GroupOptions::default())
            .unwrap();
        let snapshots = Snapshots::default();
        let machine =
            StateMachineAdapter::open(log.clone(), Box::new(Idle), snapshots.clone()).unwrap();
        let store = LateStartStore {
            store: LogStore::new(log.clone()),
            log,
            started_late: false,
            snapshots,
        };
        ((storage, dir), store, machine)
    }

    fn case<F>(&self, run: fn(LateStartStore, StateMachineAdapter) -> F) -> Case
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (guard, store, machine) = self.open();
        Box::pin(async move {
            let _guard = guard;
            run(store, machine).await
        })
    }
}

impl StoreBuilder<Types, LateStartStore, StateMachineAdapter, Guard> for Builder {
    async fn build(&self) -> Result<Opened, StorageError<Types>> {
        Ok(self.open())
    }
}

type S = Suite<Types, LateStartStore, StateMachineAdapter, Builder, Guard>;

macro_rules! cases {
    ($builder:expr, $($name:ident)*) => {
        vec![$((stringify!($name), $builder.case(S::$name)),)*]
    };
}

async fn run_suite(builder: Builder) {
    let cases = cases!(builder,
        last_membership_in_log_initial
        last_membership_in_log
        last_membership_in_log_multi_step
        get_membership_initial
        get_membership_from_log_and_empty_sm
        get_membership_from_empty_log_and_sm
        get_membership_from_log_le_sm_last_applied
        get_membership_from_log_gt_sm_last_applied_1
        get_membership_from_log_gt_sm_last_applied_2
        get_initial_state_without_init
        get_initial_state_membership_from_empty_log_and_sm
        get_initial_state_membership_from_sm_inlog_is_smaller
        get_initial_state_membership_from_log_insm_is_smaller
        get_initial_state_with_state
        get_initial_state_last_log_gt_sm
        get_initial_state_last_log_lt_sm
        get_initial_state_inverted_log_order
        get_initial_state_conflict_at_same_index
        get_initial_state_log_ids
        get_initial_state_re_apply_committed
        save_vote
        get_log_entries
        limited_get_log_entries
        leader_bounded_stream
        entries_stream
        try_get_log_entry
        log_reader_reads_new_entries
        initial_logs
        get_log_state
        get_log_id
        last_id_in_log
        last_applied_state
        purge_logs_upto_0
        purge_logs_upto_5
        purge_logs_upto_20
        delete_logs_after_11
        delete_logs_after_5
        delete_logs_after_0
        delete_logs_after_none
        append_to_log
        snapshot_meta
        snapshot_meta_optional
        apply_single
        apply_multiple
    );
    let runs = cases.into_iter().map(|(name, case)| async move {
        let case = tokio::spawn(case);
        let failure = match tokio::time::timeout(Duration::from_secs(20), case).await {
            Ok(Ok(Ok(()))) => return None,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(panic)) => panic.to_string(),
            Err(_) => "timed out".to_owned(),
        };
        Some(format!("{name}: {failure}"))
    });
    let mut failures: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    if let Err(error) = S::transfer_snapshot(&builder).await {
        failures.push(format!("transfer_snapshot: {error}"));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_on_the_real_file_system_conforms() {
    run_suite(Builder {
        fs: || Arc::new(RealFs),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_on_the_fault_injecting_file_system_conforms() {
    run_suite(Builder {
        fs: || Arc::new(FaultFs::new(1)),
    })
    .await;
}
