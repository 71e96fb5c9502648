//! The reasons why a connection to a node cannot be opened.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};

use super::tls::TlsError;

/// A connection to a node could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {endpoint}: {kind}")]
pub struct DialError {
    /// `host:port` of the node.
    pub endpoint: String,
    /// The cause.
    #[source]
    pub kind: DialErrorKind,
}

/// The cause of a failure to connect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialErrorKind {
    /// Nothing listens at the address.
    #[error("connection refused")]
    Refused,
    /// The connection was not open within the connect timeout.
    #[error("timed out")]
    TimedOut,
    /// The name has no address, the network is down, or the connection broke while opening.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The host cannot be a name in a certificate.
    #[error("server name \"{0}\" must be a DNS name or an IP address")]
    ServerName(String),
    /// The client's own TLS files cannot be used.
    #[error("cannot use the client's TLS files")]
    Files(#[source] Arc<TlsError>),
    /// The node's certificate is from a CA that this client does not trust.
    #[error("the node's certificate is from an unknown CA; check the client's CA file")]
    NodeUnknownCa,
    /// The node's certificate is invalid: expired, for another name, or damaged.
    #[error("the node's certificate is invalid: {0}")]
    NodeCertificate(rustls::Error),
    /// The node requires a client certificate and this client has none.
    #[error("the node requires a client certificate; configure a certificate and its key")]
    NoCertificate,
    /// The node does not trust the CA of the client's certificate.
    #[error("the node does not trust the CA that issued the client's certificate")]
    ClientUnknownCa,
    /// The node refused the client's certificate: expired or damaged.
    #[error("the node refused the client's certificate: {0:?}")]
    ClientCertificate(AlertDescription),
    /// Another failure of TLS, for example a server that does not speak TLS at all.
    #[error("TLS failed: {0}")]
    Tls(rustls::Error),
}

impl DialErrorKind {
    /// Whether the node refused the client's identity.
    pub const fn is_refused_identity(&self) -> bool {
        matches!(
            self,
            Self::NoCertificate | Self::ClientUnknownCa | Self::ClientCertificate(_)
        )
    }

    /// Whether a retry may succeed without a change to the configuration.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut | Self::Io(_))
    }

    /// Searches the causes of an error for a failure to connect or a TLS failure.
    pub(crate) fn find_in(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        let mut found = None;
        while let Some(error) = cause {
            if let Some(kind) = error.downcast_ref::<Self>() {
                return Some(kind.clone());
            }
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::from_tls(error));
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                match Self::from_io(error) {
                    // An unspecific I/O error can also be an established connection that broke.
                    Self::Io(_) => {}
                    kind => found = Some(kind),
                }
                // `io::Error::source` skips the error that it wraps.
                if let Some(inner) = error.get_ref() {
                    cause = Some(inner);
                    continue;
                }
            }
            cause = error.source();
        }
        found
    }

    pub(super) fn from_io(error: &io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>())
        {
            return Self::from_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            kind => Self::Io(Arc::new(io::Error::new(kind, error.to_string()))),
        }
    }

    pub(super) fn from_tls(error: &rustls::Error) -> Self {
        use AlertDescription as Alert;
        match error {
            // BadSignature: a CA of the same name with another key, so it is another CA.
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::NodeUnknownCa,
            rustls::Error::InvalidCertificate(_) => Self::NodeCertificate(error.clone()),
            rustls::Error::AlertReceived(Alert::CertificateRequired) => Self::NoCertificate,
            rustls::Error::AlertReceived(Alert::UnknownCA | Alert::DecryptError) => {
                Self::ClientUnknownCa
            }
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::UnsupportedCertificate
                | Alert::AccessDenied),
            ) => Self::ClientCertificate(*alert),
            other => Self::Tls(other.clone()),
        }
    }
}
