//! A connection is judged as long as it lives, not only at its handshake: it ends when the
//! certificate that it was opened with has expired or is revoked, or when its CA is no longer
//! trusted. Otherwise a client whose certificate is not renewed, or was made by a CA that was given
//! up, would keep its access until it hangs up.

use std::sync::Arc;
use std::time::Duration;

use lograft_core::acl::{Principal, RevocationTable, Revoked};
use lograft_core::limits::CERTIFICATE_EXPIRY_CHECK_INTERVAL;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;

use super::Accepted;
use crate::identity::CertificateFacts;
use crate::net::BoxFuture;
use crate::tls::{Port, Tls};

/// By what the certificates of clients are judged. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ClientTrust {
    /// The CA and the rules of TLS.
    pub(crate) tls: Arc<Tls>,
    /// The revoked certificates.
    pub(crate) revocations: watch::Receiver<Arc<RevocationTable>>,
    /// Answers the calls of a client whose certificate is revoked; none closes its connection
    /// unanswered.
    pub(crate) answer_revoked: Option<AnswerRevoked>,
}

impl ClientTrust {
    /// The same, with an answer for clients whose certificate is revoked.
    pub(crate) fn answering(
        self,
        answer: impl Fn(Accepted, Revoked) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer_revoked: Some(Arc::new(answer)),
            ..self
        }
    }
}

/// Tells a client why its certificate is refused, for as long as its connection is open. Such a
/// connection never gets to those who serve the others. Without an answer a client could not tell a
/// revoked certificate from a broken network, and would try again.
pub(crate) type AnswerRevoked =
    Arc<dyn Fn(Accepted, Revoked) -> BoxFuture<'static, ()> + Send + Sync>;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The certificate is not valid any more.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The certificate is revoked.
    #[error(transparent)]
    Revoked(#[from] Revoked),
}

/// The certificate of a client, and what it is judged by.
pub(super) struct Judge {
    pub(super) trust: ClientTrust,
    pub(super) port: Port,
    pub(super) principal: Arc<Principal>,
    /// Changes of the files since before the handshake, which has checked the certificate by those
    /// of then.
    pub(super) changes: watch::Receiver<()>,
    /// The certificate, then those between it and its CA.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) facts: CertificateFacts,
}

impl Judge {
    /// Fails if the certificate is revoked.
    pub(super) fn check_revoked(&mut self) -> Result<(), Revoked> {
        let revocations = self.trust.revocations.borrow_and_update();
        revocations.check(&self.principal, &self.facts.id)
    }

    /// Waits until the certificate does not pass any more, and returns why.
    pub(super) async fn refusal(mut self) -> Refusal {
        loop {
            tokio::select! {
                // The TLS outlives the connection.
                _ = self.changes.changed() => {}
                () = expiry(self.facts.not_after_s) => {}
                () = revocations_changed(&mut self.trust.revocations) => {
                    match self.check_revoked() {
                        Ok(()) => continue,
                        Err(refusal) => return refusal.into(),
                    }
                }
            }
            let now = UnixTime::now();
            let valid = self.trust.tls.check_client(self.port, &self.chain, now);
            if let Err(refusal) = valid {
                return refusal.into();
            }
        }
    }
}

async fn revocations_changed(revocations: &mut watch::Receiver<Arc<RevocationTable>>) {
    if revocations.changed().await.is_err() {
        // Nobody changes them any more: the node stops.
        std::future::pending::<()>().await;
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
