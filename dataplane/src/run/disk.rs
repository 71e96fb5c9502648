//! The storage of a node, with its memory budgets and its watchdog.

use std::sync::Arc;

use lograft_core::limits::{DISK_CHECK_INTERVAL, REFUSAL_LOG_INTERVAL};
use lograft_core::{Incarnation, MemoryBudgets};
use lograft_storage::{Fs, Storage, StorageConfig, WriterDrive};
use tracing::{info, warn};

use super::error::RunError;
use super::node_env::NodeEnv;
use crate::config::NodeConfig;
use crate::exchange::NodeExchange;
use crate::fatal::{FatalCell, FatalError, FatalSink};
use crate::incarnation::IncarnationFiles;
use crate::incarnation::group_marks::GroupMarks;
use crate::recovery_epochs::RecoveryEpochFile;
use crate::watchdog::Watchdog;
use crate::{LogLimit, error_chain, memory_limit};

/// An open storage.
pub(super) struct OpenDisk {
    pub(super) storage: Storage,
    pub(super) budgets: MemoryBudgets,
    pub(super) watchdog: Watchdog,
}

/// The past of the data directory.
pub(super) struct DiskHistory {
    pub(super) files: IncarnationFiles,
    pub(super) marks: GroupMarks,
    pub(super) epochs: RecoveryEpochFile,
    pub(super) incarnation: Incarnation,
}

impl DiskHistory {
    /// Raises the incarnation, before anybody hears of this process. The data directory is open,
    /// thus locked.
    pub(super) async fn open(
        config: &NodeConfig,
        env: &NodeEnv,
        storage: &Storage,
        exchange: &NodeExchange,
    ) -> Result<Self, RunError> {
        let files = IncarnationFiles::new(Arc::clone(&env.fs), &config.data_dir);
        let fs = Arc::clone(&env.fs);
        let marks = GroupMarks::load(fs, &config.data_dir, storage.clone()).await?;
        let (fs, epochs) = (Arc::clone(&env.fs), exchange.recoveries().clone());
        let epochs = RecoveryEpochFile::load(fs, &config.data_dir, epochs).await?;
        let incarnation = files.start(exchange.incarnations()).await?;
        Ok(Self {
            files,
            marks,
            epochs,
            incarnation,
        })
    }
}

/// Measures the room on the disk at an interval, until dropped. A measurement that hangs takes one
/// of the threads for blocking work, and nobody waits for it.
pub(super) async fn watch_room(storage: Storage) {
    let log = LogLimit::new(REFUSAL_LOG_INTERVAL);
    let mut known = storage.disk_mark();
    loop {
        let checked = storage.clone();
        match tokio::task::spawn_blocking(move || checked.check_disk()).await {
            Err(_) => return,
            Ok(Ok(mark)) => {
                if mark != known {
                    warn!(from = ?known, to = ?mark, "room on the disk changed");
                }
                known = mark;
            }
            Ok(Err(error)) => {
                if log.pass().is_some() {
                    warn!(error = %error_chain(&error), "cannot measure the room on the disk");
                }
            }
        }
        tokio::time::sleep(DISK_CHECK_INTERVAL).await;
    }
}

impl OpenDisk {
    /// Opens the data directory, which locks it, and watches its writes.
    pub(super) async fn open(
        config: &NodeConfig,
        env: &NodeEnv,
        fatal: &Arc<FatalCell>,
    ) -> Result<Self, RunError> {
        let budgets = memory_budgets(config);
        let storage = open_storage(config, budgets, Arc::clone(&env.fs), fatal).await?;
        let watchdog = Watchdog::start(
            storage.write_probe(),
            Arc::clone(fatal) as Arc<dyn FatalSink>,
            Arc::clone(&env.end_process),
        )
        .map_err(RunError::Runtime)?;
        Ok(Self {
            storage,
            budgets,
            watchdog,
        })
    }
}

/// The memory budgets under the limit of the process's cgroup.
fn memory_budgets(config: &NodeConfig) -> MemoryBudgets {
    let limit_bytes = memory_limit::read();
    let budgets = MemoryBudgets::within(limit_bytes, config.storage.tail_cache_max_bytes);
    let MemoryBudgets {
        tail_cache_bytes,
        unflushed_bytes,
        produce_in_flight_bytes,
        decompression_bytes,
        replies_bytes,
    } = budgets;
    info!(
        limit_bytes,
        tail_cache_bytes,
        unflushed_bytes,
        produce_in_flight_bytes,
        decompression_bytes,
        replies_bytes,
        "memory budgets"
    );
    budgets
}

async fn open_storage(
    config: &NodeConfig,
    budgets: MemoryBudgets,
    fs: Arc<dyn Fs>,
    fatal: &Arc<FatalCell>,
) -> Result<Storage, RunError> {
    let settings = StorageConfig {
        segment_max_bytes: config.storage.segment_max_bytes,
        writers: WriterDrive::Threads(config.storage.writer_threads_count),
        tail_cache_max_bytes: budgets.tail_cache_bytes,
        unflushed_max_bytes: budgets.unflushed_bytes,
        reserve_bytes: config.storage.reserve_bytes,
        ..StorageConfig::new(&config.data_dir)
    };
    let sink = Arc::clone(fatal);
    let on_fatal = Arc::new(move |error| sink.report(FatalError::Storage(error)));
    let opened = tokio::task::spawn_blocking(move || Storage::open(fs, settings, on_fatal))
        .await
        .map_err(RunError::Task)?
        .map_err(RunError::Storage)?;
    if let Some(path) = opened.damaged_identity() {
        let path = path.display();
        warn!(%path, "identity file was damaged, restored from its copy");
    }
    Ok(opened)
}
