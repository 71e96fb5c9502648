//! What this node has decided about its log of the meta group, in `meta_recovery.json` in its data
//! directory, from the decision until it is carried out: at the next start, before the log is
//! opened for raft.
//!
//! There are two files with the same bytes and a checksum; the copy is written first. If both are
//! damaged, the node does not start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lograft_core::{NodeId, RecoveryEpoch};
use lograft_storage::Fs;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::blocking::run_blocking;
use crate::incarnation::{with_checksum, without_checksum};
use crate::small_file::{FileError, FilePair};

const FILE: &str = "meta_recovery.json";
const COPY: &str = "meta_recovery.copy.json";

/// The next step for the log of the meta group on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum MetaIntent {
    /// It survives: this node becomes the only voter. Kept until the metadata have it.
    Survive {
        /// The epoch.
        epoch: RecoveryEpoch,
        /// The time of the decision, milliseconds since the Unix epoch.
        at_ms: i64,
        /// The members that did not answer.
        lost: Vec<NodeId>,
    },
    /// It is given up for that of the survivor.
    Follow {
        /// The epoch.
        epoch: RecoveryEpoch,
    },
    /// This node was lost by a recovery elsewhere, and takes part no more.
    Lost {
        /// The epoch.
        epoch: RecoveryEpoch,
    },
    /// It is carried out.
    Done,
}

/// Error of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetaIntentError {
    /// The file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// No file is valid.
    #[error("cannot decode {path}, and no valid copy of it exists")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The intent cannot be encoded.
    #[error("cannot encode the intent")]
    Encode(#[source] serde_json::Error),
    /// The runtime is shutting down.
    #[error("the node is stopping")]
    Stopping,
}

/// The file of a data directory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MetaIntentFile(Arc<Inner>);

struct Inner {
    fs: Arc<dyn Fs>,
    files: FilePair,
    /// Held during a change.
    changing: Mutex<()>,
}

impl MetaIntentFile {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        let [file, copy] = [FILE, COPY].map(|name| dir.join(name));
        Self(Arc::new(Inner {
            fs,
            files: FilePair { file, copy },
            changing: Mutex::default(),
        }))
    }

    /// The intent that is to be carried out, if any.
    pub(crate) async fn load(&self) -> Result<Option<MetaIntent>, MetaIntentError> {
        let inner = Arc::clone(&self.0);
        let read = run_blocking(move || inner.files.read(&*inner.fs));
        let found = read.await.ok_or(MetaIntentError::Stopping)??;
        match found.map(|bytes| bytes.as_deref().map(decode)) {
            [None, None] => Ok(None),
            [Some(Some(intent)), _] | [_, Some(Some(intent))] => {
                Ok((intent != MetaIntent::Done).then_some(intent))
            }
            _ => Err(MetaIntentError::Malformed {
                path: self.0.files.file.clone(),
            }),
        }
    }

    /// Stores an intent durably.
    pub(crate) async fn store(&self, intent: &MetaIntent) -> Result<(), MetaIntentError> {
        let _changing = self.0.changing.lock().await;
        let text = serde_json::to_string(intent).map_err(MetaIntentError::Encode)?;
        let text = with_checksum(&(text + "\n"));
        let inner = Arc::clone(&self.0);
        let written = run_blocking(move || inner.files.replace(&*inner.fs, text.as_bytes()));
        Ok(written.await.ok_or(MetaIntentError::Stopping)??)
    }
}

fn decode(bytes: &[u8]) -> Option<MetaIntent> {
    serde_json::from_str(&without_checksum(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    #[tokio::test]
    async fn an_intent_is_kept_until_it_is_done_and_survives_one_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = MetaIntentFile::new(Arc::new(RealFs), dir.path());
        assert_eq!(file.load().await.unwrap(), None);
        let epoch = RecoveryEpoch::new(1, NodeId(2)).unwrap();
        let intents = [
            MetaIntent::Follow { epoch },
            MetaIntent::Lost { epoch },
            MetaIntent::Survive {
                epoch,
                at_ms: 7,
                lost: vec![NodeId(1)],
            },
        ];
        for intent in intents {
            file.store(&intent).await.unwrap();
            for name in [FILE, COPY] {
                let path = dir.path().join(name);
                let whole = std::fs::read(&path).unwrap();
                std::fs::write(&path, b"x").unwrap();
                assert_eq!(file.load().await.unwrap(), Some(intent.clone()));
                std::fs::write(&path, whole).unwrap();
            }
        }
        file.store(&MetaIntent::Done).await.unwrap();
        assert_eq!(file.load().await.unwrap(), None);
        for name in [FILE, COPY] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        assert!(file.load().await.is_err());
    }
}
