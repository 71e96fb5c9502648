//! The meaning of a failed read, decided in one place for all read paths: client reads,
//! replication, replay, recovery, index files, checkpoints and hard state.
//!
//! - **Damage**: the disk cannot return the bytes (EIO), or they are not the bytes written (CRC
//!   mismatch, short or missing file). It concerns one group on one node: its replica is set aside
//!   and replicated again from the others, and the node serves all other groups.
//! - **Exhausted**: the host had no descriptor, memory or time for the call (EMFILE, ENFILE,
//!   ENOMEM, EINTR, EAGAIN). It says nothing about the bytes, and a retry may succeed. A node that
//!   took it for damage would throw away healthy replicas because it has many connections.
//! - **Other**: neither, for example a missing permission. The whole node is affected.

use std::io;

use lograft_core::GroupId;
use rustix::io::Errno;

use crate::error::{Action, Damage, StorageError};

/// The class of an error of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// The bytes are lost.
    Damage,
    /// The host lacked a resource for the call.
    Exhausted,
    /// Neither.
    Other,
}

/// The class of an error of a call that reads. MUST NOT be used for a failed write or sync, which
/// ends the node whatever its code.
pub(crate) fn class_of(error: &io::Error) -> FailureClass {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return FailureClass::Damage;
    }
    match Errno::from_io_error(error) {
        // Disks and file systems name a bad sector or a broken structure of a file in these ways:
        // EIO, "structure needs cleaning" (EUCLEAN), a wrong checksum of the file system (EBADMSG),
        // a medium error (ENODATA) and a failed protection check (EILSEQ) of the block layer.
        Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG | Errno::NODATA | Errno::ILSEQ) => {
            FailureClass::Damage
        }
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::AGAIN) => {
            FailureClass::Exhausted
        }
        _ => FailureClass::Other,
    }
}

/// Whether a read has failed because the disk has lost the bytes.
pub fn is_unreadable(error: &io::Error) -> bool {
    class_of(error) == FailureClass::Damage
}

/// Whether the process or the host has no file descriptor left. Only a call that opens a file or a
/// directory fails so, and it has changed nothing: it may always be repeated.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

impl Action {
    /// Whether the call only reads: its failure leaves everything on the disk as it was.
    const fn is_read(self) -> bool {
        match self {
            Self::Open | Self::Read | Self::List | Self::Measure => true,
            Self::Create
            | Self::Write
            | Self::Sync
            | Self::Allocate
            | Self::Rename
            | Self::Remove
            | Self::Lock
            | Self::SetLength
            | Self::MeasureSpace => false,
        }
    }
}

impl StorageError {
    /// Whether the same call may succeed later, and has changed nothing: the host lacked a
    /// descriptor or memory for a read, or the log changed while it was read.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { action, source, .. } => {
                is_out_of_descriptors(source)
                    || (action.is_read() && class_of(source) == FailureClass::Exhausted)
            }
            Self::Outdated(_) | Self::Opening(_) | Self::ReadsBusy { .. } => true,
            _ => false,
        }
    }

    /// Whether the call met damaged files of its group: the replica must be replicated again.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// The damage that this failed read of a file of a group shows, if any. A file that is part of
    /// the group and does not exist is damage too.
    pub(crate) fn damage(&self) -> Option<Damage> {
        match self {
            Self::Corrupt { damage, .. } => Some(damage.clone()),
            Self::Io {
                action,
                path,
                source,
            } if action.is_read() => {
                let what = if source.kind() == io::ErrorKind::NotFound {
                    "file is missing"
                } else if class_of(source) == FailureClass::Damage {
                    "the disk cannot read it"
                } else {
                    return None;
                };
                Some(Damage {
                    path: path.clone(),
                    position: 0,
                    index: None,
                    what,
                })
            }
            _ => None,
        }
    }

    /// The error as [`StorageError::Corrupt`] if it shows damage of a file of `group`.
    pub(crate) fn of_group(self, group: GroupId) -> Self {
        match self.damage() {
            Some(damage) => Self::Corrupt { group, damage },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn failed(action: Action, errno: Errno) -> StorageError {
        StorageError::io(action, Path::new("f"), errno.into())
    }

    #[test]
    fn a_bad_sector_is_damage_and_a_missing_descriptor_is_not() {
        for errno in [
            Errno::IO,
            Errno::UCLEAN,
            Errno::BADMSG,
            Errno::NODATA,
            Errno::ILSEQ,
        ] {
            for action in [Action::Open, Action::Read, Action::Measure, Action::List] {
                let error = failed(action, errno);
                assert!(error.damage().is_some() && !error.is_retryable(), "{error}");
                assert!(error.of_group(GroupId(1)).is_damage());
            }
        }
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::INTR,
            Errno::AGAIN,
        ] {
            let error = failed(Action::Read, errno);
            assert!(error.damage().is_none() && error.is_retryable(), "{error}");
        }
        let denied = failed(Action::Open, Errno::ACCESS);
        assert!(denied.damage().is_none() && !denied.is_retryable());
    }

    #[test]
    fn a_failed_write_or_sync_is_neither_damage_nor_retryable() {
        for action in [Action::Write, Action::Sync, Action::Rename, Action::Remove] {
            for errno in [Errno::IO, Errno::NOMEM, Errno::INTR] {
                let error = failed(action, errno);
                assert!(error.damage().is_none() && !error.is_retryable(), "{error}");
            }
        }
    }
}
