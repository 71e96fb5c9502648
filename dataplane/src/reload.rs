//! Files that are read again when they change: certificates, keys.

use std::error::Error;
use std::future::Future;

use lograft_core::limits::TLS_RELOAD_INTERVAL;
use tracing::warn;

use crate::error_text::error_chain;

/// Calls `reload` periodically; never returns. Files that cannot be used change nothing, and
/// `refusal` is logged with the cause, once until it changes. `None` means that nothing was found
/// out.
pub(crate) async fn watch<F, E>(refusal: &'static str, mut reload: impl FnMut() -> F)
where
    F: Future<Output = Option<Result<(), E>>>,
    E: Error,
{
    let mut refused: Option<String> = None;
    loop {
        tokio::time::sleep(TLS_RELOAD_INTERVAL).await;
        match reload().await {
            Some(Ok(())) => refused = None,
            Some(Err(error)) => {
                let text = error_chain(&error);
                // The same fault again is no news.
                if refused.as_ref() != Some(&text) {
                    warn!(error = text, "{refusal}");
                    refused = Some(text);
                }
            }
            None => {}
        }
    }
}
