//! Whether a connection is closing: its client has been asked to open another one (GOAWAY), and no
//! new request arrives on it. Requests in progress complete. Streams without an end would keep it
//! open, so they end themselves.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether one connection is closing. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing(Arc<watch::Sender<bool>>);

impl Closing {
    /// Marks the connection as closing.
    pub(crate) fn start(&self) {
        self.0.send_replace(true);
    }

    /// Ready once the connection is closing.
    pub(crate) fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        let (this, mut changes) = (self.clone(), self.0.subscribe());
        async move {
            // Fails only without a sender, which `this` is.
            let _ = changes.wait_for(|is_closing| *is_closing).await;
            drop(this);
        }
    }
}
