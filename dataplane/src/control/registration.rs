//! The state of a node's registration, in `registration.json` in its data directory.
//!
//! The token makes a repeated join idempotent: the cluster answers it with the same node id. The
//! phase distinguishes a node that has just entered a cluster, whose meta log may be empty, from
//! a member whose meta log was wiped and which must not vote again.
//!
//! There are two files with the same bytes and a checksum, so that one flipped byte costs nothing.
//! The copy is written first. A crash in between leaves the former state in the first file, which
//! counts while it is valid; and should that file rot then, the copy has the state that the caller
//! was about to have. Version 0.2 reads and writes the first file alone, without a checksum.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::ClusterId;
use lograft_core::metadata::RegistrationToken;
use lograft_storage::Fs;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::blocking::run_blocking;
use crate::small_file::{FileError, FilePair};

const FILE: &str = "registration.json";
const COPY: &str = "registration.copy.json";

/// Error of reading or writing the registration file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    /// The file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// No file has a valid registration.
    #[error("cannot decode {path}, and no valid copy of it exists")]
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

/// The content of a file.
#[derive(Serialize, Deserialize)]
struct StoredState {
    token: RegistrationToken,
    phase: Phase,
    /// CRC-32C of the state as JSON without this field. Version 0.2 does not write it.
    #[serde(default)]
    checksum: Option<u32>,
}

fn checksum(state: &RegistrationState) -> Result<u32, serde_json::Error> {
    serde_json::to_vec(state).map(|bytes| crc32c::crc32c(&bytes))
}

fn encode(state: RegistrationState) -> Result<Vec<u8>, serde_json::Error> {
    let RegistrationState { token, phase } = state;
    serde_json::to_vec(&StoredState {
        token,
        phase,
        checksum: Some(checksum(&state)?),
    })
}

fn decode(bytes: &[u8]) -> Result<RegistrationState, serde_json::Error> {
    let StoredState {
        token,
        phase,
        checksum: stored,
    } = serde_json::from_slice(bytes)?;
    let state = RegistrationState { token, phase };
    let expected = checksum(&state)?;
    match stored {
        Some(stored) if stored != expected => {
            let text = format!("checksum must be {expected}, got {stored}");
            Err(serde_json::Error::custom(text))
        }
        _ => Ok(state),
    }
}

/// Reads the state; `None` if there is no file. Makes both files equal if they are not.
fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<RegistrationState>, RegistrationError> {
    let files = files(dir);
    let [first, copy] = files.read(fs)?;
    let decoded = [&first, &copy].map(|bytes| bytes.as_deref().map(decode));
    let state = match decoded {
        [None, None] => return Ok(None),
        [Some(Ok(state)), copy] => {
            if let Some(Err(_)) = copy {
                let path = files.copy.display();
                warn!(%path, "copy of the registration file was damaged, restored from the file");
            }
            state
        }
        [_, Some(Ok(state))] => {
            let path = files.file.display();
            warn!(%path, "registration file was missing or damaged, restored from its copy");
            state
        }
        [Some(Err(source)), _] | [None, Some(Err(source))] => {
            let path = files.file;
            return Err(RegistrationError::Malformed { path, source });
        }
    };
    if first != copy || first.as_deref().is_some_and(is_unchecked) {
        store(state, fs, dir)?;
    }
    Ok(Some(state))
}

/// Whether version 0.2 wrote the file.
fn is_unchecked(bytes: &[u8]) -> bool {
    serde_json::from_slice::<StoredState>(bytes).is_ok_and(|stored| stored.checksum.is_none())
}

fn files(dir: &Path) -> FilePair {
    let [file, copy] = [FILE, COPY].map(|name| dir.join(name));
    FilePair { file, copy }
}

/// Writes both files durably, one after the other.
fn store(state: RegistrationState, fs: &dyn Fs, dir: &Path) -> Result<(), RegistrationError> {
    let files = files(dir);
    match encode(state) {
        Ok(bytes) => Ok(files.replace(fs, &bytes)?),
        Err(source) => {
            let path = files.file;
            Err(RegistrationError::Malformed { path, source })
        }
    }
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
        for name in [FILE, COPY] {
            std::fs::write(dir.path().join(name), "{").unwrap();
        }
        let error = load(&fs, dir.path()).unwrap_err();
        assert!(matches!(error, RegistrationError::Malformed { .. }));
    }

    fn stored(dir: &Path, phase: Phase) -> RegistrationState {
        let token = RegistrationState::random(&RealFs).token;
        let state = RegistrationState { token, phase };
        store(state, &RealFs, dir).unwrap();
        state
    }

    #[test]
    fn a_flipped_byte_in_either_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterId::from_bytes([3; 16]);
        for phase in [Phase::Joining, Phase::Bootstrapping(cluster), Phase::Member] {
            let state = stored(dir.path(), phase);
            let whole = std::fs::read(dir.path().join(FILE)).unwrap();
            for name in [FILE, COPY] {
                for at in 0..whole.len() {
                    let mut flipped = whole.clone();
                    flipped[at] ^= 1 << (at % 8);
                    std::fs::write(dir.path().join(name), &flipped).unwrap();
                    let loaded = load(&RealFs, dir.path()).unwrap();
                    assert_eq!(loaded, Some(state), "byte {at} of {name}");
                    for name in [FILE, COPY] {
                        assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), whole);
                    }
                }
                std::fs::remove_file(dir.path().join(name)).unwrap();
                assert_eq!(load(&RealFs, dir.path()).unwrap(), Some(state));
            }
        }
    }

    /// Version 0.2 writes the first file alone, without a checksum: it counts, whatever the copy of
    /// an upgrade that was taken back says.
    #[test]
    fn the_file_of_version_0_2_goes_before_an_older_copy() {
        let dir = tempfile::tempdir().unwrap();
        let old = stored(dir.path(), Phase::Joining);
        let state = RegistrationState {
            phase: Phase::Member,
            ..old
        };
        let bytes = serde_json::to_vec(&state).unwrap();
        std::fs::write(dir.path().join(FILE), &bytes).unwrap();
        assert_eq!(load(&RealFs, dir.path()).unwrap(), Some(state));
        // Now both have it, and version 0.2 reads it.
        std::fs::remove_file(dir.path().join(COPY)).unwrap();
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        assert_eq!(
            serde_json::from_slice::<RegistrationState>(&bytes).unwrap(),
            state
        );
        assert_eq!(load(&RealFs, dir.path()).unwrap(), Some(state));
    }

    #[test]
    fn a_crash_between_the_two_writes_leaves_the_former_state() {
        let dir = tempfile::tempdir().unwrap();
        let old = stored(dir.path(), Phase::Joining);
        let first = std::fs::read(dir.path().join(FILE)).unwrap();
        let new = stored(dir.path(), Phase::Member);
        std::fs::write(dir.path().join(FILE), first).unwrap();
        assert_eq!(load(&RealFs, dir.path()).unwrap(), Some(old));
        assert_eq!(load(&RealFs, dir.path()).unwrap(), Some(old));
        let _ = new;
    }
}
