//! A connection is judged as long as it lives, not only at its handshake: it ends when the
//! certificate that it was opened with has expired, or when its CA is no longer trusted. Otherwise
//! a client whose certificate is not renewed, or was made by a CA that was given up, would keep its
//! access until it hangs up.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::limits::CERTIFICATE_EXPIRY_CHECK_INTERVAL;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;

use crate::tls::{Port, Tls};

/// The certificate of a client, and what it is judged by.
pub(super) struct Judge {
    pub(super) tls: Arc<Tls>,
    pub(super) port: Port,
    /// Changes of the files since before the handshake, which has checked the certificate by those
    /// of then.
    pub(super) changes: watch::Receiver<()>,
    /// The certificate, then those between it and its CA.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Its end, seconds since the Unix epoch.
    pub(super) not_after_s: i64,
}

impl Judge {
    /// Waits until the certificate does not pass any more, and returns why.
    pub(super) async fn refusal(mut self) -> rustls::Error {
        loop {
            tokio::select! {
                // The TLS outlives the connection.
                _ = self.changes.changed() => {}
                () = expiry(self.not_after_s) => {}
            }
            let now = UnixTime::now();
            if let Err(refusal) = self.tls.check_client(self.port, &self.chain, now) {
                return refusal;
            }
        }
    }
}

/// Waits for the end of a certificate, seconds since the Unix epoch. The wall clock may be set
/// meanwhile, so it is read again from time to time.
pub(super) async fn expiry(not_after_s: i64) {
    loop {
        let now_s = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let left_s = not_after_s.saturating_sub(now_s);
        let Ok(left_s) = u64::try_from(left_s) else {
            return;
        };
        // Valid up to and including its last second.
        let left = Duration::from_secs(left_s.saturating_add(1));
        tokio::time::sleep(left.min(CERTIFICATE_EXPIRY_CHECK_INTERVAL)).await;
    }
}
