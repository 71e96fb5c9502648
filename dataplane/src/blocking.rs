//! Disk access on threads that may block.

/// Runs blocking work on a separate thread. `None` if the runtime is shutting down.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
