//! Waiting for a group's writer.

use std::io;

use lograft_storage::FlushCallback;
use tokio::sync::oneshot;

/// Starts a write and waits until it is on disk. Fails if the write fails, or if storage has
/// stopped and dropped the callback.
pub(crate) async fn flushed(start: impl FnOnce(FlushCallback)) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    start(Box::new(move |result| {
        sender.send(result).ok();
    }));
    match receiver.await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => Err(io::Error::other("storage has stopped")),
    }
}
