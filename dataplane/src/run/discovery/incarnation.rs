//! The number of starts of a node on its data directory, in `incarnation` there.
//!
//! It orders what the processes of one node say. A file that was lost or damaged starts again at 1:
//! then gossip raises the order itself once it hears of the former process.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lograft_storage::Fs;
use tracing::warn;

use super::DiscoveryError;
use crate::small_file;

const FILE: &str = "incarnation";
/// More than any valid content: a number, a space, a checksum in hexadecimal, a line end.
const READ_BYTES: u64 = 64;

/// Raises the number durably and returns it. Never the same number twice, as long as the file is
/// there: it is on the disk before anybody hears of it.
pub(super) async fn raise(fs: &Arc<dyn Fs>, dir: &Path) -> Result<u64, DiscoveryError> {
    let (fs, path) = (Arc::clone(fs), dir.join(FILE));
    let raised = tokio::task::spawn_blocking(move || raise_blocking(&*fs, &path));
    raised.await.map_err(DiscoveryError::Task)?
}

fn raise_blocking(fs: &dyn Fs, path: &Path) -> Result<u64, DiscoveryError> {
    let failed = |source| DiscoveryError::Incarnation {
        path: path.to_owned(),
        source,
    };
    let former = read(fs, path).map_err(failed)?;
    let next = former.saturating_add(1);
    small_file::replace(fs, path, content(next).as_bytes()).map_err(failed)?;
    Ok(next)
}

fn content(number: u64) -> String {
    let digits = number.to_string();
    format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()))
}

fn read(fs: &dyn Fs, path: &Path) -> io::Result<u64> {
    let Some(bytes) = small_file::read(fs, path, READ_BYTES)? else {
        return Ok(0);
    };
    let text = String::from_utf8_lossy(&bytes);
    let number = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    let valid = number.filter(|number| content(*number) == text);
    if valid.is_none() {
        warn!(path = %path.display(), "incarnation file was damaged, counting from 1 again");
    }
    Ok(valid.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use lograft_storage::RealFs;

    use super::*;

    #[tokio::test]
    async fn each_start_raises_it_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        for expected in 1..=12 {
            assert_eq!(raise(&fs, dir.path()).await.unwrap(), expected);
        }
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(raise(&fs, dir.path()).await.unwrap(), 1, "byte {at}");
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(raise(&fs, dir.path()).await.unwrap(), 1);
    }
}
