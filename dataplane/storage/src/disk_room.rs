//! The room on the disk: how much of it is left, and what must still get through when little is.
//!
//! Two marks come from the reserve of the settings. Below the first one a node takes no new records
//! from clients. Down to the second one it still takes the records that leaders already have, so
//! that a trim, which is an entry behind them, can free space. Below the second one it takes
//! entries without records only: they are tiny, and they carry the trims, the votes' terms and the
//! metadata by which space is freed again.
//!
//! If other users of the disk take the rest as well, a preallocated file is given back to the file
//! system. Then there is room for the entries without records, the hard state and a snapshot.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use lograft_core::DiskMark;
use lograft_core::limits::{DISK_PROBE_INTERVAL, PREALLOCATED_PARTS_COUNT};
use parking_lot::Mutex;

use crate::config::Space;
use crate::error::{Action, StorageError, is_no_space};
use crate::files::Files;
use crate::fs::OpenMode;

/// The last known room on the disk.
pub(crate) struct DiskRoom {
    mark: AtomicU8,
    measured: Mutex<Option<Space>>,
    /// Whether a write has found no room since the last probe.
    must_probe: AtomicBool,
    /// The preallocated file.
    reserve_path: PathBuf,
    /// A file that is extended and cut again.
    probe_path: PathBuf,
    checks: Mutex<Checks>,
}

#[derive(Default)]
struct Checks {
    /// Whether the preallocated file exists; `None` before the first check.
    has_reserve: Option<bool>,
    probed_at: Option<Instant>,
    /// The room that the last probe has found.
    probed: DiskMark,
}

impl DiskRoom {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            mark: AtomicU8::new(DiskMark::Ok as u8),
            measured: Mutex::default(),
            must_probe: AtomicBool::new(false),
            reserve_path: data_dir.join("reserve"),
            probe_path: data_dir.join("reserve.probe"),
            checks: Mutex::default(),
        }
    }

    /// The mark of the last check. Makes no call to the disk.
    pub(crate) fn mark(&self) -> DiskMark {
        match self.mark.load(Ordering::Relaxed) {
            2 => DiskMark::Low,
            3 => DiskMark::Full,
            _ => DiskMark::Ok,
        }
    }

    /// The space at the last check. Makes no call to the disk.
    pub(crate) fn measured(&self) -> Option<Space> {
        *self.measured.lock()
    }

    /// A write has found no room: the disk counts as full from now on, until the next check. Gives
    /// the preallocated file back. Returns whether there was one.
    pub(crate) fn on_no_room(&self, files: &Files) -> bool {
        self.mark.store(DiskMark::Full as u8, Ordering::Relaxed);
        self.must_probe.store(true, Ordering::Relaxed);
        let mut checks = self.checks.lock();
        let may_exist = checks.has_reserve != Some(false);
        checks.has_reserve = Some(false);
        may_exist && files.remove_file(&self.reserve_path).is_ok()
    }

    /// Records the result of a check, after `space` was measured and a quota was probed, and keeps
    /// or gives back the preallocated file.
    pub(crate) fn update(&self, files: &Files, space: Space) -> Result<DiskMark, StorageError> {
        *self.measured.lock() = Some(space);
        let mut checks = self.checks.lock();
        let mark = space.mark().max(self.probe(files, space, &mut checks)?);
        self.mark.store(mark as u8, Ordering::Relaxed);
        let reserve_bytes = space.reserve_bytes / PREALLOCATED_PARTS_COUNT;
        let has_reserve = match checks.has_reserve {
            Some(has) => has,
            None => self.len_of_reserve(files)? >= reserve_bytes,
        };
        checks.has_reserve = Some(has_reserve);
        if has_reserve && mark == DiskMark::Full && space.free_bytes < reserve_bytes {
            files.remove_file(&self.reserve_path)?;
            checks.has_reserve = Some(false);
        } else if !has_reserve && mark == DiskMark::Ok && space.reserve_bytes > 0 {
            checks.has_reserve = Some(Self::allocate(files, &self.reserve_path, reserve_bytes)?);
        }
        Ok(mark)
    }

    fn len_of_reserve(&self, files: &Files) -> Result<u64, StorageError> {
        let path = &self.reserve_path;
        let Some(file) = files.open_if_exists(path, OpenMode::Read)? else {
            return Ok(0);
        };
        file.len()
            .map_err(|source| StorageError::io(Action::Measure, path, source))
    }

    /// The room under a quota, which the free space of the file system need not show.
    fn probe(
        &self,
        files: &Files,
        space: Space,
        checks: &mut Checks,
    ) -> Result<DiskMark, StorageError> {
        let is_due = self.must_probe.swap(false, Ordering::Relaxed)
            || checks
                .probed_at
                .is_none_or(|at| at.elapsed() >= DISK_PROBE_INTERVAL);
        if space.mark() != DiskMark::Ok || space.reserve_bytes == 0 || !is_due {
            return Ok(checks.probed);
        }
        checks.probed_at = Some(Instant::now());
        checks.probed = if self.has_room(files, space.reserve_bytes)? {
            DiskMark::Ok
        } else if self.has_room(files, space.full_bytes())? {
            DiskMark::Low
        } else {
            DiskMark::Full
        };
        Ok(checks.probed)
    }

    /// Whether a file of so many bytes can be created. It is removed again.
    fn has_room(&self, files: &Files, bytes: u64) -> Result<bool, StorageError> {
        let has_room = Self::allocate(files, &self.probe_path, bytes)?;
        files.remove_file(&self.probe_path)?;
        Ok(has_room)
    }

    /// Creates a file with reserved blocks; `false` if there is no room for it.
    fn allocate(files: &Files, path: &Path, bytes: u64) -> Result<bool, StorageError> {
        let fail = |source| StorageError::io(Action::Allocate, path, source);
        let allocated = match files.fs().open(path, OpenMode::Create) {
            Ok(file) => file.allocate(bytes),
            Err(error) => Err(error),
        };
        match allocated {
            Ok(()) => Ok(true),
            Err(error) if is_no_space(&error) => {
                files.remove_file(path)?;
                Ok(false)
            }
            Err(error) => Err(fail(error)),
        }
    }
}
