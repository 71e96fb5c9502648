//! What a node must not forget on its way into a cluster: `registration.json` in the data
//! directory. The token makes a repeated join the same join; the phase tells a node that has only
//! just entered, whose meta log may well be empty, from one whose meta log was wiped.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use lograft_core::ClusterId;
use lograft_core::metadata::RegistrationToken;
use lograft_storage::{Fs, OpenMode};
use serde::{Deserialize, Serialize};

const FILE: &str = "registration.json";
const FILE_NEW: &str = "registration.json.new";

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The file system refused.
    #[error("could not read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path} does not decode")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// How far the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// On its way: its meta log may still be empty.
    Joining,
    /// Told to begin this cluster, and not done with it.
    Bootstrapping(ClusterId),
    /// Its meta log has held its own registration: it is never empty again.
    Member,
}

/// The file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// What the node calls itself until it has an id.
    pub token: RegistrationToken,
    /// How far it is.
    pub phase: Phase,
}

impl Ticket {
    /// A new one, random.
    pub(super) fn draw(fs: &dyn Fs) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&fs.random_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&fs.random_u64().to_le_bytes());
        Self {
            token: RegistrationToken::from_random(bytes),
            phase: Phase::Joining,
        }
    }

    /// Reads it; `None` if there is none.
    pub(super) fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, RegistrationError> {
        let path = dir.join(FILE);
        let io = |source| RegistrationError::Io {
            path: path.clone(),
            source,
        };
        let file = match fs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let len = usize::try_from(file.len().map_err(io)?).unwrap_or(usize::MAX);
        let bytes = file.read_at(0, len).map_err(io)?;
        let malformed = |source| RegistrationError::Malformed {
            path: path.clone(),
            source,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }

    /// Writes it, durably, over what was there.
    pub(super) fn store(&self, fs: &dyn Fs, dir: &Path) -> Result<(), RegistrationError> {
        let path = dir.join(FILE);
        let malformed = |source| RegistrationError::Malformed {
            path: path.clone(),
            source,
        };
        let bytes = serde_json::to_vec(self).map_err(malformed)?;
        let write = || {
            let new = dir.join(FILE_NEW);
            let file = fs.open(&new, OpenMode::Create)?;
            file.write_vectored_at(&mut [IoSlice::new(&bytes)], 0)?;
            file.sync_data()?;
            fs.rename(&new, &path)?;
            fs.sync_dir(dir)
        };
        write().map_err(|source| RegistrationError::Io {
            path: path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs;
        assert_eq!(Ticket::load(&fs, dir.path()).unwrap(), None);
        let mut ticket = Ticket::draw(&fs);
        assert_ne!(ticket.token, Ticket::draw(&fs).token);
        for phase in [
            Phase::Joining,
            Phase::Bootstrapping(ClusterId::from_bytes([3; 16])),
            Phase::Member,
        ] {
            ticket.phase = phase;
            ticket.store(&fs, dir.path()).unwrap();
            assert_eq!(Ticket::load(&fs, dir.path()).unwrap(), Some(ticket));
        }
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let error = Ticket::load(&fs, dir.path()).unwrap_err();
        assert!(matches!(error, RegistrationError::Malformed { .. }));
    }
}
