//! The state of a node's registration, in `registration.json` in its data directory.
//!
//! The token makes a repeated join idempotent: the cluster answers it with the same node id. The
//! phase distinguishes a node that has just entered a cluster, whose meta log may be empty, from
//! a member whose meta log was wiped and which must not vote again.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::ClusterId;
use lograft_core::metadata::RegistrationToken;
use lograft_storage::{Fs, OpenMode};
use serde::{Deserialize, Serialize};

use super::blocking::run_blocking;

const FILE: &str = "registration.json";
const FILE_NEW: &str = "registration.json.new";

/// Error of reading or writing the registration file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    /// The file system failed.
    #[error("cannot read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content is not a registration.
    #[error("cannot decode {path}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// Progress of the registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The node joins a cluster: its meta log may still be empty.
    Joining,
    /// The node was requested to create this cluster and has not finished.
    Bootstrapping(ClusterId),
    /// The meta log has held the node's own registration: from now on an empty meta log means that
    /// the log was lost.
    Member,
}

/// Content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegistrationState {
    /// Identifies the node to the cluster until it has an id.
    pub(crate) token: RegistrationToken,
    /// The progress.
    pub(crate) phase: Phase,
}

impl RegistrationState {
    fn random(fs: &dyn Fs) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&fs.random_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&fs.random_u64().to_le_bytes());
        Self {
            token: RegistrationToken::from_random(bytes),
            phase: Phase::Joining,
        }
    }
}

/// The registration file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RegistrationFile {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
}

impl RegistrationFile {
    /// The stored state. If there is none, stores and returns a new one with a random token.
    pub(crate) async fn load_or_create(&self) -> Result<RegistrationState, RegistrationError> {
        self.blocking(|fs, dir| {
            if let Some(state) = load(fs, dir)? {
                return Ok(state);
            }
            let state = RegistrationState::random(fs);
            store(state, fs, dir)?;
            Ok(state)
        })
        .await
    }

    /// Replaces the state with a new one with a random token.
    pub(crate) async fn renew(&self) -> Result<RegistrationState, RegistrationError> {
        self.blocking(|fs, dir| {
            let state = RegistrationState::random(fs);
            store(state, fs, dir)?;
            Ok(state)
        })
        .await
    }

    /// Replaces the state durably.
    pub(crate) async fn store(&self, state: RegistrationState) -> Result<(), RegistrationError> {
        self.blocking(move |fs, dir| store(state, fs, dir)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        access: impl FnOnce(&dyn Fs, &Path) -> Result<T, RegistrationError> + Send + 'static,
    ) -> Result<T, RegistrationError> {
        let Self { fs, dir } = self.clone();
        run_blocking(move || access(&*fs, &dir))
            .await
            .ok_or(RegistrationError::Stopping)?
    }
}

/// Reads the state; `None` if there is no file.
fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<RegistrationState>, RegistrationError> {
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

/// Writes the state durably: to a new file that is synced and then renamed over the old one, so
/// that a crash leaves one of both, and never a part.
fn store(state: RegistrationState, fs: &dyn Fs, dir: &Path) -> Result<(), RegistrationError> {
    let path = dir.join(FILE);
    let malformed = |source| RegistrationError::Malformed {
        path: path.clone(),
        source,
    };
    let bytes = serde_json::to_vec(&state).map_err(malformed)?;
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

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    #[test]
    fn a_stored_state_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs;
        assert_eq!(load(&fs, dir.path()).unwrap(), None);
        let mut state = RegistrationState::random(&fs);
        assert_ne!(state.token, RegistrationState::random(&fs).token);
        for phase in [
            Phase::Joining,
            Phase::Bootstrapping(ClusterId::from_bytes([3; 16])),
            Phase::Member,
        ] {
            state.phase = phase;
            store(state, &fs, dir.path()).unwrap();
            assert_eq!(load(&fs, dir.path()).unwrap(), Some(state));
        }
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let error = load(&fs, dir.path()).unwrap_err();
        assert!(matches!(error, RegistrationError::Malformed { .. }));
    }
}
