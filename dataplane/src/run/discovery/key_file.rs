//! The file of the gossip keys, read again when it changes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use lograft_core::limits::GOSSIP_KEY_FILE_MAX_BYTES;
use lograft_discovery::gossip::GossipKeys;
use tokio::sync::watch;
use tracing::info;

use super::DiscoveryError;
use crate::reload;

/// The key file.
pub(super) struct KeyFile {
    path: PathBuf,
    scope: String,
    keys: watch::Sender<GossipKeys>,
}

impl KeyFile {
    /// Reads the file for the first time.
    pub(super) async fn load(
        path: PathBuf,
        scope: String,
    ) -> Result<(Self, watch::Receiver<GossipKeys>), DiscoveryError> {
        let keys = read(path.clone(), scope.clone()).await?;
        let (keys, in_use) = watch::channel(keys);
        let this = Self { path, scope, keys };
        Ok((this, in_use))
    }

    /// Checks the file for changes periodically; never returns. Keys that cannot be used change
    /// nothing.
    pub(super) async fn watch(self) {
        const REFUSAL: &str = "cannot use the changed gossip keys, keeping the previous ones";
        let this = &self;
        reload::watch(REFUSAL, || async move {
            let keys = read(this.path.clone(), this.scope.clone()).await;
            Some(keys.map(|keys| this.take(keys)))
        })
        .await;
    }

    fn take(&self, keys: GossipKeys) {
        self.keys.send_if_modified(|current| {
            let is_new = *current != keys;
            if is_new {
                info!(key_ids = ?keys.ids(), "gossip keys reloaded");
                *current = keys;
            }
            is_new
        });
    }
}

async fn read(path: PathBuf, scope: String) -> Result<GossipKeys, DiscoveryError> {
    let read = tokio::task::spawn_blocking(move || read_blocking(&path, &scope));
    read.await.map_err(DiscoveryError::Task)?
}

fn read_blocking(path: &Path, scope: &str) -> Result<GossipKeys, DiscoveryError> {
    let failed = |source| DiscoveryError::ReadKeys {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(GOSSIP_KEY_FILE_MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    GossipKeys::parse(&text, scope).map_err(|source| DiscoveryError::Keys {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use lograft_discovery::gossip::key_file_text;

    use lograft_core::limits::TLS_RELOAD_INTERVAL;

    use super::*;
    use crate::error_text::error_chain;

    #[tokio::test(start_paused = true)]
    async fn changed_keys_are_taken_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let text = |key: u8| key_file_text(&[key; 32]);
        std::fs::write(&path, text(1)).unwrap();
        let scope = "lograft.io/ns/a/cluster/b".to_owned();
        let (file, mut keys) = KeyFile::load(path.clone(), scope).await.unwrap();
        let first = keys.borrow().ids();
        let watching = tokio::spawn(file.watch());
        std::fs::write(&path, "broken").unwrap();
        tokio::time::sleep(TLS_RELOAD_INTERVAL * 3).await;
        assert_eq!(keys.borrow().ids(), first);
        std::fs::write(&path, [text(2), text(1)].concat()).unwrap();
        let both = keys
            .wait_for(|keys| keys.ids().len() == 2)
            .await
            .unwrap()
            .ids();
        assert_eq!(both[1], first[0]);
        watching.abort();
        let missing = KeyFile::load(dir.path().join("none"), String::new()).await;
        let error = missing.err().unwrap();
        assert!(
            error_chain(&error).contains("cannot read the gossip key file"),
            "{error}"
        );
    }
}
